"""The object seam's contract; every side runs through the same cases."""

import errno
import os
import shutil
from pathlib import Path
from threading import Thread

import pytest

from sfserver.errors import ObjectMissingError, ObjectTruncatedError, StorageFullError, StoreUnavailableError
from sfserver.infra.storage.contract import ObjectStore, ObjectWriter
from sfserver.infra.storage.directory import DirectoryStore


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
    assert store.fetch("v/1/made.bin", tmp_path).read_bytes() == b"abc"


def test_deleting_what_is_not_there_is_fine(store: ObjectStore) -> None:
    store.delete("no/such")
    put(store, "a/b", b"x")
    store.delete("a/b")
    with pytest.raises(FileNotFoundError):
        store.fetch("a/b", Path())


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
    (tmp_path / "tmp").write_bytes(b"a file where the folder was")
    with pytest.raises(StoreUnavailableError) as caught:
        store.create("a/b")
    assert caught.value.errno == errno.EEXIST
    with pytest.raises(StoreUnavailableError):
        store.ping()


@pytest.mark.parametrize("folder", ["tmp", "objects"])
def test_a_folder_that_was_tidied_away_is_made_again_for_writes(tmp_path: Path, folder: str) -> None:
    store = DirectoryStore(tmp_path)
    (tmp_path / folder).rmdir()
    put(store, "a/b", b"data")
    assert store.fetch("a/b", tmp_path).read_bytes() == b"data"
    shutil.rmtree(tmp_path / folder)
    (tmp_path / "made").write_bytes(b"moved")
    store.put_file("a/c", tmp_path / "made")
    assert store.fetch("a/c", tmp_path).read_bytes() == b"moved"
    store.ping()


def test_a_file_that_is_gone_before_it_is_stored_is_no_missing_object(tmp_path: Path) -> None:
    with pytest.raises(StoreUnavailableError) as caught:
        DirectoryStore(tmp_path).put_file("a/b", tmp_path / "gone")
    assert caught.value.errno == errno.ENOENT


def test_a_file_of_another_file_system_is_copied_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = DirectoryStore(tmp_path)
    (tmp_path / "far").write_bytes(b"from afar")
    rename = Path.rename

    def within_one_file_system(source: Path, target: Path) -> Path:
        if source.name == "far":
            raise OSError(errno.EXDEV, "Invalid cross-device link")
        return rename(source, target)

    monkeypatch.setattr(Path, "rename", within_one_file_system)
    moved: list[int] = []
    store.put_file("a/b", tmp_path / "far", moved.append)
    assert store.fetch("a/b", tmp_path).read_bytes() == b"from afar"
    assert moved == [9]
    assert not (tmp_path / "far").exists()
    assert list((tmp_path / "tmp").iterdir()) == []


def test_a_link_is_not_stored(tmp_path: Path) -> None:
    (tmp_path / "secret").write_bytes(b"secret")
    (tmp_path / "made").symlink_to(tmp_path / "secret")
    with pytest.raises(StoreUnavailableError):
        DirectoryStore(tmp_path).put_file("a/b", tmp_path / "made")


def test_raw_writes_that_take_less_than_they_were_given_lose_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write = os.write
    monkeypatch.setattr(os, "write", lambda fd, data: write(fd, bytes(data[:7])))
    store = DirectoryStore(tmp_path)
    put(store, "a/b", bytes(range(256)))
    assert store.fetch("a/b", tmp_path).read_bytes() == bytes(range(256))


