"""A whole track as columns: one array element a sample or a fragment, so that hours of video stay small."""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from sfserver.media.mp4.fragments import Column, Fragment

Wide = npt.NDArray[np.uint64]


@dataclass(frozen=True)
class TrackTable:
    """Every sample and every fragment of one track, in decoding order.

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
