import os
import threading
from pathlib import Path
from typing import Any

import pytest

from sfserver.media.sandbox import usage
from sfserver.media.sandbox.usage import DirectoryUse, ProcessUse, directory_use, has_ended, process_use
from tests.media.sandbox.nested import remove_nested


def test_a_process_shows_its_memory_threads_and_time() -> None:
    done = threading.Event()
    thread = threading.Thread(target=done.wait)
    before = process_use(os.getpid())
    thread.start()
    try:
        use = process_use(os.getpid())
    finally:
        done.set()
        thread.join()
    assert use.memory_bytes > 1 << 20
    assert use.threads == before.threads + 1
    assert use.cpu_s == pytest.approx(sum(os.times()[:2]), abs=0.5)


def test_what_is_gone_uses_nothing() -> None:
    pid = os.posix_spawn("/bin/true", ["true"], {})
    os.waitpid(pid, 0)
    assert process_use(pid) == ProcessUse()
    assert has_ended(pid)
    assert not has_ended(os.getpid())


def test_what_waits_to_be_reaped_has_ended() -> None:
    pid = os.posix_spawn("/bin/true", ["true"], {})
    os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
    assert has_ended(pid)
    os.waitpid(pid, 0)


def test_a_directory_shows_bytes_entries_and_depth(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(bytes(1000))
    (tmp_path / "b" / "c").mkdir(parents=True)
    (tmp_path / "b" / "c" / "d").write_bytes(bytes(24))
    (tmp_path / "b" / "link").symlink_to("/usr")
    os.mkfifo(tmp_path / "pipe")
    assert directory_use(tmp_path) == DirectoryUse(size_bytes=1024, entries=6, depth=3)
    assert directory_use(tmp_path / "missing") == DirectoryUse()


def test_folders_without_end_are_not_followed(tmp_path: Path) -> None:
    here = os.open(tmp_path, os.O_RDONLY)
    for _ in range(1500):
        os.mkdir("d", dir_fd=here)
        deeper = os.open("d", os.O_RDONLY, dir_fd=here)
        os.close(here)
        here = deeper
    os.close(here)
    assert directory_use(tmp_path).depth == usage.MOST_DEPTH + 1
    remove_nested(tmp_path)


def test_files_without_end_are_not_counted_to_the_end(tmp_path: Path) -> None:
    for number in range(usage.MOST_ENTRIES + 100):
        (tmp_path / str(number)).touch()
    assert directory_use(tmp_path).entries == usage.MOST_ENTRIES + 1


def test_folders_that_vanish_while_they_are_measured_count_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "stays").write_bytes(bytes(1000))
    (tmp_path / "goes").mkdir()
    scan = os.scandir

    def scan_too_late(path: str) -> Any:
        if Path(path).name == "goes":
            Path(path).rmdir()  # by whoever owns it, once it is listed and not yet looked into
        return scan(path)

    monkeypatch.setattr(os, "scandir", scan_too_late)
    assert directory_use(tmp_path).size_bytes == 1000
    assert not (tmp_path / "goes").exists()


def test_a_system_that_tells_nothing_counts_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert (usage.memory_available() or 0) > 1 << 20
    assert usage.file_system_bytes(tmp_path) > 0
    assert usage.file_system_bytes(tmp_path / "missing") == 0

    def refuse(path: Path) -> str:
        raise PermissionError(path)

    monkeypatch.setattr(Path, "read_text", refuse)
    assert usage.memory_available() is None
    assert process_use(os.getpid()) == ProcessUse()
    assert not has_ended(os.getpid())
