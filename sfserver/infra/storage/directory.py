"""Objects as files of one directory.

A key is written once: temporary file, fsync, rename, fsync of the directory (so that what was acknowledged survives
a power cut).
"""

import errno
import os
import re
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from uuid import uuid4

import structlog

from sfserver.errors import (
    ObjectMissingError,
    ObjectTruncatedError,
    StorageFullError,
    StoreUnavailableError,
    StreamForgeError,
)
from sfserver.infra.disk import read_all, sync_folder, write_all, write_block
from sfserver.infra.removal import remove_tree
from sfserver.infra.storage.contract import OnBytes

log = structlog.get_logger(__name__)
_KEY = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9._-]*(/[A-Za-z0-9_-][A-Za-z0-9._-]*)*")
_SYNC_EVERY_BYTES = 32 << 20
_COPY_BYTES = 1 << 20
_FULL = {errno.ENOSPC, errno.EDQUOT}
_PUBLISH_TRIES = 10


class DirectoryStore:
    """Objects as files below `root`, written through a temporary folder from which they can be renamed into place.

    That is `root`'s own; where `objects` is a volume of its own (a data disk, a bind mount), a hidden one on that.
    """

    def __init__(self, root: Path) -> None:
        self._root = root
        self._objects = root / "objects"
        self._temporary = root / "tmp"
        with _store_errors():
            self._objects.mkdir(parents=True, exist_ok=True)
            self._temporary.mkdir(parents=True, exist_ok=True)
            self._device = self._objects.stat().st_dev
            if not self._can_rename_into_objects():
                self._temporary = self._objects / ".tmp"
                self._temporary.mkdir(exist_ok=True)

    def create(self, key: str) -> "DirectoryWriter":
        """Begin a new object in the temporary folder."""
        target = self._path(key)
        with _store_errors():
            return DirectoryWriter(self._temporary_path(), target, self._root)

    def put_file(self, key: str, path: Path, on_bytes: OnBytes | None = None) -> None:
        """Move a file into the store, durably; it is copied only from another file system."""
        target = self._path(key)
        with _store_errors():
            size = _sync_file(path)
            try:
                _publish(path, target, self._root)
            except OSError as error:
                if error.errno != errno.EXDEV:
                    raise
                self._copy_in(key, path, on_bytes)
            else:
                if on_bytes is not None:
                    on_bytes(size)

    def open(self, key: str) -> "DirectoryReader":
        """Open the object's file; `ObjectMissingError` if there is none."""
        path = self._path(key)
        with self._reading(key):
            return DirectoryReader(key, path)

    def size_of(self, key: str) -> int:
        """Return the size of the object's file."""
        path = self._path(key)
        with self._reading(key):
            return _require_file(path.stat(), path)

    def fetch(self, key: str, scratch: Path, on_bytes: OnBytes | None = None) -> Path:
        """Return the object's own file: nothing is copied."""
        path = self._path(key)
        with self._reading(key):
            size = _require_file(path.stat(), path)
        if on_bytes is not None:
            on_bytes(size)
        return path

    def delete(self, key: str) -> None:
        """Remove the object's file and folders left empty above it."""
        path = self._path(key)
        with _store_errors():
            with suppress(FileNotFoundError, NotADirectoryError):
                path.unlink()
            self._prune(path.parent)

    def free_bytes(self) -> int | None:
        """Return what an unprivileged user can still write to the file system."""
        with _store_errors():
            found = os.statvfs(self._objects)
        return found.f_bavail * found.f_frsize

    def ping(self) -> None:
        """Write and fsync a block where objects are written, and move a file from there to where they are kept."""
        with _store_errors():
            self._check_mounted()
            self._temporary.mkdir(parents=True, exist_ok=True)
            write_block(self._temporary)
            if not self._can_rename_into_objects():
                raise OSError(errno.EXDEV, "objects lie on another volume than at the start", str(self._objects))

    def clear_temporary(self) -> None:
        """Remove what a killed process left behind; only for the one process that owns the directory."""
        remove_tree(self._temporary)
        with _store_errors():
            self._temporary.mkdir(parents=True, exist_ok=True)

    def _can_rename_into_objects(self) -> bool:
        """Try it; False where the two are different volumes, also two mounts of one file system (rename(2), EXDEV)."""
        source, target = self._temporary / f"ping-{uuid4().hex}", self._objects / ".ping"
        try:
            source.touch(mode=0o600)
            source.rename(target)
        except OSError as error:
            if error.errno != errno.EXDEV:
                raise
            return False
        finally:
            for left in (source, target):
                left.unlink(missing_ok=True)
        return True

    def _temporary_path(self) -> Path:
        self._temporary.mkdir(parents=True, exist_ok=True)  # somebody may have tidied it away
        return self._temporary / uuid4().hex

    def _copy_in(self, key: str, path: Path, on_bytes: OnBytes | None) -> None:
        writer = self.create(key)
        try:
            with path.open("rb", buffering=0) as file:
                while data := file.read(_COPY_BYTES):
                    writer.write(data)
                    if on_bytes is not None:
                        on_bytes(len(data))
            writer.commit()
        finally:
            writer.abort()
        path.unlink()

    def _path(self, key: str) -> Path:
        if not _KEY.fullmatch(key):
            raise ValueError(f"not an object key: {key!r}")
        return self._objects / key

    @contextmanager
    def _reading(self, key: str) -> Iterator[None]:
        """Tell an object that is not there from a store that is not there."""
        with _store_errors():
            try:
                yield
            except (FileNotFoundError, NotADirectoryError):
                self._check_mounted()
                raise ObjectMissingError(f"the store has no object {key}") from None

    def _check_mounted(self) -> None:
        """Raise if the objects' folder went away as a whole: a volume that is not mounted has lost nothing."""
        if self._objects.stat().st_dev != self._device:
            raise OSError(errno.ENODEV, "another file system lies there than at the start", str(self._objects))

    def _prune(self, folder: Path) -> None:
        with suppress(OSError):
            while folder != self._objects:
                folder.rmdir()
                folder = folder.parent


