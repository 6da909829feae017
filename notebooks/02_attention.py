# ---
# jupyter:
#   jupytext:
#     text_representation:
#       extension: .py
#       format_name: percent
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # 02 · Attention by hand
#
# **Goal.** Attention is a look-up in a dictionary that has been made soft enough to learn. At the end of this notebook
# you have derived every part of it (dot product, $\sqrt d$, heads, masks, rotary positions), written it in a dozen
# lines, shown that it equals the layer in our captioner *and* torch's own, and watched one layer learn to look things
# up.
#
# ```
#                keys k₁ … k_S        values v₁ … v_S
#                   │                      │
#  query q ──▶ how alike? ──▶ softmax ──▶ weighted mean ──▶ what was found
#               q·k / √d      weights ≥ 0, sum 1
# ```
#
# Letters in shapes, here as in `transformer/model.py`: B batch, L queries, S keys, d width, H heads, h = d / H.

# %%
import math
import time

import matplotlib.pyplot as plt
import torch
from torch import Tensor, nn
from torch.nn import functional

plt.rcParams.update(
    {"figure.dpi": 70, "figure.figsize": (8, 2.6), "axes.spines.top": False, "axes.spines.right": False}
)
torch.set_num_threads(1)
_ = torch.manual_seed(2)

# %% [markdown]
# ## 1. From a dictionary to a weighted mean
#
# A dictionary gives the value whose key *equals* the query, or fails. Nothing can be learnt from "equal or not": a
# small change of the query changes nothing, until it changes everything. So let **every** entry answer, with a weight
# that says how near its key is:
#
# $$ \text{answer}(q) = \sum_i w_i\, v_i, \qquad w_i = \frac{e^{-(q - k_i)^2 / 2t}}{\sum_j e^{-(q - k_j)^2 / 2t}} $$
#
# Statisticians have done so since 1964 (Nadaraya, Watson) to draw a smooth line through noisy points: key = place,
# value = height. **Predict** the three curves: with a large $t$ all weights are alike and the answer is the mean of
# everything; with a small one the nearest entry takes all, and we have the dictionary back.

# %%
keys = torch.linspace(0, 6, 25)
values = keys.sin() + 0.25 * torch.randn(25)
queries = torch.linspace(0, 6, 300)
plt.plot(keys, values, "k.", label="entries")
for t in (10.0, 0.1, 0.001):
    weights = (-((queries[:, None] - keys) ** 2) / (2 * t)).softmax(-1)  # (300 queries, 25 keys)
    plt.plot(queries, weights @ values, label=f"t = {t:g}")
plt.legend(frameon=False, ncols=2)
print("weights", tuple(weights.shape), "@ values", tuple(values.shape), "-> answers", tuple((weights @ values).shape))

# %% [markdown]
# ### Where the dot product comes from
#
# Now let keys and queries be vectors. $-\tfrac12 |q - k|^2 = q \cdot k - \tfrac12|q|^2 - \tfrac12|k|^2$. The term with
# $|q|^2$ is the same for all keys of a query, and softmax doesn't see what is added to all of them. If the keys are
# equally long, the last term drops out too. **Nearness is the dot product**, and that is one matrix product for all
# pairs: cheap, and with a gradient everywhere.

# %%
q, k = torch.randn(4, 8), functional.normalize(torch.randn(6, 8), dim=-1)
by_distance = (-(torch.cdist(q, k) ** 2) / 2).softmax(-1)
by_product = (q @ k.T).softmax(-1)
torch.testing.assert_close(by_distance, by_product)
assert torch.allclose(by_product.sum(-1), torch.ones(4))
print("4 queries, 6 keys: weights", tuple(by_product.shape))

