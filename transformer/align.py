"""The best path of a known text through the frames: when each phone and each word was said.

The network is trained on all paths (`ctc`); here the likeliest one is found (Viterbi 1967) over the same states.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from transformer.tokenizer import BLANK

Floats = NDArray[np.float32]


def interleave_blanks(target: Sequence[int]) -> list[int]:
    """Return blank, first label, blank, second label … blank: the 2L + 1 states that a path walks through."""
    return [BLANK, *(state for label in target for state in (label, BLANK))]


def collapse(path: Sequence[int]) -> list[int]:
    """Return the labels of a path of frames: repeats merged, then blanks dropped."""
    return [label for at, label in enumerate(path) if label != BLANK and (at == 0 or label != path[at - 1])]


def align(log_probs: Floats, target: Sequence[int]) -> list[tuple[int, int]]:
    """Return the frames [start, end) of each label on the likeliest path of log_probs (S, labels) that says `target`.

    Raises ValueError if the frames are too few for the labels.
    """
    if not len(log_probs):
        if len(target):
            raise ValueError(f"{len(target)} labels do not fit into 0 frames")
        return []
    states = np.array(interleave_blanks(target))
    may_skip = np.zeros(len(states), bool)
    may_skip[3::2] = states[3::2] != states[1:-2:2]  # equal labels need the blank between them
    emit = log_probs[:, states]  # (S, 2L + 1)
    score = np.full(len(states), -np.inf, np.float32)
    score[:2] = emit[0, :2]
    came_from = np.zeros((len(log_probs), len(states)), np.int8)  # how many states before
    for at in range(1, len(log_probs)):
        step = np.concatenate([[-np.inf], score[:-1]])
        skip = np.where(may_skip, np.concatenate([[-np.inf, -np.inf], score[:-2]])[: len(states)], -np.inf)
        choices = np.stack([score, step, skip])
        came_from[at] = choices.argmax(0)
        score = choices.max(0) + emit[at]
    state = len(states) - 1 if len(states) == 1 or score[-1] >= score[-2] else len(states) - 2
    if not np.isfinite(score[state]):
        raise ValueError(f"{len(target)} labels do not fit into {len(log_probs)} frames")
    path = np.empty(len(log_probs), np.int64)
    for at in range(len(log_probs) - 1, -1, -1):
        path[at] = state
        state -= int(came_from[at, state])
    starts = np.searchsorted(path, np.arange(1, len(states), 2))
    ends = np.searchsorted(path, np.arange(1, len(states), 2), side="right")
    return list(zip(starts.tolist(), ends.tolist(), strict=True))
