"""The progressive file nobody stores: a head of its own, then the stored fragments of both tracks in time order.

`ftyp moov` with full sample tables, then one 64-bit `mdat` whose body is video fragment 0, audio fragment 0, video
fragment 1 and so on, byte for byte. Their `moof`s lie unreferenced between the samples, so any range of the whole is
ranges of the head and of the two track files.
"""

import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np

from sfserver.media.mp4.movie import Track, build_progressive_header
from sfserver.media.mp4.tracks import TrackTable, Wide

PartName = Literal["head", "video", "audio"]

_PARTS: tuple[PartName, ...] = ("head", "video", "audio")
_MAGIC = b"SFL1"
_LAYOUT_HEADER = struct.Struct("<4sIIQQ")
_MDAT_HEADER = struct.Struct(">I4sQ")


@dataclass(frozen=True)
class StoredTrack:
    """A track and how it is stored: `init_bytes` of `ftyp moov`, `index_bytes` of `sidx`, then its fragments."""

    track: Track
    table: TrackTable
    init_bytes: int
    index_bytes: int

    @property
    def start(self) -> int:
        """Where its first fragment begins."""
        return self.init_bytes + self.index_bytes


@dataclass(frozen=True)
class Span:
    """`length` bytes at `offset` of one stored part."""

    part: PartName
    offset: int
    length: int


@dataclass(frozen=True)
class VirtualFile:
    """The map from the progressive file to what is stored: piece `i` begins at `starts[i]`, the last start is the size.

    `parts` are indices into head, video, audio; `offsets` say where each piece lies in its part.
    """

    starts: Wide
    parts: np.ndarray[tuple[int], np.dtype[np.uint8]]
    offsets: Wide

    @classmethod
    def load(cls, head_size: int, layout: bytes) -> "VirtualFile":
        """Read what `build_layout` wrote. Raises ValueError when it is something else."""
        if len(layout) < _LAYOUT_HEADER.size:
            raise ValueError("not a layout")
        magic, videos, audios, video_start, audio_start = _LAYOUT_HEADER.unpack_from(layout)
        if magic != _MAGIC or len(layout) != _LAYOUT_HEADER.size + 4 * (videos + audios):
            raise ValueError("not a layout")
        sizes = np.frombuffer(layout, "<u4", offset=_LAYOUT_HEADER.size).astype(np.uint64)
        return cls.arrange(head_size, (sizes[:videos], video_start), (sizes[videos:], audio_start))

    @classmethod
    def arrange(cls, head_size: int, video: tuple[Wide, int], audio: tuple[Wide, int]) -> "VirtualFile":
        """Put head and fragments in order; each track is given by its fragments' sizes and where the first lies."""
        (videos, video_start), (audios, audio_start) = video, audio
        keys = np.concatenate(([-1], 2 * np.arange(len(videos)), 2 * np.arange(len(audios)) + 1))
        order = np.argsort(keys, kind="stable")
        sizes = np.concatenate((np.array([head_size], np.uint64), videos, audios))[order]
        parts = np.repeat(np.arange(3, dtype=np.uint8), (1, len(videos), len(audios)))[order]
        offsets = np.concatenate((np.zeros(1, np.uint64), _offsets(videos, video_start), _offsets(audios, audio_start)))
        return cls(np.concatenate((np.zeros(1, np.uint64), np.cumsum(sizes))), parts, offsets[order])

    @property
    def size(self) -> int:
        """All its bytes."""
        return int(self.starts[-1])

    def fragment_starts(self, part: PartName) -> Wide:
        """Say where a part's fragments begin, in order."""
        starts: Wide = self.starts[:-1][self.parts == _PARTS.index(part)]
        return starts

    def map_range(self, start: int, end: int) -> list[Span]:
        """Map bytes `start` ≤ i < `end` to stored bytes, neighbours in one part merged. Raises ValueError outside."""
        return list(self.iter_range(start, end))

    def iter_range(self, start: int, end: int) -> Iterator[Span]:
        """Map like `map_range`, one span after the other, so that the first is there at once. Raises ValueError."""
        if not 0 <= start <= end <= self.size:
            raise ValueError(f"bytes {start} to {end} of {self.size}")
        return self._merge(start, end)

    def _merge(self, start: int, end: int) -> Iterator[Span]:
        held: tuple[PartName, int, int] | None = None
        for part, offset, length in self._pieces(start, end):
            if held and (held[0], held[1] + held[2]) == (part, offset):
                held = (part, held[1], held[2] + length)
            else:
                if held:
                    yield Span(*held)
                held = (part, offset, length)
        if held:
            yield Span(*held)

    def _pieces(self, start: int, end: int) -> Iterator[tuple[PartName, int, int]]:
        first = int(np.searchsorted(self.starts, np.uint64(start), "right")) - 1
        last = int(np.searchsorted(self.starts, np.uint64(end), "left")) if start < end else first
        bounds = self.starts[first : last + 1].tolist()
        columns = (self.parts[first:last].tolist(), self.offsets[first:last].tolist(), bounds, bounds[1:])
        for part, offset, begin, finish in zip(*columns, strict=False):
            skip = max(0, start - begin)
            yield _PARTS[part], offset + skip, min(end, finish) - begin - skip


def build_head(video: StoredTrack, audio: StoredTrack | None) -> bytes:
    """Build all before the fragments: `ftyp moov` and the header of the one `mdat`."""
    stored = [video] if audio is None else [video, audio]

    def build(file: VirtualFile) -> bytes:
        chunks = [file.fragment_starts(part) for part in ("video", "audio")]
        header = build_progressive_header(
            [(each.track, each.table, at + each.table.data_starts) for each, at in zip(stored, chunks, strict=False)]
        )
        body = file.size - int(file.starts[1])
        return header + _MDAT_HEADER.pack(1, b"mdat", _MDAT_HEADER.size + body)

    # Offsets have a fixed width, so the head's size does not depend on them.
    head_size = len(build(_arrange(0, video, audio)))
    return build(_arrange(head_size, video, audio))


def build_layout(video: StoredTrack, audio: StoredTrack | None) -> bytes:
    """Write down the fragments' sizes, four bytes each, so that `VirtualFile.load` can map ranges without the head."""
    sizes = [stored.table.fragment_sizes.astype("<u4").tobytes() for stored in (video, audio) if stored]
    counts = len(video.table.fragment_sizes), len(audio.table.fragment_sizes) if audio else 0
    header = _LAYOUT_HEADER.pack(_MAGIC, *counts, video.start, audio.start if audio else 0)
    return header + b"".join(sizes)


def read_spans(spans: list[Span], read: Callable[[PartName, int, int], bytes]) -> bytes:
    """Put spans together by a function that reads `length` bytes at `offset` of a part."""
    return b"".join(read(span.part, span.offset, span.length) for span in spans)


def _offsets(sizes: Wide, start: int) -> Wide:
    offsets: Wide = np.cumsum(sizes) - sizes + np.uint64(start)
    return offsets


def _arrange(head_size: int, video: StoredTrack, audio: StoredTrack | None) -> VirtualFile:
    sound = (audio.table.fragment_sizes, audio.start) if audio else (np.zeros(0, np.uint64), 0)
    return VirtualFile.arrange(head_size, (video.table.fragment_sizes, video.start), sound)