# %% [markdown]
# ## 2. Why divide by √d?
#
# Let the components of $q$ and $k$ be independent with mean 0 and variance 1. Then $q \cdot k$ is a sum of $d$ products
# of mean 0 and variance 1, so its variance is $d$ and scores are about $\pm\sqrt d$.
#
# What does softmax do with large scores? It lets the largest take all. Its derivative is
# $\partial w_i / \partial s_j = w_i(\delta_{ij} - w_j)$, which is zero if all weights are 0 or 1: **no gradient,
# nothing is learnt**. **Predict** for 32 random keys: without the division the largest weight goes to 1 and the
# derivative to 0 as $d$ grows; with it, both stay where they are.

# %%
widths = [4, 16, 64, 256, 1024]
spread, largest, slope = [], [], []
for d in widths:
    scores = torch.einsum("nd,nkd->nk", torch.randn(500, d), torch.randn(500, 32, d))
    spread.append(scores.std())
    w = torch.stack([scores, scores / math.sqrt(d)]).softmax(-1)  # (2, 500, 32)
    largest.append(w.amax(-1).mean(-1))
    jacobian = torch.diag_embed(w) - w[..., :, None] * w[..., None, :]  # (2, 500, 32, 32)
    slope.append(jacobian.norm(dim=(-1, -2)).mean(-1))

# %%
figure, axes = plt.subplots(1, 3, figsize=(9, 2.5))
axes[0].loglog(widths, spread, "o", label="measured")
axes[0].loglog(widths, [math.sqrt(d) for d in widths], "k:", label="√d")
axes[0].set(xlabel="d", ylabel="spread of q·k")
axes[0].legend(frameon=False)
axes[1].semilogx(widths, torch.stack(largest), "o-", label=["q·k", "q·k / √d"])
axes[1].set(xlabel="d", ylabel="largest weight", ylim=(0, 1))
axes[1].legend(frameon=False)
axes[2].loglog(widths, torch.stack(slope), "o-")
axes[2].set(xlabel="d", ylabel="size of the derivative")
figure.tight_layout()
assert torch.allclose(torch.stack(spread), torch.tensor(widths).sqrt(), rtol=0.05)
assert largest[-1][0] > 0.9
assert largest[-1][1] < 0.3
assert slope[-1][0] < slope[0][0] / 3
assert abs(slope[-1][1] / slope[1][1] - 1) < 0.1

# %% [markdown]
# So this is the whole of it, in three lines:


# %%
def toy_attend(q: Tensor, k: Tensor, v: Tensor, allowed: Tensor | None = None) -> Tensor:
    scores = q @ k.transpose(-2, -1) / math.sqrt(q.shape[-1])  # (..., L, S)
    if allowed is not None:
        scores = scores.masked_fill(~allowed, -math.inf)
    return scores.softmax(-1) @ v  # (..., L, S) @ (..., S, h) -> (..., L, h)


toy_attend(torch.randn(2, 5, 8), torch.randn(2, 7, 8), torch.randn(2, 7, 3)).shape

# %% [markdown]
# ## 3. Masks: who may look where
#
# A score of $-\infty$ is a weight of $e^{-\infty} = 0$. Two masks matter:
#
# - **padding**: sounds of different length share a batch; the shorter ones are filled up, and nobody may look there;
# - **causal**: who predicts the next letter must not look at it; letter $m$ sees only $n \le m$.
#
# **Predict** the zeros in each picture (rows are queries, columns keys; the sequence has 8 places, 6 of them sound).

# %%
S, length = 8, 6
padding = (torch.arange(S) < length)[None].expand(S, S)
causal = torch.ones(S, S, dtype=torch.bool).tril()
q, k = torch.randn(2, S, 16)
masks = {"none": torch.ones_like(causal), "padding": padding, "causal": causal, "both": padding & causal}
figure, axes = plt.subplots(1, 4, figsize=(8, 2.2))
for axis, (name, mask) in zip(axes, masks.items(), strict=True):
    weights = toy_attend(q, k, torch.eye(S), mask)  # looking up the rows of 1 gives the weights themselves
    axis.imshow(weights, cmap="Blues", vmin=0, vmax=1)
    axis.set(title=name, xticks=[], yticks=[])
    assert torch.equal(weights == 0, ~mask)

