"""What a worker finds out by itself about an attempt that failed: whether it was the machine.

A media process that says "no space left" may have met its own limit or lie; its parent has no limits and tries itself.
"""

import errno
import os
from contextlib import ExitStack
from pathlib import Path

from sfserver.infra.disk import BLOCK_BYTES, write_block

_DESCRIPTORS = 16
_FULL = {errno.ENOSPC, errno.EDQUOT}


def find_outage(
    folder: Path, source: Path | None, *, memory_reserve_bytes: int, block_bytes: int = 1 << 20
) -> str | None:
    """Return a sentence that names what is broken on this machine; None if nothing is.

    Descriptors are opened, MemAvailable is compared with the reserve, a block of `block_bytes` is written and fsynced
    in `folder`, and the first, middle and last block of `source` are read. Leaves nothing behind and never raises.
    """
    return (
        _missing_descriptors()
        or _missing_memory(memory_reserve_bytes)
        or _unwritable(folder, block_bytes)
        or (source and _unreadable(source))
        or None
    )


def _missing_descriptors() -> str | None:
    try:
        with ExitStack() as opened:
            for _ in range(_DESCRIPTORS):
                opened.callback(os.close, os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC))
    except OSError as error:
        return f"no file can be opened: {_reason(error)}"
    return None


def _missing_memory(reserve_bytes: int) -> str | None:
    available = _available_memory()
    if available is None or available >= reserve_bytes:
        return None
    return f"memory is short: {available >> 20} MiB are available, {reserve_bytes >> 20} MiB are kept in reserve"


def _available_memory() -> int | None:
    """Return MemAvailable of proc(5) in bytes; None where the system does not say."""
    try:
        lines = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
    except (OSError, ValueError):
        return None
    found = [line.split()[1] for line in lines if line.startswith("MemAvailable:")]
    return int(found[0]) * 1024 if found and found[0].isdigit() else None


def _unwritable(folder: Path, block_bytes: int) -> str | None:
    try:
        write_block(folder, block_bytes)
    except OSError as error:
        what = "the disk is full" if error.errno in _FULL else "the disk cannot be written"
        return f"{what}: {_reason(error)} ({folder})"
    return None


def _unreadable(source: Path) -> str | None:
    try:
        fd = os.open(source, os.O_RDONLY | os.O_CLOEXEC)
        try:
            size = os.fstat(fd).st_size
            for offset in (0, size // 2, max(0, size - BLOCK_BYTES)):
                os.pread(fd, BLOCK_BYTES, offset)
        finally:
            os.close(fd)
    except OSError as error:
        return f"the source cannot be read: {_reason(error)} ({source})"
    return None


def _reason(error: OSError) -> str:
    return error.strerror or str(error)
