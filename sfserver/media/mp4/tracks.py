"""A whole track as columns: one array element a sample or a fragment, so that hours of video stay small."""

import struct
import zlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields

import numpy as np
import numpy.typing as npt

from sfserver.media.mp4.fragments import Column, Fragment

Wide = npt.NDArray[np.uint64]

_COUNTS = struct.Struct("<4sII")
_MAGIC = b"SFT1"
# Beyond any part of ours: a table that claims more was not made by `pack`.
_MOST_BYTES = 64 << 20


@dataclass(frozen=True)
class FragmentIndex:
    """What serving needs of a run of fragments: each one's bytes, ticks, and the bytes that end with its sync frame."""

    sizes: Column
    ticks: Column
    sync_ends: Column

    def pack(self) -> bytes:
        """Return 12 bytes a fragment."""
        return np.stack([self.sizes, self.ticks, self.sync_ends], axis=1).astype("<u4").tobytes()

    @classmethod
    def unpack(cls, packed: bytes) -> "FragmentIndex":
        """Read what `pack` wrote. Raises ValueError on another length."""
        rows = np.frombuffer(packed, "<u4").reshape(-1, 3).astype(np.uint32)
        return cls(rows[:, 0], rows[:, 1], rows[:, 2])

    @classmethod
    def concatenate(cls, parts: "Sequence[FragmentIndex]") -> "FragmentIndex":
        """Put runs one behind the other."""
        empty = np.zeros(0, np.uint32)
        return cls(*(np.concatenate([empty, *(getattr(part, f.name) for part in parts)]) for f in fields(cls)))


@dataclass(frozen=True)
class TrackTable:
    """Every sample and every fragment of one track or of a part of it, in decoding order.

    Per sample: `sizes`, `durations`, `composition_offsets` and `sync`. Per fragment: `fragment_sizes` in bytes,
    `data_starts` (first sample byte, from the fragment's start), `fragment_samples` and `fragment_ticks`.
    """

    sizes: Column
    durations: Column
    composition_offsets: Column
    sync: npt.NDArray[np.bool_]
    fragment_sizes: Wide
    data_starts: Wide
    fragment_samples: Wide
    fragment_ticks: Wide

    @property
    def ticks(self) -> int:
        """The track's duration."""
        return int(self.fragment_ticks.sum())

    @property
    def sync_ends(self) -> Wide:
        """How many bytes of each fragment reach to the end of its first sample, the sync sample."""
        firsts = np.cumsum(self.fragment_samples) - self.fragment_samples
        return self.data_starts + self.sizes[firsts.astype(np.intp)]

    @property
    def index(self) -> FragmentIndex:
        """What serving needs of it."""
        return FragmentIndex(*(c.astype(np.uint32) for c in (self.fragment_sizes, self.fragment_ticks, self.sync_ends)))

    def pack(self) -> bytes:
        """Return it as bytes, about three a sample: what packaging needs and nobody after it."""
        counts = _COUNTS.pack(_MAGIC, len(self.fragment_sizes), len(self.sizes))
        per_fragment = (self.fragment_sizes, self.data_starts, self.fragment_samples)
        per_sample = (self.sizes, self.durations, self.composition_offsets)
        columns = b"".join(row.astype("<u4").tobytes() for row in (*per_fragment, *per_sample))
        return zlib.compress(counts + columns + self.sync.astype("u1").tobytes(), 1)

    @classmethod
    def unpack(cls, packed: bytes) -> "TrackTable":
        """Read what `pack` wrote. Raises ValueError on anything else."""
        data = _inflate(packed)
        magic, fragments, samples = _COUNTS.unpack_from(data)
        if magic != _MAGIC or len(data) != _COUNTS.size + 12 * fragments + 13 * samples:
            raise ValueError("not a sample table")
        numbers = np.frombuffer(data, "<u4", 3 * (fragments + samples), _COUNTS.size)
        per_fragment = numbers[: 3 * fragments].reshape(3, fragments).astype(np.uint64)
        per_sample = numbers[3 * fragments :].reshape(3, samples).astype(np.uint32)
        sync = np.frombuffer(data, "u1", samples, len(data) - samples).astype(np.bool_)
        sizes, durations, offsets = per_sample
        whole, data_starts, counts = per_fragment
        if not np.array_equal(data_starts + _sum_runs(sizes, counts), whole):
            raise ValueError("a sample table whose fragments have other sizes")
        return cls(sizes, durations, offsets, sync, whole, data_starts, counts, _sum_runs(durations, counts))

    @classmethod
    def concatenate(cls, parts: "Sequence[TrackTable]") -> "TrackTable":
        """Put the tables of a track's parts one behind the other; there must be one at least."""
        return cls(*(np.concatenate([getattr(part, column.name) for part in parts]) for column in fields(cls)))

    @classmethod
    def join(cls, fragments: Iterable[Fragment]) -> "TrackTable":
        """Join the fragments of a track; there must be one at least."""
        parts = list(fragments)
        return cls(
            np.concatenate([part.sizes for part in parts]),
            np.concatenate([part.durations for part in parts]),
            np.concatenate([part.composition_offsets for part in parts]),
            np.concatenate([part.sync for part in parts]),
            np.array([part.size for part in parts], np.uint64),
            np.array([part.data_start for part in parts], np.uint64),
            np.array([len(part.sizes) for part in parts], np.uint64),
            np.array([part.ticks for part in parts], np.uint64),
        )


def run_lengths(values: npt.NDArray[np.unsignedinteger]) -> tuple[Wide, npt.NDArray[np.unsignedinteger]]:
    """Return how often each value repeats in a row, and those values."""
    starts = np.flatnonzero(np.concatenate(([True], values[1:] != values[:-1])))
    return np.diff(np.append(starts, len(values))).astype(np.uint64), values[starts]


def _inflate(packed: bytes) -> bytes:
    inflater = zlib.decompressobj()
    try:
        data = inflater.decompress(packed, _MOST_BYTES)
    except zlib.error as error:
        raise ValueError("not a sample table") from error
    if not inflater.eof or len(data) < _COUNTS.size:
        raise ValueError("not a sample table")
    return data


def _sum_runs(values: Column, lengths: Wide) -> Wide:
    """Sum runs of `lengths` values each."""
    if int(lengths.sum()) != len(values) or not lengths.all() or not len(lengths):
        raise ValueError("a sample table with samples of no fragment")
    firsts = (np.cumsum(lengths) - lengths).astype(np.intp)
    sums: Wide = np.add.reduceat(values.astype(np.uint64), firsts)
    return sums
