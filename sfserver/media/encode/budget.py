"""What an encode may store: three times the source, kept by the quality of the chunks that are still to be claimed."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

from sfserver.media.contract import StorageBudget
from sfserver.media.encode.ladder import BASE_CRF

SOURCE_SHARE = 3
ALLOWANCE_BYTES = 256 * 1024
# Above it what is saved shows.
WORST_CRF = 27.0
# Few distinct values, so that recorded chunks can be summed up by them.
_CRF_STEP = 0.5
# How far a chunk's bytes per source byte lie from the mean, in shares of it (measured on natural low-rate clips).
_SCATTER = 1 / 3
# x264 takes half the bits at six more (the quantiser step doubles every six, H.264 8.5.9).
_CRF_HALVES = 6.0


@dataclass(frozen=True)
class Spent:
    """What a recorded chunk, or several of one `crf` summed up, made of the source's bytes, all rungs together."""

    made_bytes: int
    source_bytes: int
    crf: float = BASE_CRF


def expect_bytes(budget: StorageBudget, expected_bytes: int) -> StorageBudget:
    """Return the budget with what all rungs are expected to take, on the safe side: at least what it says already.

    What the plan misjudges later chunks make up for, if there are any: the more chunks, the less is put on top.
    """
    safe = int(expected_bytes * (1 + _SCATTER / math.sqrt(budget.chunks)))
    return replace(budget, expected_bytes=max(budget.expected_bytes, safe))


def chunk_crf(budget: StorageBudget, recorded: Sequence[Spent]) -> float:
    """Return the quality for the next chunk, from what the recorded ones came to, or before there are any the plan.

    The lowest of `BASE_CRF`, + 0.5 … `WORST_CRF` at which the rest of the source, should it cost as many bytes per
    source byte as the recorded chunks and a standard error more, keeps the whole within the budget; `WORST_CRF` where
    none does.
    """
    if not budget.source_bytes:
        return BASE_CRF
    if not recorded:
        return _crf_to_save(budget.expected_bytes / max(1, budget.allowed_bytes))
    source = sum(spent.source_bytes for spent in recorded)
    left = budget.allowed_bytes - sum(spent.made_bytes for spent in recorded)
    rest = budget.source_bytes - source
    if not source or (rest <= 0 < left):
        return BASE_CRF
    if left <= 0:
        return WORST_CRF
    at_base = math.fsum(spent.made_bytes * 2 ** ((spent.crf - BASE_CRF) / _CRF_HALVES) for spent in recorded)
    # The error of a mean of n samples that is to foretell that of m more: scatter × √(1/n + 1/m).
    error = _SCATTER * budget.source_bytes / math.sqrt(budget.chunks * source * rest)
    return _crf_to_save(at_base / source * (1 + error) * rest / left)


def _crf_to_save(times_too_large: float) -> float:
    above = _CRF_HALVES * math.log2(max(1.0, times_too_large))
    return min(WORST_CRF, BASE_CRF + math.ceil(above / _CRF_STEP) * _CRF_STEP)


def describe_spending(budget: StorageBudget, recorded: Sequence[Spent]) -> str:
    """Say what the recorded chunks took of the budget, and at which quality."""
    made = sum(spent.made_bytes for spent in recorded)
    text = f"{made / 1e6:.2f} MB of the {budget.allowed_bytes / 1e6:.2f} MB that all renditions may take"
    if made > budget.allowed_bytes:
        text += ": over it, the picture wins"
    crfs = [spent.crf for spent in recorded] or [BASE_CRF]
    lowest, highest = f"{min(crfs):g}", f"{max(crfs):g}"
    return f"{text}; CRF {lowest}" + (f" to {highest}" if highest != lowest else "")
