"""The progressive file nobody stores: a head of its own, then the stored fragments of both tracks in time order.

`ftyp moov` with full sample tables, then one 64-bit `mdat` whose body is video fragment 0, audio fragment 0, video
fragment 1 and so on, byte for byte. Their `moof`s lie unreferenced between the samples, so any range of the whole is
ranges of the head and of the objects that hold the fragments.
"""

import struct
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from sfserver.media.mp4.movie import Track, build_progressive_header
from sfserver.media.mp4.tracks import TrackTable, Wide

HEAD = 0
"""The number of the head among the objects of a file."""

_MDAT_HEADER = struct.Struct(">I4sQ")
# Pieces that are looked at in one go: a seek costs this much, however much of the file comes after it.
_BLOCK = 64


@dataclass(frozen=True)
class Placed:
    """A track's fragments: the size of each, the number of the object that holds it, and where it lies in that."""

    sizes: Wide
    objects: npt.NDArray[np.int32]
    offsets: Wide

    @classmethod
    def in_objects(cls, first_object: int, chunks: Sequence[tuple[int, npt.NDArray[np.unsignedinteger]]]) -> "Placed":
        """Place fragments that lie one behind the other; a chunk is where they begin in its object, and their sizes."""
        sizes = [np.zeros(0, np.uint64), *(each.astype(np.uint64) for _, each in chunks)]
        offsets = [
            np.cumsum(each) - each + np.uint64(start) for each, (start, _) in zip(sizes[1:], chunks, strict=True)
        ]
        counts = [len(each) for each in sizes[1:]]
        numbers = np.repeat(np.arange(first_object, first_object + len(chunks), dtype=np.int32), counts)
        return cls(np.concatenate(sizes), numbers, np.concatenate([np.zeros(0, np.uint64), *offsets]))


@dataclass(frozen=True)
class Span:
    """`length` bytes at `offset` of object number `object`."""

    object: int
    offset: int
    length: int


@dataclass(frozen=True)
class VirtualFile:
    """The map from the progressive file to what is stored: piece `i` begins at `starts[i]`, the last start is the size.

    Piece `i` lies at `offsets[i]` of object `objects[i]`.
    """

    starts: Wide
    objects: npt.NDArray[np.int32]
    offsets: Wide

    @classmethod
    def arrange(cls, head_size: int, video: Placed, audio: Placed | None) -> "VirtualFile":
        """Put head and fragments in order."""
        order = _order(len(video.sizes), len(audio.sizes) if audio else 0)
        tracks = [video] if audio is None else [video, audio]
        sizes = np.concatenate([np.array([head_size], np.uint64), *(track.sizes for track in tracks)])[order]
        objects = np.concatenate([np.array([HEAD], np.int32), *(track.objects for track in tracks)])[order]
        offsets = np.concatenate([np.zeros(1, np.uint64), *(track.offsets for track in tracks)])[order]
        return cls(np.concatenate((np.zeros(1, np.uint64), np.cumsum(sizes))), objects, offsets)

    @property
    def size(self) -> int:
        """All its bytes."""
        return int(self.starts[-1])

    def iter_range(self, start: int, end: int) -> Iterator[Span]:
        """Map bytes `start` ≤ i < `end` to stored bytes, some neighbours in one object merged.

        The first is there in O(log n), the rest as they are asked for. Raises ValueError outside.
        """
        if not 0 <= start <= end <= self.size:
            raise ValueError(f"bytes {start} to {end} of {self.size}")
        return self._merge(start, end)

    def _merge(self, start: int, end: int) -> Iterator[Span]:
        held: tuple[int, int, int] | None = None
        merged = 0
        for number, offset, length in self._pieces(start, end):
            if held and (held[0], held[1] + held[2]) == (number, offset) and merged < _BLOCK:
                held, merged = (number, held[1], held[2] + length), merged + 1
            else:
                if held:
                    yield Span(*held)
                held, merged = (number, offset, length), 1
        if held:
            yield Span(*held)

    def _pieces(self, start: int, end: int) -> Iterator[tuple[int, int, int]]:
        if start == end:
            return
        first = int(np.searchsorted(self.starts, np.uint64(start), "right")) - 1
        last = int(np.searchsorted(self.starts, np.uint64(end), "left"))
        for at in range(first, last, _BLOCK):
            to = min(at + _BLOCK, last)
            bounds = self.starts[at : to + 1].tolist()
            columns = (self.objects[at:to].tolist(), self.offsets[at:to].tolist(), bounds, bounds[1:])
            for number, offset, begin, finish in zip(*columns, strict=False):
                skip = max(0, start - begin)
                yield number, offset + skip, min(end, finish) - begin - skip


def build_head(video: tuple[Track, TrackTable], audio: tuple[Track, TrackTable] | None) -> bytes:
    """Build all before the fragments: `ftyp moov` and the header of the one `mdat`."""
    tracks = [video] if audio is None else [video, audio]
    sizes = [table.fragment_sizes for _, table in tracks]
    order = _order(*(len(each) for each in sizes), *([0] if audio is None else []))
    whole = np.concatenate([np.zeros(1, np.uint64), *sizes])

    def build(head_size: int) -> bytes:
        whole[0] = head_size
        starts = np.empty_like(whole)
        starts[order] = np.cumsum(whole[order]) - whole[order]
        chunks = np.split(starts[1:], [len(sizes[0])])
        header = build_progressive_header(
            [(track, table, at + table.data_starts) for (track, table), at in zip(tracks, chunks, strict=False)]
        )
        return header + _MDAT_HEADER.pack(1, b"mdat", _MDAT_HEADER.size + int(whole[1:].sum()))

    # Offsets have a fixed width, so the head's size does not depend on them.
    return build(len(build(0)))


def read_spans(spans: Iterable[Span], read: Callable[[int, int, int], bytes]) -> bytes:
    """Put spans together by a function that reads `length` bytes at `offset` of an object."""
    return b"".join(read(span.object, span.offset, span.length) for span in spans)


def _order(videos: int, audios: int) -> npt.NDArray[np.intp]:
    """Return the order of head, video fragments and audio fragments (in this order) in the file."""
    keys = np.concatenate(([-1], 2 * np.arange(videos), 2 * np.arange(audios) + 1))
    return np.argsort(keys, kind="stable")
