"""The tree remover: any depth, whatever is in the way, beside another remover, and never an error."""

import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from sfserver.infra.removal import remove_tree

NOBODY = 65534
AS_NOBODY = f"""
import os, sys; from pathlib import Path; from sfserver.infra.removal import remove_tree
os.setgid({NOBODY}); os.setuid({NOBODY}); remove_tree(Path(sys.argv[1]))
"""


def nest(folder: Path, depth: int) -> None:
    """Make `depth` folders, each in the one before, with a file in every hundredth."""
    folder.mkdir(parents=True)
    fd = os.open(folder, os.O_DIRECTORY)
    for level in range(depth):
        os.mkdir("d", dir_fd=fd)
        if level % 100 == 0:
            os.close(os.open("file", os.O_CREAT | os.O_WRONLY, dir_fd=fd))
        inner = os.open("d", os.O_DIRECTORY, dir_fd=fd)
        os.close(fd)
        fd = inner
    os.close(fd)


@pytest.mark.parametrize("depth", [1, 1_500, 20_000])
def test_a_deep_tree_is_removed(tmp_path: Path, depth: int) -> None:
    nest(tmp_path / "work", depth)
    remove_tree(tmp_path / "work")
    assert list(tmp_path.iterdir()) == []


def test_many_entries_and_links_are_removed_and_nothing_a_link_names(tmp_path: Path) -> None:
    kept = tmp_path / "kept"
    kept.mkdir()
    (kept / "file").write_bytes(b"mine")
    work = tmp_path / "work"
    for number in range(300):
        (work / f"{number}" / "inner").mkdir(parents=True)
        (work / f"{number}" / "file").touch()
    (work / "link").symlink_to(kept)
    (work / "1" / "inner" / "link").symlink_to(kept / "file")
    os.mkfifo(work / "pipe")
    (Path(os.fsdecode(os.fsencode(work) + b"/\xff\n"))).mkdir()
    remove_tree(work)
    assert [path.name for path in tmp_path.iterdir()] == ["kept"]
    assert (kept / "file").read_bytes() == b"mine"


def test_folders_closed_to_their_owner_are_removed(tmp_path: Path) -> None:
    tmp_path.chmod(0o777)
    work = tmp_path / "work"
    (work / "a" / "b").mkdir(parents=True)
    (work / "a" / "b" / "file").touch()
    for path in (work / "a" / "b" / "file", work / "a" / "b", work / "a", work):
        path.chmod(0o000)
        if os.geteuid() == 0:
            os.chown(path, NOBODY, NOBODY)
    if os.geteuid() == 0:
        for parent in tmp_path.parents:
            open_to_others(parent)
        subprocess.run([sys.executable, "-c", AS_NOBODY, str(work)], check=True, timeout=60)
    else:
        remove_tree(work)
    assert list(tmp_path.iterdir()) == []


def open_to_others(folder: Path) -> None:
    if folder.name.startswith("pytest-"):
        folder.chmod(folder.stat().st_mode | 0o055)


def test_what_is_gone_or_no_folder_is_left_alone(tmp_path: Path) -> None:
    remove_tree(tmp_path / "never")
    (tmp_path / "file").touch()
    (tmp_path / "link").symlink_to(tmp_path)
    with capture_logs() as logs:
        remove_tree(tmp_path / "file")
        remove_tree(tmp_path / "link")
    assert {path.name for path in tmp_path.iterdir()} == {"file", "link"}
    assert [line["event"] for line in logs] == ["tree.left", "tree.left"]


def test_what_resists_is_logged_and_the_rest_is_removed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    work = tmp_path / "work"
    for name in ("a/b/c", "a/x", "d"):
        (work / name).mkdir(parents=True)
    (work / "a" / "b" / "stuck").touch()
    unlink = os.unlink

    def refuse(name: str, **options: Any) -> None:
        if name == "stuck":
            raise PermissionError(1, "Operation not permitted", name)
        unlink(name, **options)

    monkeypatch.setattr(os, "unlink", refuse)
    with capture_logs() as logs:
        remove_tree(work)
    assert [path.name for path in work.rglob("*") if path.is_file()] == ["stuck"]
    assert len(list(work.rglob("*"))) == 2
    assert [line["event"] for line in logs] == ["tree.left"]
    assert "not permitted" in logs[0]["first"]


def test_two_may_remove_the_same_tree(tmp_path: Path) -> None:
    for _ in range(5):
        work = tmp_path / "work"
        nest(work, 200)
        for number in range(50):
            (work / f"{number}" / "inner").mkdir(parents=True)
        with raised_in_threads() as raised:
            removers = [threading.Thread(target=remove_tree, args=[work]) for _ in range(3)]
            for remover in removers:
                remover.start()
            for remover in removers:
                remover.join()
        assert raised == []
        assert list(tmp_path.iterdir()) == []


@contextmanager
def raised_in_threads() -> Iterator[list[Any]]:
    raised: list[Any] = []
    before, threading.excepthook = threading.excepthook, raised.append
    try:
        yield raised
    finally:
        threading.excepthook = before
