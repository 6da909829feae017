"""The object seam's contract; every side runs through the same cases."""

import os
from pathlib import Path
from typing import Any

import pytest

from sfserver.errors import StoreUnavailableError
from sfserver.infra.storage import DirectoryStore, ObjectStore


@pytest.fixture
def store(tmp_path: Path) -> ObjectStore:
    return DirectoryStore(tmp_path / "store")


def put(store: ObjectStore, key: str, data: bytes) -> None:
    writer = store.create(key)
    writer.write(data)
    writer.commit()


def test_an_object_is_read_back_by_range(store: ObjectStore) -> None:
    put(store, "a/b/c.bin", b"0123456789")
    reader = store.open("a/b/c.bin")
    assert reader.size == 10
    assert reader.read(3, 4) == b"3456"
    assert reader.read(8, 100) == b"89"
    assert reader.read(10, 1) == b""
    reader.close()


def test_nothing_is_visible_before_the_commit_or_after_an_abort(store: ObjectStore) -> None:
    writer = store.create("a/x")
    writer.write(b"half")
    with pytest.raises(FileNotFoundError):
        store.open("a/x")
    writer.abort()
    with pytest.raises(FileNotFoundError):
        store.open("a/x")


def test_a_file_is_moved_into_the_store(store: ObjectStore, tmp_path: Path) -> None:
    path = tmp_path / "store" / "made.bin"
    path.write_bytes(b"abc")
    store.put_file("v/1/made.bin", path)
    assert not path.exists()
    assert store.local("v/1/made.bin", tmp_path).read_bytes() == b"abc"


def test_deleting_a_prefix_takes_what_is_below_it_and_nothing_else(store: ObjectStore) -> None:
    for key in ("v/1/a", "v/1/b/c", "v/10/a"):
        put(store, key, b"x")
    store.delete_prefix("v/1")
    store.delete_prefix("v/1")
    for gone in ("v/1/a", "v/1/b/c"):
        with pytest.raises(FileNotFoundError):
            store.open(gone)
    store.open("v/10/a").close()


def test_two_may_delete_the_same_prefix(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = DirectoryStore(tmp_path)
    for key in ("a/1/x", "a/2/y", "a/3/z"):
        put(store, key, b"data")
    rmdir = os.rmdir

    def after_the_other(path: str, **options: Any) -> None:
        rmdir(path, **options)  # the other's
        rmdir(path, **options)

    monkeypatch.setattr(os, "rmdir", after_the_other)
    store.delete_prefix("a")
    assert list((tmp_path / "objects").iterdir()) == []


def test_deleting_what_is_not_there_is_fine(store: ObjectStore) -> None:
    store.delete("no/such")
    put(store, "a/b", b"x")
    store.delete("a/b")
    with pytest.raises(FileNotFoundError):
        store.local("a/b", Path())


@pytest.mark.parametrize("key", ["", "/abs", "a//b", "../up", "a/../b", "a/.hidden", "a b", "a/\n", "a/"])
def test_keys_cannot_leave_the_store(store: ObjectStore, key: str) -> None:
    with pytest.raises(ValueError, match="not an object key"):
        store.create(key)


def test_empty_folders_do_not_pile_up(tmp_path: Path) -> None:
    store = DirectoryStore(tmp_path)
    put(store, "a/b/c/d", b"x")
    store.delete("a/b/c/d")
    assert list((tmp_path / "objects").iterdir()) == []


def test_what_a_killed_process_left_is_cleared(tmp_path: Path) -> None:
    store = DirectoryStore(tmp_path)
    writer = store.create("a/b")
    writer.write(b"never committed")
    assert len(list((tmp_path / "tmp").iterdir())) == 1
    store.clear_temporary()
    assert list((tmp_path / "tmp").iterdir()) == []
    writer.abort()


def test_a_store_that_cannot_be_written_is_an_outage_not_a_bug(tmp_path: Path) -> None:
    store = DirectoryStore(tmp_path)
    (tmp_path / "tmp").rmdir()
    with pytest.raises((StoreUnavailableError, FileNotFoundError)):
        store.ping()
    (tmp_path / "tmp").write_bytes(b"a file where the folder was")
    with pytest.raises(StoreUnavailableError):
        store.create("a/b")
