"""Where the work is cut: chunks of whole GOPs, short ones first so that playing can start early."""

import itertools
from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Sequence
from dataclasses import replace
from fractions import Fraction

import numpy as np
from numpy.typing import NDArray

from sfserver.media.contract import ChunkSpec, EncodePlan, Rung

GOP_S = 2
# The first chunk, of segments of one GOP each: as many as a player must be shown before it begins.
OPENING_GOPS = 3
# How long a chunk should be, by where it begins: 2 s up to 18 s, 4 s up to 58 s … Who watches while it encodes waits
# for whole chunks, and two are encoded side by side, each at half the speed: at 1.2 times real time these lengths keep
# what is ready ahead of what is played (docs/adr/0015-playing-while-it-encodes.md).
_TARGETS_S = ((18, 2), (58, 4), (130, 8), (10**9, 12))
_RUN_UP_S = 58
# In the run-up a cut may lie this far behind a source keyframe: its chunk decodes as much more than it encodes.
_PRE_ROLL_S = 10
# Where a chunk would be longer than this, nothing is cut for the sake of those who watch meanwhile.
_LONGEST_LIVE_S = 40
_OPENING_LINES = 720
# The sound is cut where the picture is, as long as that is cut by these rules: neither waits for the other.
_FIRST_PART_S, _PART_S = 6, 32


def gop_length(fps: Fraction) -> int:
    """Return the frames of a two-second closed GOP."""
    return max(1, round(GOP_S * fps))


def gop_count(frames: int, gop_frames: int) -> int:
    """Return how many GOPs `frames` make; the last may be short."""
    return -(-frames // gop_frames)


def plan_chunks(
    frames: int,
    gop_frames: int,
    keyframes: Iterable[int],
    sizes: NDArray[np.int64] | None = None,
    *,
    opening_gops: int = OPENING_GOPS,
) -> list[ChunkSpec]:
    """Cut output frames 0 ≤ n < `frames` into chunks; `keyframes` are the grid positions of source keyframes.

    `sizes[n]` are the source's bytes behind output frame n.

    A cut lies at the first GOP multiple at or after a source keyframe, so that a chunk decodes less than a GOP more
    than it encodes: a long source GOP makes a longer chunk, or decoding would go quadratic. The opening is a chunk of
    its own wherever the source has its keyframes, and so, within bounds, are the short chunks of the run-up after it:
    they are there soon. Where some chunk comes out so long that somebody who watches meanwhile would stand still
    all the same, there is neither. No chunk is shorter than a GOP unless the whole video is.
    """
    keys = sorted({gop_count(k, gop_frames) * gop_frames for k in keyframes} | {0})
    last = frames - gop_frames
    cuts = _cut_rest(
        _cut_opening(frames, gop_frames, opening_gops), keys, last, gop_frames, _RUN_UP_S if opening_gops else 0
    )
    longest = max(b - a for a, b in itertools.pairwise([*cuts, frames]))
    if opening_gops and longest > _LONGEST_LIVE_S // GOP_S * gop_frames:
        cuts = _cut_rest([0], keys, last, gop_frames, 0)
    bounds = [*cuts, frames]
    spans = [0] * len(cuts) if sizes is None else np.add.reduceat(sizes, cuts).tolist()
    return [ChunkSpec(i, *bound, spans[i]) for i, bound in enumerate(itertools.pairwise(bounds))]


def opening_length(chunks: Sequence[ChunkSpec], gop_frames: int) -> int:
    """Return how many GOPs at the front are segments of their own: the opening's, and as far as chunks have one GOP.

    0 where there is no opening.
    """
    if chunks[0].end_frame != OPENING_GOPS * gop_frames or len(chunks) == 1:
        return 0
    rest = itertools.takewhile(lambda chunk: chunk.end_frame - chunk.start_frame == gop_frames, chunks[1:])
    return OPENING_GOPS + sum(1 for _ in rest)


def encode_tasks(plan: EncodePlan, chunks: Sequence[ChunkSpec]) -> list[ChunkSpec]:
    """Return the tasks that encode the chunks, in the order in which they should be done.

    The opening is encoded in the rungs of at most 720 lines first: they are the ones a player begins with, and are made
    in half the time. The larger ones of the same seconds come next. `source_bytes` are shared out by rate.
    """
    low = [rung for rung in plan.rungs if min(rung.width, rung.height) <= _OPENING_LINES]
    high = [rung for rung in plan.rungs if rung not in low]
    if not low or not high or not plan.opening_gops:
        return list(chunks)
    opening, *rest = chunks
    first = _share(opening, low, plan.rungs)
    left = opening.source_bytes - first.source_bytes
    return [first, replace(opening, rungs=[rung.name for rung in high], source_bytes=left), *rest]


def audio_part_ends(frames: int, gop_frames: int) -> list[int]:
    """Return the GOP indices (exclusive) that end the audio parts: the opening's seconds, then 32 s each."""
    last = gop_count(frames, gop_frames)
    return [*range(_FIRST_PART_S // GOP_S, last, _PART_S // GOP_S), last]


def _share(chunk: ChunkSpec, rungs: Sequence[Rung], all_rungs: Sequence[Rung]) -> ChunkSpec:
    rate, whole = (sum(rung.maxrate_bps for rung in some) for some in (rungs, all_rungs))
    return replace(chunk, rungs=[rung.name for rung in rungs], source_bytes=chunk.source_bytes * rate // whole)


def _cut_opening(frames: int, gop_frames: int, gops: int) -> list[int]:
    """Cut the first GOPs off where there is a whole one behind them."""
    return [0, gops * gop_frames] if gops and gops * gop_frames <= frames - gop_frames else [0]


def _cut_rest(cuts: list[int], keys: list[int], last: int, gop_frames: int, run_up_s: int) -> list[int]:
    """Add cuts up to `last`: after source keyframes, or in the run-up not too far behind one."""
    cuts = list(cuts)
    while True:
        at_s = cuts[-1] // gop_frames * GOP_S
        wanted = cuts[-1] + next(length for end, length in _TARGETS_S if at_s < end) // GOP_S * gop_frames
        cut = _nearest(keys, cuts[-1], wanted)
        if at_s < run_up_s and (cut is None or cut - cuts[-1] > 5 * (wanted - cuts[-1]) // 4):
            before = keys[bisect_right(keys, wanted) - 1]
            cut = wanted if wanted - before <= _PRE_ROLL_S // GOP_S * gop_frames else cut
        if cut is None or cut > last:
            return cuts
        cuts.append(cut)


def _nearest(keys: list[int], start: int, wanted: int) -> int | None:
    """Return the key nearest to `wanted`; one a good deal short of it is not worth a task of its own."""
    least = bisect_left(keys, start + (wanted - start) * 3 // 4)
    at = bisect_left(keys, wanted, least)
    near = keys[max(least, at - 1) : at + 1]
    return min(near, key=lambda key: abs(key - wanted), default=None)
