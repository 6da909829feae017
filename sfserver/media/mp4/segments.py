"""Segments: runs of whole fragments of one stored chunk, and the rates they come to."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

import numpy as np
import numpy.typing as npt

from sfserver.media.mp4.tracks import FragmentIndex, Wide

_ROUNDING_S = 1e-6


@dataclass(frozen=True)
class SegmentRule:
    """How a track is cut: `gops` fragments a segment, one in the first `opening_gops`; none reaches beyond a chunk."""

    gops: int = 2
    opening_gops: int = 0

    def firsts(self, first_gop: int, fragments: int) -> list[int]:
        """Return which fragments of a chunk, which begins at GOP `first_gop` of the track, begin a segment."""
        single = min(fragments, max(0, self.opening_gops - first_gop))
        return [*range(single), *range(single, fragments, self.gops)]


@dataclass(frozen=True)
class Segment:
    """A run of bytes of a chunk's object that lasts `duration_s`."""

    duration_s: Fraction
    offset: int
    length: int


def cut_segments(
    index: FragmentIndex, timescale: int, rule: SegmentRule, *, first_gop: int, start: int
) -> list[Segment]:
    """Cut a chunk into segments; its first fragment lies at `start` of its object."""
    firsts = rule.firsts(first_gop, len(index.sizes))
    lengths = np.add.reduceat(index.sizes.astype(np.uint64), firsts)
    ticks = np.add.reduceat(index.ticks.astype(np.uint64), firsts)
    return _segments(ticks, timescale, np.cumsum(lengths) - lengths + np.uint64(start), lengths)


def cut_iframes(index: FragmentIndex, timescale: int, *, start: int) -> list[Segment]:
    """Cut out the sync frame at the front of each fragment with the `moof` before it; each lasts to the next one."""
    sizes = index.sizes.astype(np.uint64)
    offsets = np.cumsum(sizes) - sizes + np.uint64(start)
    return _segments(index.ticks.astype(np.uint64), timescale, offsets, index.sync_ends.astype(np.uint64))


def average_bps(segments: Sequence[Segment]) -> int:
    """Measure the average rate in bit/s; 0 of nothing."""
    duration_s = math.fsum(segment.duration_s for segment in segments)
    return round(8 * sum(segment.length for segment in segments) / duration_s) if duration_s else 0


def peak_bps(segments: Sequence[Segment], target_s: int) -> int:
    """Measure the largest rate of neighbours that last 0.5 to 1.5 target durations together (RFC 8216, 4.1)."""
    ends_bytes = np.cumsum([0, *(segment.length for segment in segments)])
    ends_s = np.cumsum([0.0, *(float(segment.duration_s) for segment in segments)])
    peaks = [average_bps(segments)] if not _fitting(ends_s, target_s) else []
    for count in _fitting(ends_s, target_s):
        seconds, size = ends_s[count:] - ends_s[:-count], ends_bytes[count:] - ends_bytes[:-count]
        lasting = _lasts(seconds, target_s)
        peaks.append(round(float((8 * size[lasting] / seconds[lasting]).max())))
    return max(peaks)


def target_duration_s(gop_frames: int, fps: Fraction, rule: SegmentRule) -> int:
    """Return EXT-X-TARGETDURATION, known before anything is encoded: no segment, rounded to seconds, lasts longer."""
    return max(1, int(rule.gops * gop_frames / fps + Fraction(1, 2)))


def _fitting(ends_s: npt.NDArray[np.float64], target_s: int) -> list[int]:
    """Return how many neighbours can last half a target duration to one and a half."""
    counts = []
    for count in range(1, len(ends_s)):
        seconds = ends_s[count:] - ends_s[:-count]
        if not (2 * seconds <= 3 * target_s + _ROUNDING_S).any():
            break
        if _lasts(seconds, target_s).any():
            counts.append(count)
    return counts


def _lasts(seconds: npt.NDArray[np.float64], target_s: int) -> npt.NDArray[np.bool_]:
    lasting: npt.NDArray[np.bool_] = (target_s <= 2 * seconds + _ROUNDING_S) & (
        2 * seconds <= 3 * target_s + _ROUNDING_S
    )
    return lasting


def _segments(ticks: Wide, timescale: int, offsets: Wide, lengths: Wide) -> list[Segment]:
    rows = zip(ticks.tolist(), offsets.tolist(), lengths.tolist(), strict=True)
    return [Segment(Fraction(duration, timescale), offset, length) for duration, offset, length in rows]