# %% [markdown]
# Masks are promises, and promises can be tested. *What is padded doesn't matter* and *the past doesn't know the
# future*:

# %%
x = torch.randn(S, 16)
alone = toy_attend(x[:length], x[:length], x[:length])
changed = x.clone()
changed[length:] = 1000.0  # whatever lies in the padding
torch.testing.assert_close(toy_attend(changed, changed, changed, padding)[:length], alone)

before = toy_attend(x, x, x, causal)
after = toy_attend(changed, changed, changed, causal)
assert torch.equal(before[:length], after[:length])
assert not torch.equal(before[length:], after[length:])
print(
    "one trap: a query that may look nowhere gives",
    toy_attend(x, x, x, torch.zeros(S, S, dtype=torch.bool))[0, 0].item(),
)

# %% [markdown]
# 0 / 0. One such row and the loss is NaN for ever. The captioner masks *keys* only, never whole queries: a query in the
# padding may look at the sound, and what it finds is thrown away.
#
# ## 4. Heads
#
# One softmax makes one mean. A frame that wants to know *both* what sound came before *and* how loud the room is gets a
# blend of two answers. So we cut the width $d$ into $H$ heads of $h = d / H$, each with its own weights, and lay their
# answers side by side. It costs nothing: $H$ products of width $h$ are as many multiplications as one of width $d$.
#
# In a tensor, cutting is a change of view: (B, L, d) → (B, L, H, h) → (B, H, L, h).

# %%
B, L, H, h = 2, 10, 4, 8
q, k, v = torch.randn(3, B, L, H * h)


def split_heads(x: Tensor) -> Tensor:
    return x.unflatten(-1, (H, h)).transpose(1, 2)


together = toy_attend(split_heads(q), split_heads(k), split_heads(v)).transpose(1, 2).flatten(2)
columns = [slice(head * h, (head + 1) * h) for head in range(H)]
one_by_one = torch.cat([toy_attend(q[..., c], k[..., c], v[..., c]) for c in columns], dim=-1)
torch.testing.assert_close(together, one_by_one)
print(tuple(q.shape), "->", tuple(split_heads(q).shape), "->", tuple(together.shape))

# %% [markdown]
# ## 5. Where am I? Positions by rotation
#
# Attention is a sum over keys, and a sum has no order. Shuffle the input and the output is shuffled alike: to this
# layer "dog bites man" and "man bites dog" are one thing.

# %%
x, order = torch.randn(L, h), torch.randperm(L)
torch.testing.assert_close(toy_attend(x, x, x)[order], toy_attend(x[order], x[order], x[order]))

# %% [markdown]
# We want scores to depend on *how far apart* two frames are, wherever they stand: a "t" after an "s" is the same at
# second 1 and at second 9. Which operation turns two absolute positions into their difference? **Turning.** Turn $q$ by
# the angle $m\theta$ and $k$ by $n\theta$: the angle between them has changed by $(m - n)\theta$, and nothing else has.
#
# With pairs of numbers read as complex ones, $q \cdot k = \mathrm{Re}(q\,\bar k)$ and turning is multiplying by
# $e^{im\theta}$:
#
# $$ \mathrm{Re}\big(q\,e^{im\theta}\;\overline{k\,e^{in\theta}}\big) = \mathrm{Re}\big(q\,\bar k\;e^{i(m-n)\theta}\big)
# $$
#
# Only $m - n$ is left. This is RoPE. **Predict** the score matrix if *the same* q and k stand at all 40 positions: it
# is constant along each diagonal, and a wave across them with a period of $2\pi/\theta$.

# %%
theta, positions = 0.4, torch.arange(40)
turn = torch.polar(torch.ones(40), theta * positions)  # e^{imθ}
q, k = torch.complex(*torch.randn(2)), torch.complex(*torch.randn(2))
scores = ((q * turn)[:, None] * (k * turn).conj()).real  # (40, 40)
figure, axes = plt.subplots(1, 2, figsize=(8, 2.8))
axes[0].imshow(scores, cmap="RdBu")
axes[0].set(xlabel="n (key)", ylabel="m (query)")
for m in (0, 10, 39):
    axes[1].plot(m - positions, scores[m], ".-", label=f"m = {m}")
