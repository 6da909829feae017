"""Segments: runs of bytes of a track file, and the rates they come to."""

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import pairwise

import numpy as np

from sfserver.media.mp4.tracks import TrackTable


@dataclass(frozen=True)
class Segment:
    """A run of bytes of a track file that lasts `duration_s`."""

    duration_s: Fraction
    offset: int
    length: int


def cut_segments(table: TrackTable, timescale: int, start: int, gops: int) -> list[Segment]:
    """Cut a track into segments of `gops` fragments each; the first fragment lies at `start` of its file."""
    firsts = np.arange(0, len(table.fragment_sizes), gops)
    lengths = np.add.reduceat(table.fragment_sizes, firsts)
    ticks = np.add.reduceat(table.fragment_ticks, firsts)
    return _segments(ticks, timescale, np.cumsum(lengths) - lengths + np.uint64(start), lengths)


def cut_iframes(table: TrackTable, timescale: int, start: int) -> list[Segment]:
    """Cut out the sync frame at the front of each fragment with the `moof` before it; each lasts to the next one."""
    offsets = np.cumsum(table.fragment_sizes) - table.fragment_sizes + np.uint64(start)
    return _segments(table.fragment_ticks, timescale, offsets, table.sync_ends)


def average_bps(segments: Sequence[Segment]) -> int:
    """Measure the average rate in bit/s; 0 of nothing."""
    duration_s = sum(segment.duration_s for segment in segments)
    return round(8 * sum(segment.length for segment in segments) / duration_s) if duration_s else 0


def peak_bps(segments: Sequence[Segment]) -> int:
    """Measure the largest rate of neighbours that last 0.5 to 1.5 target durations together (RFC 8216, 4.1)."""
    target = target_duration(segments)
    runs = [[segment] for segment in segments] + [list(pair) for pair in pairwise(segments)]
    lasting = [run for run in runs if target <= 2 * sum(segment.duration_s for segment in run) <= 3 * target]
    return max((average_bps(run) for run in lasting), default=average_bps(segments))


def target_duration(segments: Sequence[Segment]) -> int:
    """Return EXT-X-TARGETDURATION: no segment, rounded to whole seconds, lasts longer."""
    return max((int(segment.duration_s + Fraction(1, 2)) for segment in segments), default=0) or 1


def _segments(ticks: np.ndarray, timescale: int, offsets: np.ndarray, lengths: np.ndarray) -> list[Segment]:
    rows = zip(ticks.tolist(), offsets.tolist(), lengths.tolist(), strict=True)
    return [Segment(Fraction(duration, timescale), offset, length) for duration, offset, length in rows]
