"""Make the encoder's bytes repeatable."""

import ctypes

_M_PERTURB = -6


def zero_fresh_memory() -> None:
    """Have the C library clear every block it gives out.

    x264's macroblock tree reads a little memory it never wrote (seen with AVX-512), so that equal input gave
    unequal bytes, and a retried chunk another file than its first run. Does nothing on a C library without `mallopt`.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        # Blocks are filled with the complement of this byte (and, when given back, with the byte itself).
        mallopt(_M_PERTURB, 0xFF)