class DirectoryWriter:
    """A temporary file that becomes an object on `commit`."""

    def __init__(self, temporary: Path, target: Path, root: Path) -> None:
        self._path, self._target, self._root = temporary, target, root
        self._fd: int | None = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        self._written = self._unsynced = 0

    def write(self, data: bytes) -> None:
        """Append bytes; a share goes to the disk now and then, so that `commit` has little left to wait for."""
        with _store_errors():
            write_all(self._open_fd(), data)
            self._written += len(data)
            self._unsynced += len(data)
            if self._unsynced >= _SYNC_EVERY_BYTES:
                os.fdatasync(self._open_fd())
                self._unsynced = 0

    def commit(self) -> None:
        """Flush to the disk, see that every byte is there, then rename into place."""
        with _store_errors():
            fd = self._open_fd()
            os.fsync(fd)
            size = os.fstat(fd).st_size
            if size != self._written:
                raise OSError(errno.EIO, f"{self._written} bytes were written, the file has {size}", str(self._path))
            self._close()
            _publish(self._path, self._target, self._root)

    def abort(self) -> None:
        """Remove the temporary file; what can't be removed goes at the next start."""
        try:
            with suppress(FileNotFoundError):
                self._path.unlink()
            self._close()
        except OSError as error:
            log.warning("store.temporary_left", path=str(self._path), error=str(error))

    def _open_fd(self) -> int:
        if self._fd is None:
            raise ValueError("the object is written already, or given up")
        return self._fd

    def _close(self) -> None:
        fd, self._fd = self._fd, None
        if fd is not None:
            os.close(fd)


class DirectoryReader:
    """A file descriptor read by position, so that readers never share an offset."""

    def __init__(self, key: str, path: Path) -> None:
        self._key = key
        self._fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            self.size = _require_file(os.fstat(self._fd), path)
        except OSError:
            os.close(self._fd)
            raise

    def read(self, offset: int, length: int) -> bytes:
        """Return up to `length` bytes from `offset` on; `ObjectTruncatedError` where bytes below `size` are gone."""
        with _store_errors():
            data = read_all(self._fd, offset, length)
        if len(data) < min(length, self.size - offset):
            raise ObjectTruncatedError(f"{self._key} ends at byte {offset + len(data)} of {self.size}")
        return data

    def close(self) -> None:
        """Close the descriptor."""
        os.close(self._fd)


def _require_file(found: os.stat_result, path: Path) -> int:
    """Return the size of a regular file; a folder is no object."""
    if not stat.S_ISREG(found.st_mode):
        raise FileNotFoundError(errno.ENOENT, "not a file", str(path))
    return found.st_size


def _sync_file(path: Path) -> int:
    """Bring a file to the disk and return its size; a link is not followed."""
    fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        os.fsync(fd)
        return _require_file(os.fstat(fd), path)
    finally:
        os.close(fd)


def _publish(source: Path, target: Path, root: Path) -> None:
    """Rename durably: all directory entries from `root` to the object reach the disk before this returns.

    Those of folders that were there before too: whoever made them may not have come to sync them yet.
    """
    _rename_into_place(source, target)
    for folder in target.parents:
        sync_folder(folder)
        if folder == root:
            return


def _rename_into_place(source: Path, target: Path) -> None:
    """Rename, again where a deletion beside it pruned the target's folder while it was empty."""
    for tries_left in reversed(range(_PUBLISH_TRIES)):
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            source.rename(target)
        except (FileNotFoundError, FileExistsError):  # the latter where it was pruned while `mkdir` looked at it
            if not tries_left or not source.exists():
                raise
        else:
            return


@contextmanager
def _store_errors() -> Iterator[None]:
    """Turn errors of the system into errors of the store."""
    try:
        yield
    except StreamForgeError:  # an object that is missing is an OSError too
        raise
    except OSError as error:
        kind = StorageFullError if error.errno in _FULL else StoreUnavailableError
        where = f" ({error.filename})" if error.filename else ""
        raise kind(f"{error.strerror or error}{where}", errno=error.errno) from error
