"""Connectionist temporal classification (Graves et al. 2006): how to learn when nobody says where a sound lies.

The network gives each frame a distribution over labels and a blank. Every path of frame labels that collapses (repeats
merged, blanks dropped) to the target counts; their probabilities are summed by dynamic programming over the target with
blanks between its labels.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from transformer.align import collapse, interleave_blanks
from transformer.tokenizer import BLANK

__all__ = ["collapse", "ctc_loss", "interleave_blanks"]


def ctc_loss(log_probs: Tensor, target: Sequence[int]) -> Tensor:
    """Return -log of the summed probability of all paths: log_probs (S, labels) of one example, a scalar.

    S is 1 or more. Infinite where no path fits, as when there are fewer frames than labels (and blanks between equal
    ones).
    """
    states = interleave_blanks(target)
    emit = log_probs[:, states]  # (S, 2L + 1)
    # A path may leave out the blank between two labels, unless they are equal: else they would collapse into one.
    may_skip = torch.tensor(
        [at >= 2 and states[at] != BLANK and states[at] != states[at - 2] for at in range(len(states))]
    )
    never = torch.full((2,), -torch.inf, dtype=emit.dtype)
    alpha = torch.cat([emit[0, :2], emit.new_full((len(states),), -torch.inf)])[: len(states)]
    for frame in emit[1:]:
        stay = alpha
        step = torch.cat([never[:1], alpha[:-1]])
        skip = torch.cat([never, alpha[:-2]])[: len(states)].masked_fill(~may_skip, -torch.inf)
        alpha = _log_sum(torch.stack([stay, step, skip])) + frame
    return -_log_sum(alpha[-2:])


def _log_sum(x: Tensor) -> Tensor:
    """Logsumexp over the first axis whose gradient stays finite where all terms are -inf."""
    top = x.detach().amax(0).clamp_min(torch.finfo(x.dtype).min)
    return (x - top).exp().sum(0).clamp_min(torch.finfo(x.dtype).tiny).log().where(
        x.amax(0) > -torch.inf, -torch.inf
    ) + top
