"""What every object store can do.

Objects are whole, immutable and known by keys that rows hold: nothing is found by listing. Keys are made by the server
alone; nothing a user typed is ever part of one. Errors of a store: `ObjectMissingError` (reading only),
`ObjectTruncatedError`, `StorageFullError`, and `StoreUnavailableError` for all else that the world does.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Protocol

OnBytes = Callable[[int], None]
"""Called with a number of bytes that were moved just now."""


class ObjectWriter(Protocol):
    """An object being written; nobody sees it before `commit`."""

    def write(self, data: bytes) -> None:
        """Append all of `data`."""

    def commit(self) -> None:
        """Make the object durable and visible under its key, as long as what was written."""

    def abort(self) -> None:
        """Forget everything written; never raise."""


class ObjectReader(Protocol):
    """An open object."""

    size: int

    def read(self, offset: int, length: int) -> bytes:
        """Return `length` bytes from `offset` on, fewer where the object's `size` ends.

        Raises `ObjectTruncatedError` where bytes below `size` are gone.
        """

    def close(self) -> None:
        """Release it."""


class ObjectStore(Protocol):
    """What both sides of the seam can do."""

    def create(self, key: str) -> ObjectWriter:
        """Begin a new object."""

    def put_file(self, key: str, path: Path, on_bytes: OnBytes | None = None) -> None:
        """Store a local file under `key`; the file is consumed."""

    def open(self, key: str) -> ObjectReader:
        """Open an object for ranged reading; `ObjectMissingError` if there is none."""

    def size_of(self, key: str) -> int:
        """Return an object's size without reading it; `ObjectMissingError` if there is none."""

    def fetch(self, key: str, scratch: Path, on_bytes: OnBytes | None = None) -> Path:
        """Return a local file holding the object, made below `scratch` where the store is remote.

        The file is for reading only and is the caller's as long as `scratch` is. `ObjectMissingError` if there is none.
        """

    def delete(self, key: str) -> None:
        """Remove an object; removing what is not there is fine."""

    def free_bytes(self) -> int | None:
        """Return how many bytes can still be stored; None where the store has no such number."""

    def ping(self) -> None:
        """Write a block durably and remove it; `StoreUnavailableError` or `StorageFullError` if that fails."""
