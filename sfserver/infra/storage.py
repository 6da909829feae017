"""The object seam: whole immutable objects under keys, in a directory or (later) in any S3.

A key is written once: temporary file, fsync, rename, fsync of the directory (so that what was acknowledged survives
a power cut). Keys are made by the server alone; nothing a user typed is ever part of one.
"""

import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Protocol
from uuid import uuid4

from sfserver.errors import StoreUnavailableError

_KEY = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9._-]*(/[A-Za-z0-9_-][A-Za-z0-9._-]*)*")
_SYNC_EVERY_BYTES = 32 << 20


class ObjectWriter(Protocol):
    """An object being written; nobody sees it before `commit`."""

    def write(self, data: bytes) -> None:
        """Append bytes."""

    def commit(self) -> None:
        """Make the object durable and visible under its key."""

    def abort(self) -> None:
        """Forget everything written."""


class ObjectReader(Protocol):
    """An open object."""

    size: int

    def read(self, offset: int, length: int) -> bytes:
        """Return `length` bytes from `offset` on (fewer at the end)."""

    def close(self) -> None:
        """Release it."""


class ObjectStore(Protocol):
    """What both sides of the seam can do."""

    def create(self, key: str) -> ObjectWriter:
        """Begin a new object."""

    def put_file(self, key: str, path: Path) -> None:
        """Store a local file under `key`; the file is consumed."""

    def open(self, key: str) -> ObjectReader:
        """Open an object for ranged reading; `FileNotFoundError` if there is none."""

    def local(self, key: str, scratch: Path) -> Path:
        """Return a local file holding the object, made below `scratch` where the store is remote."""

    def delete(self, key: str) -> None:
        """Remove an object; removing what is not there is fine."""

    def delete_prefix(self, prefix: str) -> None:
        """Remove every object whose key starts with `prefix` + '/'."""

    def ping(self) -> None:
        """Raise `StoreUnavailableError` if the store does not answer."""


class DirectoryStore:
    """Objects as files below `root`, written through `root`'s own temporary folder."""

    def __init__(self, root: Path) -> None:
        self._objects = root / "objects"
        self._temporary = root / "tmp"
        with _store_errors():
            self._objects.mkdir(parents=True, exist_ok=True)
            self._temporary.mkdir(parents=True, exist_ok=True)

    def create(self, key: str) -> "DirectoryWriter":
        """Begin a new object in the temporary folder."""
        with _store_errors():
            return DirectoryWriter(self._temporary / uuid4().hex, self._path(key))

    def put_file(self, key: str, path: Path) -> None:
        """Move a file of the same file system into the store, durably."""
        target = self._path(key)
        with _store_errors():
            with path.open("rb") as file:
                os.fsync(file.fileno())
            _publish(path, target)

    def open(self, key: str) -> "DirectoryReader":
        """Open the object's file."""
        return DirectoryReader(self._path(key))

    def local(self, key: str, scratch: Path) -> Path:
        """Return the object's own file: nothing is copied."""
        path = self._path(key)
        if not path.is_file():
            raise FileNotFoundError(key)
        return path

    def delete(self, key: str) -> None:
        """Remove the object's file and folders left empty above it."""
        path = self._path(key)
        with _store_errors():
            path.unlink(missing_ok=True)
            self._prune(path.parent)

    def delete_prefix(self, prefix: str) -> None:
        """Remove the folder `prefix`."""
        path = self._path(prefix)
        with _store_errors():
            remove_tree(path)
            self._prune(path.parent)

    def ping(self) -> None:
        """Prove that the folder can be written."""
        with _store_errors():
            probe = self._temporary / uuid4().hex
            probe.touch()
            probe.unlink()

    def clear_temporary(self) -> None:
        """Remove what a killed process left behind; only for the one process that owns the directory."""
        with _store_errors():
            shutil.rmtree(self._temporary, ignore_errors=True)
            self._temporary.mkdir(parents=True, exist_ok=True)

    def _path(self, key: str) -> Path:
        if not _KEY.fullmatch(key):
            raise ValueError(f"not an object key: {key!r}")
        return self._objects / key

    def _prune(self, folder: Path) -> None:
        with suppress(OSError):
            while folder != self._objects:
                folder.rmdir()
                folder = folder.parent


def remove_tree(folder: Path) -> None:
    """Remove a folder and what is in it, also where another removes it at the same time."""
    while folder.is_dir():
        with suppress(FileNotFoundError):  # the other was faster at one of them: go on with what is left
            shutil.rmtree(folder)


class DirectoryWriter:
    """A temporary file that becomes an object on `commit`."""

    def __init__(self, temporary: Path, target: Path) -> None:
        self._path, self._target = temporary, target
        self._file = temporary.open("wb", buffering=0)
        self._unsynced = 0

    def write(self, data: bytes) -> None:
        """Append bytes; a share goes to the disk now and then, so that `commit` has little left to wait for."""
        with _store_errors():
            self._file.write(data)
            self._unsynced += len(data)
            if self._unsynced >= _SYNC_EVERY_BYTES:
                os.fdatasync(self._file.fileno())
                self._unsynced = 0

    def commit(self) -> None:
        """Flush to the disk, then rename into place."""
        with _store_errors():
            os.fsync(self._file.fileno())
            self._file.close()
            _publish(self._path, self._target)

    def abort(self) -> None:
        """Remove the temporary file."""
        self._file.close()
        self._path.unlink(missing_ok=True)


class DirectoryReader:
    """A file descriptor read by position, so that readers never share an offset."""

    def __init__(self, path: Path) -> None:
        self._fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        self.size = os.fstat(self._fd).st_size

    def read(self, offset: int, length: int) -> bytes:
        """Return up to `length` bytes from `offset` on."""
        with _store_errors():
            return os.pread(self._fd, length, offset)

    def close(self) -> None:
        """Close the descriptor."""
        os.close(self._fd)


def _publish(source: Path, target: Path) -> None:
    """Rename durably: the new directory entries reach the disk before this returns.

    Every new directory needs its parent synced too.
    """
    missing = [folder for folder in target.parents if not folder.exists()]
    target.parent.mkdir(parents=True, exist_ok=True)
    source.rename(target)
    for folder in {target.parent, *(new.parent for new in missing)}:
        fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(fd)
        finally:
            os.close(fd)


@contextmanager
def _store_errors() -> Iterator[None]:
    try:
        yield
    except FileNotFoundError:
        raise
    except OSError as error:
        raise StoreUnavailableError(f"{error.strerror or error} ({error.filename})") from error
