# %% [markdown]
# # Solutions to 05 · CTC
#
# Each stands alone.

# %%
from itertools import pairwise, product
from math import comb

import torch
from torch import Tensor
from torch.nn import functional
from torch.nn.utils.rnn import pad_sequence

from transformer.ctc import collapse, ctc_loss, interleave_blanks

torch.set_num_threads(1)
torch.manual_seed(5)

# %% [markdown]
# ## 1 · Doubles
#
# Between two equal labels the run of blanks may **not** be empty. Each of the r such runs takes a frame of its own like
# a label, so S − L − r spare frames are dealt out to 2L + 1 runs: C(S + L − r, 2L).

# %%
FRAMES = 7
for target in ([1, 1, 2], [1, 1, 1], [1, 2, 2, 1], [1, 2, 1]):
    doubles = sum(a == b for a, b in pairwise(target))
    found = sum(collapse(path) == target for path in product(range(3), repeat=FRAMES))
    print(target, found)
    assert found == comb(FRAMES + len(target) - doubles, 2 * len(target))

# %% [markdown]
# ## 2 · The best path is not the best text
#
# 0.6 for blank in both frames: the best path is `--` with 0.36. But "a" has three paths, `aa`, `a-`, `-a`, with 0.16 +
# 0.24 + 0.24 = 0.64. Greedy decoding follows one path; a beam search over *texts* adds up the paths of each, which is
# why it finds more than greedy even without a language model.

# %%
log_probs = torch.tensor([[0.6, 0.4], [0.6, 0.4]]).log()
nothing = float(log_probs[:, 0].sum().exp())
a = float(torch.exp(-ctc_loss(log_probs, [1])))
print(f"greedy says {collapse(log_probs.argmax(-1).tolist())} with {nothing:.2f}; P('a') = {a:.2f}")
assert collapse(log_probs.argmax(-1).tolist()) == []
assert abs(a - 0.64) < 1e-6
assert abs(a + nothing - 1) < 1e-6, "no other text fits into two frames of one letter"

# %% [markdown]
# ## 3 · Alignment
#
# Keep, for each state and frame, the best way to it and where it came from; walk back from the better of the last two.


# %%
def align(log_probs: Tensor, target: list[int]) -> tuple[list[int], float]:
    """Return the best path (a label a frame) that collapses to `target`, and its log-probability."""
    states = interleave_blanks(target)
    best = torch.full((len(states),), -torch.inf)
    best[:2] = log_probs[0, states[:2]]
    came_from = []
    for frame in log_probs[1:]:
        ways = torch.full((3, len(states)), -torch.inf)
        for back in range(3):
            ways[back, back:] = best[: len(states) - back]
        for at, label in enumerate(states):
            if at < 2 or label == 0 or label == states[at - 2]:
                ways[2, at] = -torch.inf
        top, back = ways.max(0)
        came_from.append(back.tolist())
        best = top + frame[states]
    at = len(states) - 1 if best[-1] > best[-2] else len(states) - 2
    score, path = float(best[at]), [states[at]]
    for back in reversed(came_from):
        at -= back[at]
        path.append(states[at])
    return path[::-1], score


for target in ([1, 2], [1, 1], [2, 1, 1], [3, 2, 1]):
    log_probs = torch.randn(7, 4).log_softmax(-1)
    path, score = align(log_probs, target)
    rivals = [other for other in product(range(4), repeat=7) if collapse(other) == target]
    best = max(sum(float(log_probs[t, label]) for t, label in enumerate(other)) for other in rivals)
    print(target, path, f"{score:.3f}")
    assert collapse(path) == target
    assert abs(score - best) < 1e-4
    assert score <= -float(ctc_loss(log_probs, target)), "one path is never more than all of them"

# %% [markdown]
# ## 4 · A batch
#
# Pad the targets. A path never goes back, so states behind an example's own 2L + 1 can't reach back into it, and
# padding there does no harm: read the sum at state 2L and 2L − 1 of each. Frames behind an example's end have to leave
# its row as it is. A floor of −1e30 stands for −∞, since the gradient of a logsumexp of nothing but −∞ is NaN.

# %%
NEVER = -1e30


def batch_ctc(log_probs: Tensor, targets: Tensor, frames: Tensor, sizes: Tensor) -> Tensor:
    """Return -log P of each example: log_probs (B, S, labels), targets (B, L) padded, lengths (B,) of both."""
    states = torch.zeros(len(targets), 2 * targets.shape[1] + 1, dtype=torch.long)
    states[:, 1::2] = targets
    emit = log_probs.gather(2, states[:, None].expand(-1, log_probs.shape[1], -1))  # (B, S, 2L + 1)
    may_skip = functional.pad((states[:, 2:] != 0) & (states[:, 2:] != states[:, :-2]), (2, 0))
    alpha = functional.pad(emit[:, 0, :2], (0, states.shape[1] - 2), value=NEVER)
    for t in range(1, log_probs.shape[1]):
        step = functional.pad(alpha[:, :-1], (1, 0), value=NEVER)
        skip = functional.pad(alpha[:, :-2], (2, 0), value=NEVER).masked_fill(~may_skip, NEVER)
        moved = torch.stack([alpha, step, skip]).logsumexp(0) + emit[:, t]
        alpha = torch.where((t < frames)[:, None], moved, alpha)
    last = torch.stack([2 * sizes - 1, 2 * sizes], 1)
    return -alpha.gather(1, last).logsumexp(1)


# %%
targets = [torch.tensor(target) for target in ([1, 2, 3], [2, 2], [1, 3, 3, 1, 2], [3])]
sizes, frames = torch.tensor([len(target) for target in targets]), torch.tensor([12, 9, 15, 4])
logits = [torch.randn(4, 15, 5).requires_grad_()]
logits.append(logits[0].detach().clone().requires_grad_())
mine = batch_ctc(logits[0].log_softmax(-1), pad_sequence(targets, batch_first=True), frames, sizes)
theirs = functional.ctc_loss(
    logits[1].log_softmax(-1).transpose(0, 1), torch.cat(targets), frames, sizes, reduction="none"
)
print(mine.detach().numpy().round(4))
torch.testing.assert_close(mine, theirs)
singles = [ctc_loss(logits[0][n, : frames[n]].log_softmax(-1), targets[n].tolist()) for n in range(4)]
torch.testing.assert_close(mine, torch.stack(singles))
mine.sum().backward()
theirs.sum().backward()
torch.testing.assert_close(logits[0].grad, logits[1].grad, atol=1e-5, rtol=1e-4)
assert logits[0].grad is not None
assert logits[0].grad[3, 4:].abs().max() == 0, "frames behind the end get no gradient"