def write_two_mebibytes(writer: ObjectWriter, size: int) -> None:
    for _ in range((2 << 20) // size):
        writer.write(bytes(size))


def test_a_full_disk_is_said_to_be_full_and_keeps_nothing(small_disk: Path) -> None:
    store = DirectoryStore(small_disk)
    for size in (64 << 10, 100_001):
        writer = store.create("a/b")
        with pytest.raises(StorageFullError) as caught:
            write_two_mebibytes(writer, size)
        assert caught.value.errno == errno.ENOSPC
        assert caught.value.status == 507
        writer.abort()
        with pytest.raises(ObjectMissingError):
            store.open("a/b")
        assert list((small_disk / "tmp").iterdir()) == []


def test_a_ping_finds_a_full_disk(full_disk: Path) -> None:
    store = DirectoryStore(full_disk)
    with pytest.raises(StorageFullError):
        store.ping()
    assert list((full_disk / "tmp").iterdir()) == []


def test_what_the_disk_lost_between_write_and_commit_is_not_published(tmp_path: Path) -> None:
    store = DirectoryStore(tmp_path)
    writer = store.create("a/b")
    writer.write(b"0123456789")
    (temporary,) = (tmp_path / "tmp").iterdir()
    os.truncate(temporary, 4)
    with pytest.raises(StoreUnavailableError, match="10 bytes were written, the file has 4"):
        writer.commit()
    writer.abort()
    with pytest.raises(ObjectMissingError):
        store.open("a/b")


def test_an_abort_after_a_commit_leaves_the_object(store: ObjectStore, tmp_path: Path) -> None:
    writer = store.create("a/b")
    writer.write(b"data")
    writer.commit()
    writer.abort()
    assert store.fetch("a/b", tmp_path).read_bytes() == b"data"


def test_an_object_that_is_cut_short_is_named(tmp_path: Path) -> None:
    store = DirectoryStore(tmp_path)
    put(store, "a/b", b"0123456789")
    reader = store.open("a/b")
    os.truncate(tmp_path / "objects" / "a" / "b", 4)
    assert reader.read(0, 4) == b"0123"
    with pytest.raises(ObjectTruncatedError, match="a/b ends at byte 4 of 10"):
        reader.read(2, 5)
    reader.close()


@pytest.mark.parametrize("key", ["a", "a/b/c", "no/such"])
def test_a_folder_or_a_path_through_an_object_is_no_object(store: ObjectStore, tmp_path: Path, key: str) -> None:
    put(store, "a/b", b"data")
    with pytest.raises(ObjectMissingError):
        store.open(key)
    with pytest.raises(ObjectMissingError):
        store.fetch(key, tmp_path)
    if key != "a":
        store.delete(key)
    store.open("a/b").close()


def test_objects_on_a_volume_of_their_own_are_stored_and_pinged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A bind mount of the same file system has the same device number, and still nothing can be renamed into it."""
    rename = Path.rename

    def rename_within_a_volume(self: Path, target: Path) -> Path:
        inside = [(tmp_path / "objects") in path.parents for path in (self, Path(target))]
        if len(set(inside)) > 1:
            raise OSError(errno.EXDEV, "Invalid cross-device link")
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", rename_within_a_volume)
    store = DirectoryStore(tmp_path)
    put(store, "a/b", b"abc")
    path = tmp_path / "made.bin"
    path.write_bytes(b"def")
    store.put_file("a/c", path)
    store.ping()
    assert [store.fetch(key, tmp_path).read_bytes() for key in ("a/b", "a/c")] == [b"abc", b"def"]
    store.clear_temporary()
    assert {entry.name for entry in (tmp_path / "objects").iterdir()} == {"a", ".tmp"}
    assert list((tmp_path / "objects" / ".tmp").iterdir()) == []


def test_a_store_that_moves_to_another_volume_meanwhile_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = DirectoryStore(tmp_path)

    def refuse(self: Path, target: Path) -> Path:
        raise OSError(errno.EXDEV, "Invalid cross-device link")

    monkeypatch.setattr(Path, "rename", refuse)
    with pytest.raises(StoreUnavailableError):
        store.ping()


def test_a_volume_that_is_not_mounted_has_lost_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = DirectoryStore(tmp_path)
    shutil.rmtree(tmp_path / "objects")
    with pytest.raises(StoreUnavailableError):
        store.open("a/b")
    (tmp_path / "objects").mkdir()
    monkeypatch.setattr(store, "_device", -1)
    for use in (lambda: store.open("a/b"), lambda: store.fetch("a/b", tmp_path), store.ping):
        with pytest.raises(StoreUnavailableError, match="another file system"):
            use()


def test_objects_are_stored_beside_deletions_that_prune_the_same_folders(tmp_path: Path) -> None:
    store = DirectoryStore(tmp_path)
    errors: list[StoreUnavailableError] = []

    def come_and_go(name: str) -> None:
        try:
            for _ in range(150):
                put(store, f"a/b/{name}", b"data")
                store.delete(f"a/b/{name}")
        except StoreUnavailableError as error:
            errors.append(error)

    threads = [Thread(target=come_and_go, args=[f"{number}"]) for number in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    assert list((tmp_path / "objects").iterdir()) == []


def test_the_room_that_is_left_is_known(tmp_path: Path) -> None:
    found = DirectoryStore(tmp_path).free_bytes()
    assert found is not None
    assert 0 <= found <= shutil.disk_usage(tmp_path).total
