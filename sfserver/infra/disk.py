"""Raw writes that are whole or an error, and the proof that a folder can be written."""

import errno
import os
from contextlib import suppress
from pathlib import Path
from uuid import uuid4

BLOCK_BYTES = 4096


def write_all(fd: int, data: bytes) -> None:
    """Write all of `data`.

    A raw write may write less than asked, most of all on a disk that is nearly full; the next one then says why.
    """
    rest = memoryview(data)
    while rest:
        written = os.write(fd, rest)
        if not written:
            raise OSError(errno.EIO, "the system took no byte of a write and gave no reason")
        rest = rest[written:]


def read_all(fd: int, offset: int, length: int) -> bytes:
    """Return `length` bytes from `offset` on, fewer only at the end of the file."""
    parts: list[bytes] = []
    while length > 0:
        part = os.pread(fd, length, offset)
        if not part:
            break
        parts.append(part)
        offset, length = offset + len(part), length - len(part)
    return parts[0] if len(parts) == 1 else b"".join(parts)


def write_block(folder: Path, size_bytes: int = BLOCK_BYTES) -> None:
    """Write and fsync a block in `folder` and leave nothing of it; `OSError` if that fails.

    The block has no name while it is written, so not even a kill leaves it. Its bytes are random: a file system that
    compresses or leaves out zeros would find room for them on a full disk.
    """
    path = folder / f"block-{uuid4().hex}"
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        path.unlink()
        write_all(fd, os.urandom(size_bytes))
        os.fsync(fd)
    finally:
        with suppress(OSError):
            path.unlink(missing_ok=True)
        os.close(fd)


def sync_folder(folder: Path) -> None:
    """Bring a folder's entries to the disk."""
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
