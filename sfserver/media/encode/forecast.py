"""What the rungs will come to, told from the source's packets alone, and which of them are left out for it."""

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass

from sfserver.media.contract import Rung, StorageBudget
from sfserver.media.source.index import PacketIndex

# Bytes grow slower than pixels, since a larger picture shows the same things smoother: measured on the rungs of bench
# sources, 0.55 … 0.65 on text and stills, which is what floors are about, 0.7 … 1.1 on film.
_SCREEN_POWER, FILM_POWER = 0.6, 0.75
# A source is often made by a slower preset than ours, and new pages between keyframes cost us more (0.99 … 1.19 ×).
_OUR_SHARE = 1.2
# What the worst quality saves on text.
_CRF_SAVES = 1.15
# Neighbours closer than that give a player nothing to choose between.
_LEAST_STEP = 1.5


@dataclass(frozen=True)
class KeyframeFloor:
    """What a rung of the source's own size takes: its keyframes as often as ours come, the rest as it stands."""

    size_bytes: int
    pixels: int
    length_s: float


def keyframe_floor(index: PacketIndex, gops: int, pixels: int, length_s: float) -> KeyframeFloor:
    """Measure the floor of a source of so many pixels for so many GOPs of ours."""
    keyframes = index.keyframe_bytes * gops // len(index.keyframes)
    rest = index.video_bytes - index.keyframe_bytes
    return KeyframeFloor(int(_OUR_SHARE * (keyframes + rest)), pixels, length_s)


def scaled(size_bytes: float, rung: Rung, pixels: int, power: float) -> float:
    """Return what a rung takes where a picture of so many pixels takes `size_bytes`."""
    return size_bytes * math.pow(rung.width * rung.height / pixels, power)


def expected_bytes(rung: Rung, floor: KeyframeFloor, power: float = _SCREEN_POWER) -> float:
    """Return what the rung will take; never more than its rate × time."""
    return min(scaled(floor.size_bytes, rung, floor.pixels, power), rung.maxrate_bps * floor.length_s / 8)


def drop_rungs(rungs: Sequence[Rung], floor: KeyframeFloor, budget: StorageBudget) -> tuple[list[Rung], list[str]]:
    """Leave out rungs that are hardly smaller than their neighbour, or that the storage budget has no room for.

    The middle one goes first. The smallest goes for the budget only where no CRF but that keeps it, the largest never
    does: over budget the picture wins. Returns what is left, best first, and the reasons.
    """
    kept, reasons = list(rungs), []
    while any(_is_close(*neighbours, floor) for neighbours in itertools.pairwise(kept)):
        reasons.append(f"{kept.pop(1).name} dropped: it would be within {_LEAST_STEP:g} x of a neighbour's size")
    at_worst = budget.allowed_bytes * _CRF_SAVES
    if len(kept) > 2 and (total := total_bytes(kept, floor)) > budget.allowed_bytes:
        reasons.append(f"{kept.pop(1).name} dropped: {_over(total, budget)}")
    if len(kept) > 1 and total_bytes(kept[:1], floor) <= at_worst < (total := total_bytes(kept, floor)):
        reasons.append(f"{kept.pop(1).name} dropped: {_over(total, budget)}")
    if (total := total_bytes(kept, floor)) > at_worst:
        reasons.append(f"over the storage budget, the picture wins: {_over(total, budget)}")
    return kept, reasons


def total_bytes(rungs: Sequence[Rung], floor: KeyframeFloor) -> float:
    """Return what the rungs will take together."""
    return sum(expected_bytes(rung, floor) for rung in rungs)


def _is_close(larger: Rung, smaller: Rung, floor: KeyframeFloor) -> bool:
    large, small = (expected_bytes(rung, floor, FILM_POWER) for rung in (larger, smaller))
    return large < _LEAST_STEP * small


def _over(total: float, budget: StorageBudget) -> str:
    allowed = f"{budget.allowed_bytes / 1e6:.2f} MB are allowed"
    return f"a keyframe every two seconds makes {total / 1e6:.2f} MB, {allowed}"
