"""A disk that is nearly full."""

import errno
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

SMALL_DISK_BYTES = 1 << 20


@pytest.fixture
def small_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Yield a folder with a mebibyte of room: a file system of its own, or raw writes that count where none can be."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", f"size={SMALL_DISK_BYTES}", "tmpfs", str(folder)]
    try:
        is_mounted = subprocess.run(mount, capture_output=True, check=False, timeout=10).returncode == 0
    except OSError:
        is_mounted = False
    if is_mounted:
        try:
            yield folder
        finally:
            subprocess.run(["umount", "--lazy", str(folder)], check=True, timeout=10)
        return
    write, left = os.write, [SMALL_DISK_BYTES]

    def counted(fd: int, data: bytes) -> int:
        if not left[0]:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        written = write(fd, memoryview(data)[: left[0]])
        left[0] -= written
        return written

    monkeypatch.setattr(os, "write", counted)
    yield folder


@pytest.fixture
def full_disk(small_disk: Path) -> Path:
    """Return a folder without any room."""
    fd = os.open(small_disk / "filler", os.O_WRONLY | os.O_CREAT)
    for size in (1 << 16, 1):
        with pytest.raises(OSError, match="No space"):
            fill(fd, size)
    os.close(fd)
    return small_disk


def fill(fd: int, size: int) -> None:
    while True:
        os.write(fd, bytes(size))
