"""What can be sent: stored objects, the progressive file that is put together from three of them, and text."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

from sfserver.errors import ObjectTruncatedError
from sfserver.infra.storage.contract import ObjectReader, ObjectStore
from sfserver.media.mp4.virtual import VirtualFile

BUFFER_BYTES = 512 * 1024


@dataclass(frozen=True)
class StoredSpan:
    """`length` bytes at `offset` of one stored object."""

    key: str
    offset: int
    length: int


class Body(Protocol):
    """Bytes that lie in the store."""

    @property
    def size(self) -> int:
        """All of them."""

    def map_range(self, start: int, end: int) -> Sequence[StoredSpan]:
        """Say where bytes `start` ≤ i < `end` lie."""


@dataclass(frozen=True)
class StoredObject:
    """One object as it is."""

    key: str
    size: int

    def map_range(self, start: int, end: int) -> Sequence[StoredSpan]:
        """Return the one span."""
        return [StoredSpan(self.key, start, end - start)]


@dataclass(frozen=True)
class ProgressiveFile:
    """A virtual file over the objects below `prefix`."""

    prefix: str
    quality: str
    layout: VirtualFile

    @property
    def size(self) -> int:
        """All its bytes."""
        return self.layout.size

    def map_range(self, start: int, end: int) -> Sequence[StoredSpan]:
        """Map the range to head, video and audio."""
        keys = {
            "head": f"{self.prefix}/file/{self.quality}.head",
            "video": f"{self.prefix}/v/{self.quality}.mp4",
            "audio": f"{self.prefix}/a/main.mp4",
        }
        return [StoredSpan(keys[span.part], span.offset, span.length) for span in self.layout.map_range(start, end)]


def cut_into_buffers(spans: Sequence[StoredSpan], limit: int = BUFFER_BYTES) -> Iterator[list[StoredSpan]]:
    """Group spans into runs of at most `limit` bytes, cutting those that are longer."""
    run: list[StoredSpan] = []
    room = limit
    for span in spans:
        offset, end = span.offset, span.offset + span.length
        while offset < end:
            length = min(room, end - offset)
            run.append(StoredSpan(span.key, offset, length))
            offset, room = offset + length, room - length
            if room == 0:
                yield run
                run, room = [], limit
    if run:
        yield run


class OpenObjects:
    """The objects one answer reads, opened when first needed."""

    def __init__(self, store: ObjectStore) -> None:
        self._open: Callable[[str], ObjectReader] = store.open
        self._readers: dict[str, ObjectReader] = {}

    def read(self, spans: Sequence[StoredSpan]) -> bytes:
        """Return the bytes of all spans; `ObjectMissingError` or `ObjectTruncatedError` where there are fewer."""
        parts = [self._reader(span.key).read(span.offset, span.length) for span in spans]
        if any(len(part) != span.length for part, span in zip(parts, spans, strict=True)):
            raise ObjectTruncatedError("a stored object is shorter than what was published")
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def close(self) -> None:
        """Close them all."""
        for reader in self._readers.values():
            reader.close()

    def _reader(self, key: str) -> ObjectReader:
        reader = self._readers.get(key)
        if reader is None:
            reader = self._readers[key] = self._open(key)
        return reader
