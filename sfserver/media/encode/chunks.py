"""Where the work is cut: chunks of whole GOPs, short ones first so that playing can start early."""

import itertools
from bisect import bisect_left
from collections.abc import Iterable
from fractions import Fraction

import numpy as np
from numpy.typing import NDArray

from sfserver.media.contract import ChunkSpec

GOP_S = 2
_TARGETS_S = (2, 4, 8, 12)


def gop_length(fps: Fraction) -> int:
    """Return the frames of a two-second closed GOP."""
    return max(1, round(GOP_S * fps))


def gop_count(frames: int, gop_frames: int) -> int:
    """Return how many GOPs `frames` make; the last may be short."""
    return -(-frames // gop_frames)


def plan_chunks(
    frames: int, gop_frames: int, keyframes: Iterable[int], sizes: NDArray[np.int64] | None = None
) -> list[ChunkSpec]:
    """Cut output frames 0 ≤ n < `frames` into chunks; `keyframes` are the grid positions of source keyframes.

    `sizes[n]` are the source's bytes behind output frame n.

    A cut lies at the first GOP multiple at or after a source keyframe, so that a chunk decodes less than a GOP more
    than it encodes: a long source GOP makes a longer chunk, or decoding would go quadratic. No chunk is shorter than
    a GOP unless the whole video is.
    """
    allowed = sorted({gop_count(k, gop_frames) * gop_frames for k in keyframes})
    allowed = [cut for cut in allowed if 0 < cut <= frames - gop_frames]
    cuts = [0]
    while True:
        target = _TARGETS_S[min(len(cuts), len(_TARGETS_S)) - 1] // GOP_S * gop_frames
        # Nearest to the target, but a good deal short of it is not worth a task of its own.
        least = bisect_left(allowed, cuts[-1] + target * 3 // 4)
        if least == len(allowed):
            break
        cuts.append(_nearest(allowed, cuts[-1] + target, least))
    bounds = [*cuts, frames]
    spans = [0] * len(cuts) if sizes is None else np.add.reduceat(sizes, cuts).tolist()
    return [ChunkSpec(i, *bound, spans[i]) for i, bound in enumerate(itertools.pairwise(bounds))]


def audio_part_ends(chunks: list[ChunkSpec], frames: int, gop_frames: int, part_s: int = 30) -> list[int]:
    """Return the GOP indices (exclusive) that end the audio parts: chunk 0's span, then every `part_s` seconds."""
    first, last = gop_count(chunks[0].end_frame, gop_frames), gop_count(frames, gop_frames)
    return [*range(first, last, part_s // GOP_S), last] if first < last else [last]


def _nearest(cuts: list[int], wanted: int, least: int) -> int:
    at = bisect_left(cuts, wanted, least)
    return min(cuts[max(least, at - 1) : at + 1], key=lambda cut: abs(cut - wanted))