axes[1].set(xlabel="m − n", ylabel="score")
axes[1].legend(frameon=False, loc="upper left", bbox_to_anchor=(1, 1))
assert all(scores.diagonal(n).std(correction=0) < 1e-5 for n in range(-39, 40))
print(f"period {2 * math.pi / theta:.1f} positions")

# %% [markdown]
# One angle repeats itself: an offset of 0 looks like one of 15.7. As with the hands of a clock, several speeds tell all
# offsets apart: pair $i$ of $h/2$ turns by $\theta_i = 10\,000^{-2i/h}$ a step, the first by a radian, the last by
# nearly nothing. With equal q and k the score is $\sum_i \cos((m-n)\,\theta_i)$. All cosines agree at offset 0 and soon
# fall out of step, so near frames start out with the higher score. **Predict** what a smaller base does: all hands turn
# fast, the curve falls sooner and then only wiggles.


# %%
def toy_rotate(x: Tensor, base: float = 10_000.0) -> Tensor:
    """Turn x (..., S, h): the pair is (i, i + h/2)."""
    z = torch.complex(*x.chunk(2, dim=-1))
    speeds = base ** (-torch.arange(0, x.shape[-1], 2) / x.shape[-1])
    z = z * torch.polar(torch.tensor(1.0), torch.arange(x.shape[-2])[:, None] * speeds)
    return torch.cat([z.real, z.imag], dim=-1)


ones = torch.ones(375, 64)  # 15 s of sound at 25 frames a second, heads of 64
for base in (10.0, 10_000.0):
    turned = toy_rotate(ones, base)
    plt.plot(turned @ turned[0] / 64, label=f"base {base:,.0f}")
plt.gca().set(xlabel="offset in frames", ylabel="mean cosine")
plt.legend(frameon=False)
print("turning keeps the length:", torch.allclose(toy_rotate(ones).norm(dim=-1), ones.norm(dim=-1)))

# %% [markdown]
# ## 6. The class
#
# `transformer.model` has the same pieces: `rotary_angles` and `rotate` with cosines and sines for complex numbers,
# `attend`, and `Attention` around them. First the pieces, ours against the house's against torch's:

# %%
from transformer.model import Attention, attend, rotary_angles, rotate

q, k, v = torch.randn(3, B, H, L, h)
angles = rotary_angles(torch.arange(L), h)
torch.testing.assert_close(rotate(q, *angles), toy_rotate(q), rtol=0, atol=1e-5)
for mask in (None, torch.ones(L, L, dtype=torch.bool).tril(), (torch.arange(L) < 7)[None, None, None]):
    ours, house = toy_attend(q, k, v, mask), attend(q, k, v, mask)
    torchs = functional.scaled_dot_product_attention(q, k, v, mask)
    torch.testing.assert_close(house, ours, rtol=0, atol=1e-5)
    torch.testing.assert_close(house, torchs, rtol=0, atol=1e-5)
print("three masks, three implementations, one result to 1e-5")

# %% [markdown]
# Then the whole layer: project x to queries, keys and values, turn, look up, mix the heads. By hand, head for head,
# reading the layer's own weights:


# %%
def by_hand(layer: Attention, x: Tensor, mask: Tensor | None) -> Tensor:
    q = x @ layer.query.weight.T + layer.query.bias
    k = x @ layer.key.weight.T
    v = x @ layer.value.weight.T + layer.value.bias
    found = []
    for columns in torch.arange(x.shape[-1]).chunk(layer.n_heads):
        qh, kh = q[..., columns], k[..., columns]
        if layer.rotary:
            qh, kh = toy_rotate(qh), toy_rotate(kh)
        found.append(toy_attend(qh, kh, v[..., columns], mask))
    return torch.cat(found, dim=-1) @ layer.out.weight.T + layer.out.bias


