"""What the parent confirms itself: disk, source, memory and descriptors, with nothing left behind."""

import errno
import os
import resource
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from sfserver.infra import machine
from sfserver.infra.machine import find_outage


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / "source"
    path.write_bytes(os.urandom(100_000))
    return path


def test_a_machine_that_is_well(tmp_path: Path, source: Path) -> None:
    (tmp_path / "work").mkdir()
    assert find_outage(tmp_path / "work", source, memory_reserve_bytes=1) is None
    assert find_outage(tmp_path / "work", None, memory_reserve_bytes=1) is None
    (tmp_path / "work" / "empty").touch()
    assert find_outage(tmp_path / "work", tmp_path / "work" / "empty", memory_reserve_bytes=1) is None
    assert [path.name for path in (tmp_path / "work").iterdir()] == ["empty"]


def test_a_full_disk(full_disk: Path) -> None:
    found = find_outage(full_disk, None, memory_reserve_bytes=1)
    assert found == f"the disk is full: No space left on device ({full_disk})"
    assert [path.name for path in full_disk.iterdir()] == ["filler"]


def test_a_disk_with_room_for_a_little(small_disk: Path) -> None:
    assert find_outage(small_disk, None, memory_reserve_bytes=1, block_bytes=1 << 16) is None
    assert "disk is full" in str(find_outage(small_disk, None, memory_reserve_bytes=1, block_bytes=2 << 20))
    assert list(small_disk.iterdir()) == []


@pytest.mark.parametrize("number", [errno.EIO, errno.EROFS, errno.EDQUOT])
@pytest.mark.parametrize("call", ["open", "write", "fsync"])
def test_a_disk_that_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str, number: int) -> None:
    original = getattr(os, call)

    def fail(first: Any, *args: Any) -> Any:
        if call == "open" and not str(first).startswith(str(tmp_path)):
            return original(first, *args)
        raise OSError(number, os.strerror(number))

    with monkeypatch.context() as patch:
        patch.setattr(os, call, fail)
        found = find_outage(tmp_path, None, memory_reserve_bytes=1)
    what = "the disk is full" if number == errno.EDQUOT else "the disk cannot be written"
    assert found == f"{what}: {os.strerror(number)} ({tmp_path})"
    assert list(tmp_path.iterdir()) == []


def test_a_work_folder_that_is_gone(tmp_path: Path) -> None:
    assert "cannot be written" in str(find_outage(tmp_path / "gone", None, memory_reserve_bytes=1))


def test_a_source_that_cannot_be_read(tmp_path: Path, source: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert "cannot be read: No such file" in str(find_outage(tmp_path, tmp_path / "gone", memory_reserve_bytes=1))
    pread, bad = os.pread, [0]

    def bad_sector(fd: int, length: int, offset: int) -> bytes:
        if offset == bad[0]:
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        return pread(fd, length, offset)

    monkeypatch.setattr(os, "pread", bad_sector)
    for bad[0] in (0, 50_000, 100_000 - 4096):
        found = find_outage(tmp_path, source, memory_reserve_bytes=1)
        assert found == f"the source cannot be read: Input/output error ({source})"


def test_memory_under_the_reserve(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert "memory is short" in str(find_outage(tmp_path, None, memory_reserve_bytes=1 << 60))
    monkeypatch.setattr(machine, "_available_memory", lambda: 700 << 20)
    assert find_outage(tmp_path, None, memory_reserve_bytes=700 << 20) is None
    found = find_outage(tmp_path, None, memory_reserve_bytes=1 << 30)
    assert found == "memory is short: 700 MiB are available, 1024 MiB are kept in reserve"


def test_a_system_that_does_not_count_its_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for text in ("", "MemTotal: 1 kB\n", "MemAvailable: none kB\n"):
        monkeypatch.setattr(Path, "read_text", lambda *_, text=text, **__: text)
        assert find_outage(tmp_path, None, memory_reserve_bytes=1 << 60) is None


def test_no_descriptors_left(tmp_path: Path) -> None:
    with few_descriptors():
        found = find_outage(tmp_path, None, memory_reserve_bytes=1)
    assert found == "no file can be opened: Too many open files"
    assert find_outage(tmp_path, None, memory_reserve_bytes=1) is None


@contextmanager
def few_descriptors() -> Iterator[None]:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    fd = os.open(os.devnull, os.O_RDONLY)
    resource.setrlimit(resource.RLIMIT_NOFILE, (fd + 4, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        os.close(fd)
