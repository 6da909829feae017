"""Bytes: stored objects, the progressive file that is put together from many of them, and what is held in memory."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

from sfserver.errors import ObjectTruncatedError
from sfserver.infra.storage.contract import ObjectReader, ObjectStore
from sfserver.media.mp4.virtual import VirtualFile

BUFFER_BYTES = 512 * 1024


@dataclass(frozen=True)
class StoredObject:
    """One object and the size it was stored with."""

    key: str
    size: int

    def iter_range(self, start: int, end: int) -> Iterator["StoredSpan"]:
        """Yield the one span."""
        yield StoredSpan(self, start, end - start)


@dataclass(frozen=True)
class StoredSpan:
    """`length` bytes at `offset` of one stored object."""

    object: StoredObject
    offset: int
    length: int


@dataclass(frozen=True)
class HeldSpan:
    """Bytes that are in memory."""

    data: bytes

    @property
    def length(self) -> int:
        """How many."""
        return len(self.data)


Span = StoredSpan | HeldSpan


class Body(Protocol):
    """Bytes that can be sent."""

    @property
    def size(self) -> int:
        """All of them."""

    def iter_range(self, start: int, end: int) -> Iterator[Span]:
        """Say where bytes `start` ≤ i < `end` lie, one run after the other: the first one costs no look at the rest."""


@dataclass(frozen=True)
class HeldBytes:
    """A body in memory."""

    data: bytes

    @property
    def size(self) -> int:
        """All its bytes."""
        return len(self.data)

    def iter_range(self, start: int, end: int) -> Iterator[HeldSpan]:
        """Yield the one span."""
        yield HeldSpan(self.data[start:end])


@dataclass(frozen=True)
class ProgressiveFile:
    """A virtual file over stored objects; the file numbers them as they stand in `objects`."""

    objects: Sequence[StoredObject]
    layout: VirtualFile

    @property
    def size(self) -> int:
        """All its bytes."""
        return self.layout.size

    def iter_range(self, start: int, end: int) -> Iterator[StoredSpan]:
        """Map the range to the objects that hold it."""
        for span in self.layout.iter_range(start, end):
            yield StoredSpan(self.objects[span.object], span.offset, span.length)


def cut_into_buffers(spans: Iterable[Span], limit: int = BUFFER_BYTES) -> Iterator[list[Span]]:
    """Group spans into runs of at most `limit` bytes, cutting those that are longer; looks no further than it must."""
    run: list[Span] = []
    room = limit
    for span in spans:
        at = 0
        while at < span.length:
            length = min(room, span.length - at)
            run.append(_cut(span, at, length))
            at, room = at + length, room - length
            if room == 0:
                yield run
                run, room = [], limit
    if run:
        yield run


class OpenObjects:
    """The object one answer reads from, opened when it is needed: a film has thousands, so one at a time."""

    def __init__(self, store: ObjectStore) -> None:
        self._open: Callable[[str], ObjectReader] = store.open
        self._readers: dict[str, ObjectReader] = {}

    def read(self, spans: Sequence[Span]) -> bytes:
        """Return the bytes of all spans.

        Raises `ObjectMissingError`, and `ObjectTruncatedError` where an object is not the one that was stored.
        """
        parts = [self._read(span) for span in spans]
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def check(self, span: Span) -> None:
        """See that the bytes of a span are there, without reading them; raises as `read` does."""
        if isinstance(span, StoredSpan):
            self._reader(span.object)

    def close(self) -> None:
        """Close them all."""
        for reader in self._readers.values():
            reader.close()
        self._readers.clear()

    def _read(self, span: Span) -> bytes:
        if isinstance(span, HeldSpan):
            return span.data
        part = self._reader(span.object).read(span.offset, span.length)
        if len(part) != span.length:
            raise ObjectTruncatedError(f"{span.object.key} is shorter than what was published")
        return part

    def _reader(self, wanted: StoredObject) -> ObjectReader:
        reader = self._readers.get(wanted.key)
        if reader is None:
            if len(self._readers) >= _MOST_OPEN:
                self._readers.pop(next(iter(self._readers))).close()
            reader = self._readers[wanted.key] = self._open(wanted.key)
            if reader.size != wanted.size:
                raise ObjectTruncatedError(
                    f"{wanted.key} has {reader.size} of the {wanted.size} bytes it was stored with"
                )
        return reader


# Picture, sound and head of a progressive file in turn.
_MOST_OPEN = 4


def _cut(span: Span, at: int, length: int) -> Span:
    if isinstance(span, HeldSpan):
        return HeldSpan(span.data[at : at + length])
    return StoredSpan(span.object, span.offset + at, length)