# %%
x, causal = torch.randn(B, L, H * h), torch.ones(L, L, dtype=torch.bool).tril()
for rotary in (True, False):
    layer = Attention(H * h, H, rotary=rotary)
    for mask in (None, causal):
        for layer.fused in (False, True):
            torch.testing.assert_close(layer(x, mask=mask), by_hand(layer, x, mask), rtol=0, atol=1e-5)
print({name: tuple(weight.shape) for name, weight in layer.named_parameters()})

# %% [markdown]
# `key` has no bias. Why? A bias $b$ adds $q \cdot b$ to *every* score of the query $q$, and softmax doesn't see what is
# added to all. It would be a weight without an effect.

# %%
bias = torch.randn(h)
q, k = torch.randn(2, L, h)
torch.testing.assert_close((q @ (k + bias).T).softmax(-1), (q @ k.T).softmax(-1))

# %% [markdown]
# ## 7. An experiment: one layer learns to look up
#
# **The task.** Eight entries, each a key letter and a value letter put together; then a key letter. Which value stood
# with it? Every example has new pairs, so nothing can be learnt by heart: *the way to look up* has to be learnt.
#
# ```
#  memory   c7  k2  a9  p4  f1 …       query   a ?       answer   9
# ```
#
# Beside it runs the same layer, which is given only the *mean* of the memory. **Predict** both: the mean still tells
# which eight values are there, not which belongs to whom. That is one right in eight.

# %%
LETTERS, PAIRS, WIDTH = 16, 8, 32


