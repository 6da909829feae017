"""What a media process may not do: resource limits everywhere, Landlock and seccomp where the system has them."""

import ctypes
import os
import resource
import struct
import sys
import sysconfig
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from sfserver.media.sandbox import landlock, seccomp

_PR_SET_PDEATHSIG = 1
_SIGKILL = 9
_CAPABILITY_VERSION_3 = 0x20080522
_CAP_DAC_OVERRIDE = 1 << 1


@dataclass(frozen=True)
class Confinement:
    """The walls this system offers; `landlock_abi` is 0 where there is none."""

    landlock_abi: int
    seccomp: bool

    def __str__(self) -> str:
        """Name them for people: "rlimits, Landlock ABI 7, seccomp"."""
        landlock_text = f"Landlock ABI {self.landlock_abi}" if self.landlock_abi else "no Landlock"
        return f"rlimits, {landlock_text}, {'seccomp' if self.seccomp else 'no seccomp'}"

    @property
    def complete(self) -> bool:
        """Whether file, network and process access are all closed."""
        return self.landlock_abi > 0 and self.seccomp


@dataclass(frozen=True)
class ResourceLimits:
    """What one process may use: bytes of data memory, bytes of one output file, open files; niceness 0–19."""

    memory_bytes: int
    output_bytes: int
    open_files: int
    nice: int
    oom_score_adj: int


def available() -> Confinement:
    """Ask the system which walls it has."""
    return Confinement(landlock_abi=landlock.abi(), seccomp=seccomp.available())


def die_with_parent() -> None:
    """Have the kernel kill this process when the one that forked it dies (prctl(2), PR_SET_PDEATHSIG)."""
    if sys.platform.startswith("linux"):
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, *map(ctypes.c_ulong, (_SIGKILL, 0, 0, 0)))


def limit_resources(limits: ResourceLimits) -> None:
    """Set the limits of this process; they hold on every system."""
    for kind, value in (
        (resource.RLIMIT_CORE, 0),
        (resource.RLIMIT_DATA, limits.memory_bytes),
        (resource.RLIMIT_FSIZE, limits.output_bytes),
        (resource.RLIMIT_NOFILE, limits.open_files),
    ):
        _, hard = resource.getrlimit(kind)
        bound = value if hard == resource.RLIM_INFINITY else min(value, hard)
        resource.setrlimit(kind, (bound, bound))
    os.nice(limits.nice)
    with suppress(OSError):  # only Linux has it, and a container may hide it
        Path("/proc/self/oom_score_adj").write_text(str(limits.oom_score_adj))


def confine(readable: Sequence[Path], workdir: Path) -> Confinement:
    """Close everything but reading `readable` and writing below `workdir`, as far as this system can; no way back.

    Call it with one thread running: Landlock and seccomp bind a thread and those it starts. Raises RuntimeError
    with more threads, OSError where the kernel has a wall and refuses to put it up.
    """
    walls = available()
    if sys.platform.startswith("linux") and len(list(Path("/proc/self/task").iterdir())) > 1:
        raise RuntimeError("threads were started before the sandbox closed")
    if walls.landlock_abi:
        landlock.restrict([*readable, *_runtime_paths()], [workdir])
    if sys.platform.startswith("linux"):
        _drop_capabilities()
    if walls.seccomp:
        seccomp.restrict()
    return walls


def _runtime_paths() -> list[Path]:
    """List what the interpreter still loads from: its library, the packages, our code and the system's libraries."""
    python = [sysconfig.get_path(name) for name in ("stdlib", "platstdlib", "purelib", "platlib")]
    ours = str(Path(__file__).resolve().parents[2])
    return [Path(path) for path in (*python, ours, "/lib", "/lib64", "/usr/lib", "/etc/ld.so.cache", "/dev/null")]


def _drop_capabilities() -> None:
    """Give up root's powers, but for reading and writing files of other owners (Landlock bounds which)."""
    header = ctypes.create_string_buffer(struct.pack("Ii", _CAPABILITY_VERSION_3, 0))
    data = ctypes.create_string_buffer(24)
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.capget(header, data):
        raise OSError(ctypes.get_errno(), "capabilities could not be read")
    kept = struct.unpack("6I", data.raw[:24])[1] & _CAP_DAC_OVERRIDE
    if libc.capset(header, struct.pack("6I", kept, kept, 0, 0, 0, 0)):
        raise OSError(ctypes.get_errno(), "capabilities could not be dropped")