def recall_batch(n: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    keys, values = torch.rand(2, n, LETTERS).argsort(-1)[:, :, :PAIRS]  # (n, 8) each, all different
    asked = torch.randint(PAIRS, (n, 1))
    return keys, values, keys.gather(1, asked), values.gather(1, asked)[:, 0]


class Recall(nn.Module):
    def __init__(self, *, only_mean: bool) -> None:
        super().__init__()
        self.only_mean = only_mean
        self.key, self.value = nn.Embedding(LETTERS, WIDTH), nn.Embedding(LETTERS, WIDTH)
        self.attention = Attention(WIDTH, 1, rotary=False)
        self.answer = nn.Linear(WIDTH, LETTERS)

    def forward(self, keys: Tensor, values: Tensor, asked: Tensor) -> Tensor:
        memory = self.key(keys) + self.value(values)  # (B, 8, d)
        memory = memory.mean(1, keepdim=True) if self.only_mean else memory
        return self.answer(self.attention(self.key(asked), memory)[:, 0])  # (B, 16)


# %%
def match(model: Recall) -> Tensor:
    with torch.no_grad():
        q, k = model.attention.query(model.key.weight), model.attention.key(model.key.weight)
        return q @ k.T / math.sqrt(WIDTH)  # how much letter a as a query likes letter b as a key


def train(model: nn.Module, batch: object, steps: int) -> list[float]:
    optimiser, right = torch.optim.Adam(model.parameters(), 5e-3), []
    for _ in range(steps):
        *inputs, target = batch(64)
        logits = model(*inputs)
        functional.cross_entropy(logits.flatten(0, -2), target.flatten()).backward()
        optimiser.step()
        optimiser.zero_grad()
        right.append((logits.argmax(-1) == target).float().mean().item())
    return right


# %%
started = time.process_time()
attention, mean = Recall(only_mean=False), Recall(only_mean=True)
untrained = match(attention)
curves = {"attention": train(attention, recall_batch, 300), "mean": train(mean, recall_batch, 300)}
print(f"{time.process_time() - started:.1f} s;", {name: f"{sum(c[-50:]) / 50:.0%}" for name, c in curves.items()})


def plot_learning(axis: plt.Axes, curves: dict[str, list[float]]) -> None:
    for name, curve in curves.items():
        smooth = torch.tensor(curve).unfold(0, 10, 1).mean(-1)
        axis.plot(range(10, len(curve) + 1), smooth, label=name)
    axis.set(xlabel="steps of 64 examples", ylabel="right answers", ylim=(0, 1.02))
    axis.legend(frameon=False)


# %% [markdown]
# And what did it learn? "Is my letter the same as yours?" is a matrix of 16 × 16 scores with a bright diagonal.
# **Predict** how the same matrix looked before.

# %%
figure, axes = plt.subplots(1, 3, figsize=(9, 2.6), width_ratios=(1.6, 1, 1))
plot_learning(axes[0], curves)
axes[0].axhline(1 / PAIRS, color="k", ls=":")
axes[0].text(200, 0.17, "one in eight")
for axis, scores, title in zip(axes[1:], (untrained, match(attention)), ("before", "after"), strict=True):
    axis.imshow(scores, cmap="RdBu", vmin=-scores.abs().max(), vmax=scores.abs().max())
    axis.set(title=f"scores {title}", xlabel="key", ylabel="query", xticks=[], yticks=[])
figure.tight_layout()
assert sum(curves["attention"][-50:]) / 50 > 0.97
assert sum(curves["mean"][-50:]) / 50 < 0.2
assert torch.equal(match(attention).argmax(-1), torch.arange(LETTERS))

# %% [markdown]
# ### Look-up by place
#
# The recall task needed no order. This one needs nothing else: *which letter stood three places ago?* **Predict** who
# can learn it, with RoPE and without, and where the weights of the one that can will lie. (Without, the best guess is
# the commonest letter of the 20.)

# %%
BACK, LONG = 3, 20


def delay_batch(n: int) -> tuple[Tensor, Tensor]:
    letters = torch.randint(LETTERS, (n, LONG))
    return letters, letters[:, :-BACK]


class Delay(nn.Module):
    def __init__(self, *, rotary: bool) -> None:
        super().__init__()
        self.embedding = nn.Embedding(LETTERS, WIDTH)
        self.attention = Attention(WIDTH, 1, rotary=rotary)
        self.answer = nn.Linear(WIDTH, LETTERS)

    def forward(self, letters: Tensor) -> Tensor:
        return self.answer(self.attention(self.embedding(letters)))[:, BACK:]  # (B, 17, 16)


# %%
curves, models = {}, {}
for name, rotary in {"with RoPE": True, "without": False}.items():
    models[name] = Delay(rotary=rotary)
    curves[name] = train(models[name], delay_batch, 200)
with torch.no_grad():
    layer, x = models["with RoPE"].attention, models["with RoPE"].embedding(delay_batch(1)[0][0])
    q, k = (rotate(part(x), *rotary_angles(torch.arange(LONG), WIDTH)) for part in (layer.query, layer.key))
    weights = attend(q, k, torch.eye(LONG), None)
figure, axes = plt.subplots(1, 2, figsize=(8, 2.6), width_ratios=(1.6, 1))
plot_learning(axes[0], curves)
axes[1].imshow(weights, cmap="Blues")
axes[1].set(xlabel="key", ylabel="query")
figure.tight_layout()
assert sum(curves["with RoPE"][-20:]) / 20 > 0.9
assert sum(curves["without"][-20:]) / 20 < 0.4
assert weights.diagonal(-BACK).mean() > 0.5

# %% [markdown]
# A line three places below the diagonal. (The first three queries have nothing three places ago. They were never asked,
# and look anywhere.)
#
# ## 8. What it costs
#
# Count multiplications. The four projections take $4 S d^2$. Scores and mixing take $S^2 d$ each. They are equal where
# $2 S^2 d = 4 S d^2$, that is at $S = 2d$: for the captioner's $d = 256$, 512 frames. **Predict** the slopes on double
# logarithmic axes: 1 for the projections, 2 for the look-up, so a doubling of the length costs four times as much. (On
# a real machine softmax and memory have a price too, so the crossing comes somewhat earlier.)

# %%
WIDE, HEADS = 256, 4
layer = Attention(WIDE, HEADS)


def fastest(call: object, *arguments: Tensor) -> float:
    took = []
    for _ in range(4):
        started = time.process_time()  # the processor's, which other programs disturb less than the clock's
        call(*arguments)
        took.append(time.process_time() - started)
    return min(took) * 1000


lengths, cost = [64, 128, 256, 512, 1024, 2048], {"projections": [], "attend": [], "torch's": []}
with torch.no_grad():
    for S in lengths:
        x, (q, k, v) = torch.randn(1, S, WIDE), torch.randn(3, 1, HEADS, S, WIDE // HEADS)
        cost["projections"].append(4 * fastest(layer.query, x))
        cost["attend"].append(fastest(attend, q, k, v, None))
        cost["torch's"].append(fastest(functional.scaled_dot_product_attention, q, k, v))

# %%
plt.figure(figsize=(6, 2.8))
for name, times in cost.items():
    plt.loglog(lengths, times, "o-", label=name)
plt.loglog(lengths, [cost["attend"][-1] * (S / lengths[-1]) ** 2 for S in lengths], "k:", label="slope 2")
plt.axvline(375, color="grey", lw=1)
plt.text(385, cost["projections"][0], "15 s of sound")
plt.gca().set(xlabel="S, frames", ylabel="ms")
plt.legend(frameon=False)
assert cost["attend"][-1] > 4 * cost["attend"][-3]  # four times as long: 16 times the work
assert cost["attend"][-1] > cost["projections"][-1]
assert 2 * 375**2 * 256 < 0.2 * (2 * 375**2 * 256 + 13 * 375 * 256**2)

# %% [markdown]
# This picture explains a number in `transformer/config.py`, `SUBSAMPLING`. The network hears 100 feature frames a
# second; two convolutions take them down to 25, so that 15 s are 375 tokens and not 1500, and the score matrix is 16
# times smaller. But `MAX_PIECE_S` is *not* where looking up gets dear: with convolution and feed-forward a block needs
# $13Sd^2$ besides, equal to $2S^2d$ only at 67 s, and at 15 s looking up is less than a fifth (the last line above).
# 15 s bounds memory, and is about as long as what training hears (joined to 10 s, none over 24 s). Torch's fused
# version does the same multiplications but never writes the matrix to memory (exercise 4).
#
# ## Exercises
#
# 1. **Sharpness.** Multiply the scores by $a$ before softmax. The entropy of the weights over $S$ keys goes from
#    $\ln S$ to 0: at which $a$ do you get which end? Derive, then measure.
# 2. **A clock for 15 s.** Two different offsets below 375 should never look alike. How far does the slowest pair of a
#    head of 64 turn in 375 frames at base 10 000? Below which base would it pass a half turn?
# 3. **Letter by letter.** Run a causal `Attention` over ten tokens one at a time with a `Cache`, and show that the
#    output is that of all at once under a causal mask. How many scores are computed each way?
# 4. **Without the matrix.** Go through the keys in blocks of 64 and keep only, per query, the largest score, the sum of
#    exponentials and the weighted sum so far. When a larger score turns up, what must be done to the sums? Show that
#    the result equals `attend`.
#
# Solutions: `solutions/02_attention.py`.
#
# ## Further reading
#
# - E. Nadaraya, *On estimating regression*, 1964: the weighted mean of section 1.
# - D. Bahdanau, K. Cho, Y. Bengio, *Neural machine translation by jointly learning to align and translate*, 2015.
# - A. Vaswani et al., *Attention is all you need*, 2017: dot products, √d, heads.
# - J. Su et al., *RoFormer: enhanced transformer with rotary position embedding*, 2021.
# - T. Dao et al., *FlashAttention*, 2022, and M. Milakov, N. Gimelshein, *Online normalizer calculation for softmax*,
#   2018: exercise 4.
# - S. Arora et al., *Zoology: measuring and improving recall in efficient language models*, 2023: why look-up matters.
# - In this house: `transformer/model.py`.
