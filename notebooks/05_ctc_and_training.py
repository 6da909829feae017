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
# # 05 · CTC: learning when nobody says where
#
# **Goal.** A recording of 2 s and the text "a cat sat". That is all a corpus gives us: which letters, not when. Yet the
# network has to say something 25 times a second. At the end of this notebook you can sum over *all* the places where
# the letters could lie, first by brute force and then in a few lines; you know where the gradient of that sum points,
# and why trained networks lean to the blank. Then you train our `Captioner`, very small, on a toy language made here,
# until it writes down strings that it has never heard.

# %%
import time
from itertools import groupby, pairwise, product
from math import comb

import matplotlib.pyplot as plt
import numpy as np
import torch
from torch.nn import functional
from torch.nn.utils.rnn import pad_sequence

torch.set_num_threads(1)
plt.rcParams.update(
    {"figure.dpi": 70, "figure.figsize": (8, 2.4), "axes.spines.top": False, "axes.spines.right": False}
)
rng = np.random.default_rng(5)

# %% [markdown]
# ## 1. Paths
#
# Let the network choose one label a frame, and read the text off by merging what repeats: `ccaaat` is "cat". Two things
# are missing: a label for *nothing* (silence, breath), and a way to write "too", whose two o's would merge. One extra
# label does both: the **blank**, `-`. First merge repeats, then drop blanks: `t-oo-o` → `t-o-o` → "too".
#
# Now the sum: **every path that collapses to the text counts**, and the probability of the text is theirs together,
# $P(\text{text})=\sum_{\text{paths}}\prod_t p_t(\text{label}_t)$. No alignment is needed, since all of them are in
# there.


# %%
def toy_collapse(path: tuple[int, ...]) -> list[int]:
    return [label for label, _ in groupby(path) if label != 0]


def brute_force(probs: np.ndarray, target: list[int]) -> tuple[float, int]:
    """Return the probability of `target` and how many paths carry it: probs (frames, labels)."""
    frames, labels = probs.shape
    paths = [path for path in product(range(labels), repeat=frames) if toy_collapse(path) == target]
    return sum(float(np.prod(probs[range(frames), path])) for path in paths), len(paths)


probs = rng.dirichlet(np.ones(4), 6)  # 6 frames; blank, a, b, c
for target in ([1, 2], [1, 1], [1, 2, 3]):
    print(target, "P = {:.4f} over {} paths".format(*brute_force(probs, target)), "of", 4**6)

# %% [markdown]
# How many? A path for $L$ different labels is $2L+1$ runs: blank, label, blank, ... A run of blanks may be empty, each
# label takes at least one frame. So $S-L$ spare frames are dealt out to $2L+1$ runs: $\binom{S+L}{2L}$ ways.

# %%
assert brute_force(probs, [1, 2])[1] == comb(6 + 2, 4)
assert brute_force(probs, [1, 2, 3])[1] == comb(6 + 3, 6)
print(f"3 s and 30 letters: {comb(75 + 30, 60):.1e} paths")

# %% [markdown]
# ## 2. The trellis
#
# Write the text with blanks round each letter and put time on the other axis. A path is a walk from left to right that,
# with each frame, **stays, steps, or skips a blank**. It begins in one of the two upper states and ends in one of the
# two lower. One skip is not allowed: from "o" over the blank to the other "o", since the two would merge.


# %%
def moves(states: list[int], at: int) -> list[int]:
    """Return from where a path may come into state `at`."""
    may_skip = at >= 2 and states[at] != 0 and states[at] != states[at - 2]
    return [at - back for back in range(3 if may_skip else 2) if at - back >= 0]


# %%
def draw_trellis(states: list[int], names: str, frames: int, path: list[int]) -> None:
    axis = plt.subplots(figsize=(7, 2.6))[1]
    for t in range(frames):
        axis.scatter(
            [t] * len(states), range(len(states)), c=["w" if s == 0 else "C0" for s in states], ec="C0", zorder=3
        )
        for at in range(len(states)) if t else ():
            for source in moves(states, at):
                axis.plot([t - 1, t], [source, at], c="C1" if at - source == 2 else "0.8", lw=1)
    axis.plot(range(frames), path, "C3", lw=3)
    axis.set_yticks(range(len(states)), [names[s] for s in states])
    axis.set(xlabel="frame", ylim=(len(states) - 0.7, -0.3), title="".join(names[states[at]] for at in path))
    plt.tight_layout()


draw_trellis([0, 1, 0, 2, 0, 2, 0], "-to", 8, [0, 1, 1, 3, 4, 5, 5, 6])

# %% [markdown]
# (Orange: the skips. There is none between the two o's.)
#
# ## 3. The forward algorithm
#
# All walks that reach a state at a frame share what follows. So keep only their sum: $\alpha_t(n)$, the probability of
# everything up to frame $t$ that ends in state $n$. It is the sum of $\alpha_{t-1}$ over the one to three states from
# which one can come, times what frame $t$ says. $10^{30}$ paths become 75 × 61 sums of three.


# %%
def toy_forward(probs: np.ndarray, states: list[int]) -> np.ndarray:
    alpha = np.zeros((len(probs), len(states)))
    alpha[0, :2] = probs[0, states[:2]]
    for t in range(1, len(probs)):
        for at, label in enumerate(states):
            alpha[t, at] = alpha[t - 1, moves(states, at)].sum() * probs[t, label]
    return alpha


def with_blanks(target: list[int]) -> list[int]:
    return [0, *(state for label in target for state in (label, 0))]


for target in ([1, 2], [1, 1], [1, 2, 3], [3]):
    total = toy_forward(probs, with_blanks(target))[-1, -2:].sum()
    assert np.isclose(total, brute_force(probs, target)[0])
    print(target, f"{total:.6f}")

# %% [markdown]
# One thing still breaks: 15 s are 375 frames, and a product of 375 small numbers is 0 even in float64. Hence logarithms
# in anything real.

# %%
uniform = np.full((375, 29), 1 / 29)
print("P =", toy_forward(uniform, with_blanks([1, 2, 3] * 10))[-1, -2:].sum())

# %% [markdown]
# ## 4. `transformer.ctc`
#
# The same sums on logarithms, all states of a frame at once; autograd does the rest. In training we call torch's, which
# takes a batch. All four must agree.

# %%
from transformer.ctc import collapse, ctc_loss, interleave_blanks


def torch_loss(log_probs: torch.Tensor, target: list[int]) -> torch.Tensor:
    """-log P by torch: log_probs (frames, labels)."""
    sizes = torch.tensor([len(log_probs)]), torch.tensor([len(target)])
    return functional.ctc_loss(log_probs[:, None], torch.tensor([target]), *sizes, reduction="sum")


# %%
logs = torch.from_numpy(probs).log()
for target in ([1, 2], [1, 1], [1, 2, 3], [3]):
    assert interleave_blanks(target) == with_blanks(target)
    losses = [
        -float(np.log(brute_force(probs, target)[0])),
        float(ctc_loss(logs, target)),
        float(torch_loss(logs, target)),
    ]
    print(target, [round(loss, 6) for loss in losses])
    assert np.allclose(losses, losses[0])
assert all(collapse(path) == toy_collapse(path) for path in product(range(3), repeat=6))

# %%
long = torch.from_numpy(uniform).log()
print(f"15 s: loss {float(ctc_loss(long, [1, 2, 3] * 10)):.1f}, no path: {float(ctc_loss(logs[:2], [1, 1]))}")
assert np.isclose(float(ctc_loss(long, [1, 2, 3] * 10)), float(torch_loss(long, [1, 2, 3] * 10)))
assert ctc_loss(logs[:2], [1, 1]) == torch.inf, "two frames can't hold a-a"

# %% [markdown]
# ## 5. Where the gradient points
#
# $P$ is a sum of products, so $\partial\log P/\partial\log p_t(k)$ is **the share of $P$ that passes through label $k$
# at frame $t$**. Call it $\gamma_t(k)$: it is what the network *should* have said, given the text and its own belief
# about time. Through the softmax, the loss's gradient at the logits becomes
#
# $$\frac{\partial(-\log P)}{\partial z_t(k)} = p_t(k)-\gamma_t(k).$$
#
# With sums from the other end ($\beta$: by symmetry, the forward algorithm on everything reversed),
# $\gamma\propto\alpha\beta/p$.


# %%
def occupancy(probs: np.ndarray, target: list[int]) -> np.ndarray:
    """gamma (frames, labels)"""
    states = with_blanks(target)
    through = toy_forward(probs, states) * toy_forward(probs[::-1], states[::-1])[::-1, ::-1] / probs[:, states]
    gamma = np.zeros_like(probs)
    np.add.at(gamma.T, states, through.T)  # states of one label together
    return gamma / gamma.sum(1, keepdims=True)


gradients = []
for loss in (ctc_loss, torch_loss):
    logits = logs.clone().requires_grad_()
    loss(logits.log_softmax(-1), [1, 2, 2]).backward()
    gradients.append(logits.grad.numpy())
assert np.allclose(gradients[0], gradients[1], atol=1e-6)
assert np.allclose(gradients[0], probs - occupancy(probs, [1, 2, 2]), atol=1e-6)
print(gradients[0].round(3))

# %% [markdown]
# Now predict. An untrained network says every label equally. What does it learn first? Of the 7 states of "cat" four
# are blank, and blanks lie everywhere, letters only in their third of the time. So $\gamma$ holds most for the blank
# **in every frame**, and the first lesson is: *say nothing*. Once blanks are cheap, the paths that win are those which
# step out of the blank briefly. How briefly the loss doesn't say: a second frame of the letter costs nothing if the
# frames allow it. Watch free logits go down the gradient:

# %%
logits, shots = torch.zeros(30, 4, requires_grad=True), {}
for step in range(401):
    if step in (0, 3, 30, 100, 400):
        shots[step] = logits.detach().softmax(-1).numpy()
    (gradient,) = torch.autograd.grad(torch_loss(logits.log_softmax(-1), [1, 2, 3]), logits)
    logits.data -= gradient


# %%
def show_posteriors(shots: dict[int, np.ndarray], labels: dict[int, str], ends: np.ndarray | None = None) -> None:
    _, axes = plt.subplots(1, len(shots), figsize=(9, 1.8), sharey=True)
    for axis, (step, posterior) in zip(axes, shots.items(), strict=True):
        axis.plot(posterior[:, 0], c="0.75", lw=1)
        for label, name in labels.items():
            axis.plot(posterior[:, label], lw=1.5, label=name)
        for end in () if ends is None else ends:
            axis.axvline(end / 0.04, c="0.5", lw=0.8, ls=":")
        axis.set(title=f"step {step}", xlabel="frame", ylim=(0, 1.02))
    plt.tight_layout()


show_posteriors(shots, {1: "c", 2: "a", 3: "t"})
widths = {step: float((posterior[:, 1:].max(1) > 0.5).sum()) for step, posterior in shots.items()}
print("frames with a letter above 1/2:", widths)
assert (shots[3].argmax(1) == 0).all()
assert 3 <= widths[400] <= 9  # 30 frames for three letters: each could have 10

# %% [markdown]
# Grey is the blank. It wins everywhere first, then the letters come back, narrow and slowly widening: six frames for
# three letters after 400 steps, where thirty were free. Nothing in the data asked for so few; the blank, which may be
# repeated for nothing, did. For captions that is welcome (few errors, quick search) with one catch: a peak tells where
# a letter is *recognised*, not where it begins and ends.
#
# ## 6. A toy language
#
# Eight "letters", each a chord of three formants, 80-180 ms long, said by a buzz of any pitch, with noise. A letter
# fades in and out, so that a double can be heard. This is all that speech has to be for our purpose: labels of unknown
# length.

# %%
from transformer.audio import log_mel, log_mel_torch, normalise
from transformer.config import SAMPLE_RATE, ModelConfig
from transformer.model import Captioner
from transformer.tokenizer import decode_letters, encode_letters

FORMANTS = {
    "a": (750, 1200, 2500), "e": (500, 1900, 2600), "i": (300, 2300, 3000), "o": (500, 900, 2400),
    "u": (300, 700, 2200), "m": (250, 1100, 1500), "s": (4500, 5500, 6500), "t": (1800, 3000, 4200),
}  # fmt: skip


# %%
def say(text: str) -> tuple[np.ndarray, np.ndarray]:
    """Return samples, and the seconds at which letters begin and end."""
    period, parts = rng.integers(80, 170), [np.zeros(800)]
    for letter in text:
        n = np.arange(int(rng.uniform(0.08, 0.18) * SAMPLE_RATE))
        hz = np.fft.rfftfreq(len(n), 1 / SAMPLE_RATE)
        gain = sum(np.exp(-(((hz - formant) / 150) ** 2)) for formant in FORMANTS[letter])
        wave = np.fft.irfft(np.fft.rfft(1.0 * (n % period == 0)) * gain, len(n))
        fade = np.minimum(1, np.minimum(n, n[::-1]) / 240)
        parts.append(0.3 * wave / np.abs(wave).max() * fade)
    sound = np.concatenate([*parts, np.zeros(800)])
    sound += rng.normal(0, 10 ** rng.uniform(-2.5, -1.5), len(sound))
    return sound.astype(np.float32), np.cumsum([len(part) for part in parts]) / SAMPLE_RATE


# %%
samples, ends = say("toast")
plt.imshow(normalise(log_mel(samples)).T, origin="lower", aspect="auto", vmin=-2, vmax=2)
for (begin, end), letter in zip(pairwise(ends), "toast", strict=True):
    plt.axvline(end * 100, c="w", lw=0.7)
    plt.text(50 * (begin + end), 84, letter, ha="center")
plt.gca().set(xlabel="frame of 10 ms", ylabel="mel band")
plt.tight_layout()


# %%
def random_texts(count: int) -> list[str]:
    return ["".join(rng.choice(list(FORMANTS), rng.integers(2, 5))) for _ in range(count)]


def make_batch(texts: list[str]) -> tuple[torch.Tensor, torch.Tensor, list[torch.Tensor], list[np.ndarray]]:
    """Return padded features, how many frames are sound, targets, and the seconds where letters begin and end."""
    sounds, ends = zip(*map(say, texts), strict=True)
    spectra = [log_mel_torch(torch.from_numpy(sound)[None])[0].numpy() for sound in sounds]  # as log_mel, by torch
    features = [torch.from_numpy(normalise(spectrum)) for spectrum in spectra]
    targets = [torch.tensor(encode_letters(text)) for text in texts]
    return pad_sequence(features, batch_first=True), torch.tensor([len(item) for item in features]), targets, [*ends]


train_texts, held_out_texts = random_texts(360), random_texts(200)
held_out_texts = [text for text in held_out_texts if text not in set(train_texts)][:48]
batches = [make_batch(train_texts[at : at + 12]) for at in range(0, 360, 12)]
held_out = make_batch(held_out_texts)
print("features", tuple(batches[0][0].shape), "frames", batches[0][1].tolist())

# %% [markdown]
# ## 7. Training the `Captioner`
#
# The class that serves, at a hundredth of its size. How good is it? **Letter error rate**: the fewest letters to
# insert, delete or change (Levenshtein), divided by the letters that were said. *Greedy decoding* takes the best label
# of each frame and collapses the path.


# %%
def edits(got: str, wanted: str) -> int:
    row = list(range(len(wanted) + 1))
    for i, letter in enumerate(got, 1):
        before, row[0] = row[0], i
        for j, other in enumerate(wanted, 1):
            before, row[j] = row[j], min(row[j] + 1, row[j - 1] + 1, before + (letter != other))
    return row[-1]


assert edits("toast", "coats") == 3


@torch.no_grad()
def transcribe(model: Captioner, batch: tuple) -> tuple[list[str], torch.Tensor]:
    output = model.eval()(*batch[:2])
    best = output.letters.argmax(-1)
    paths = [row[:length].tolist() for row, length in zip(best, output.lengths, strict=True)]
    return [decode_letters(collapse(path)) for path in paths], output.letters.exp()


# %%
TINY = ModelConfig(
    d_model=48, n_layers=2, n_heads=2, d_ff=96, conv_channels=8, conv_kernel=5, dropout=0, auxiliary_layer=0
)


def new_model(seed: int) -> Captioner:
    torch.manual_seed(seed)
    return Captioner(TINY)


def batch_loss(model: Captioner, features: torch.Tensor, frames: torch.Tensor, targets: list, _: list) -> torch.Tensor:
    output = model.train()(features, frames)
    sizes = torch.tensor([len(target) for target in targets])
    return functional.ctc_loss(output.letters.transpose(0, 1), torch.cat(targets), output.lengths, sizes)


# %%
print(f"{sum(weight.numel() for weight in new_model(0).parameters()):,} weights")
with torch.no_grad():
    first = new_model(0)(*batches[0][:2])
by_class = [ctc_loss(first.letters[n, : first.lengths[n]], batches[0][2][n].tolist()) for n in range(12)]
by_length = [float(loss) / len(target) for loss, target in zip(by_class, batches[0][2], strict=True)]
assert np.isclose(np.mean(by_length), batch_loss(new_model(0), *batches[0]).item(), rtol=1e-5)

# %% [markdown]
# (torch's mean divides each loss by its target's length; so did we, in the last two lines.)
#
# The optimiser is Adam, in its own few lines: running means of each gradient and of its square, both made up for their
# start at 0; a weight moves by the one over the root of the other, times the rate. The rate rises to `peak` within
# `warm_up` steps and falls along a cosine to nothing.


# %%
def fit(model: Captioner, steps: int, peak: float, warm_up: int, every: int = 15) -> dict[str, list]:
    weights = [*model.parameters()]
    sizes = [weight.numel() for weight in weights]
    mean, square = torch.zeros(2, sum(sizes))
    log: dict[str, list] = {"loss": [], "error": [], "posteriors": []}
    for step in range(steps + 1):
        if step % every == 0:
            got, posteriors = transcribe(model, held_out)
            wrong = sum(edits(*pair) for pair in zip(got, held_out_texts, strict=True))
            log["error"].append(wrong / sum(map(len, held_out_texts)))
            log["posteriors"].append(posteriors)
        loss = batch_loss(model, *batches[step % len(batches)])
        parts = torch.autograd.grad(loss, weights, materialize_grads=True)
        gradient = torch.cat([part.flatten() for part in parts])
        mean.lerp_(gradient, 0.1)
        square.lerp_(gradient.square(), 0.001)
        size = (square / (1 - 0.999 ** (step + 1))).sqrt() + 1e-8
        rate = peak * min(1, (step + 1) / max(1, warm_up)) * (0.5 + 0.5 * np.cos(np.pi * step / steps))
        moves = rate / (1 - 0.9 ** (step + 1)) * mean / size
        for weight, move in zip(weights, moves.split(sizes), strict=True):
            weight.data -= move.view_as(weight)
        log["loss"].append(loss.item())
    return log


# %%
began, model = time.process_time(), new_model(0)
log = fit(model, 135, peak=0.04, warm_up=30)
print(f"{time.process_time() - began:.1f} s, letter error rate {log['error'][-1]:.1%} on strings never heard")
_, (left, middle, right) = plt.subplots(1, 3)
left.semilogy(log["loss"])
left.set(xlabel="step", title="loss, per letter")
middle.plot(range(0, 136, 15), log["error"], "o-")
middle.set(xlabel="step", title="letter error rate", ylim=(0, 1.25))
right.plot(range(0, 136, 15), [float(p[..., 0].mean()) for p in log["posteriors"]], "o-")
right.set(xlabel="step", title="mean P(blank)", ylim=(0, 1.05))
plt.tight_layout()
assert log["error"][-1] < 0.1

# %% [markdown]
# As predicted: for a while it says *nothing*, with an error of exactly 100 % (every letter deleted), and the loss seems
# to stand still. Many a training has been stopped there. Then the first letters step out of the blank.

# %%
got, posteriors = transcribe(model, held_out)
pairs = list(zip(held_out_texts, got, strict=True))
print("right:", [wanted for wanted, text in pairs if text == wanted][:8])
print("wrong:", [pair for pair in pairs if pair[0] != pair[1]][:8])
has_double, rates = [any(a == b for a, b in pairwise(text)) for text in held_out_texts], {}
for name, kind in (("with a double letter", True), ("without", False)):
    chosen = [pair for pair, double in zip(pairs, has_double, strict=True) if double == kind]
    rates[name] = sum(edits(*pair) for pair in chosen) / sum(len(pair[0]) for pair in chosen)
    print(f"{name}: {rates[name]:.1%} of letters wrong")
assert rates["without"] < 0.01 < rates["with a double letter"]

# %% [markdown]
# All errors are doubles: the gap between equal letters (they fade within 15 ms) is shorter than a frame of 40 ms, and
# CTC needs a blank there.
#
# Now one of these strings through training. Dotted: where the letters truly begin and end. CTC promises nothing about
# *when*; do the peaks lie in their letters all the same?

# %%
chosen = next(at for at, (wanted, text) in enumerate(pairs) if wanted == text and len(set(wanted)) == 4)
wanted = held_out_texts[chosen]
shots = {15 * n: log["posteriors"][n][chosen, : 1 + int(held_out[3][chosen][-1] * 25)].numpy() for n in (0, 3, 4, 9)}
show_posteriors(shots, dict(zip(encode_letters(wanted), wanted, strict=True)), held_out[3][chosen])
print(wanted)

# %%
inside, said_frames, true_frames = [], 0.0, 0.0
for (wanted, text), posterior, ends in zip(pairs, posteriors, held_out[3], strict=True):
    path = posterior[: 1 + int(ends[-1] * 25)].argmax(-1).tolist()
    starts = [at for at, label in enumerate(path) if label and (at == 0 or label != path[at - 1])]
    if wanted == text and len(starts) == len(wanted):
        inside += [(at * 0.04 - begin) / (end - begin) for at, (begin, end) in zip(starts, pairwise(ends), strict=True)]
        said_frames, true_frames = said_frames + np.count_nonzero(path), true_frames + (ends[-1] - ends[0]) * 25
plt.hist(inside, np.linspace(-0.5, 1.5, 41))
plt.axvspan(0, 1, color="C1", alpha=0.15)
plt.gca().set(xlabel="first frame of a peak, in its letter from 0 (begin) to 1 (end)", ylabel="letters")
plt.tight_layout()
print(f"a letter lasts {true_frames / len(inside):.1f} frames, its peak {said_frames / len(inside):.1f}")
print(f"{np.mean((np.array(inside) > 0) & (np.array(inside) < 1)):.0%} of peaks begin within their letter")

# %% [markdown]
# Hardly peaks: 2.6 of 3.2 frames. A steady chord is certain from end to end, and training was short. But they begin
# inside their letters, close enough to time captions: the aligner has to correct the lag, which is nearly constant, and
# no more.
#
# ## 8. Warm-up, or none
#
# Adam divides each gradient by its own recent size. In the first steps it knows no size yet, so every weight moves by a
# full learning rate at once, whatever its gradient. With a small rate that does no harm. With a large one it throws the
# weights to where softmaxes are saturated and nothing flows back. So a warm-up should matter for a large rate; let us
# take one three times ours, and three seeds, since one seed proves nothing.

# %%
began, final = time.process_time(), {}
for warm_up, colour in ((0, "C3"), (30, "C0")):
    for seed in (0, 1, 2):
        errors = fit(new_model(seed), 75, peak=0.12, warm_up=warm_up)["error"]
        plt.plot(range(0, 76, 15), errors, colour + "o-", label=f"warm-up {warm_up}" if seed == 0 else None)
        final.setdefault(warm_up, []).append(round(errors[-1], 3))
plt.gca().set(xlabel="step", ylabel="letter error rate", ylim=(0, 1.25))
plt.legend(frameon=False)
plt.tight_layout()
print(f"{time.process_time() - began:.1f} s", final)
assert max(final[30]) < 0.5 * min(final[0])

# %% [markdown]
# How much is luck? While this was written we tried five seeds. At this rate all five had more than half of the letters
# wrong without a warm-up, and none with one. At 0.04, for 120 steps, it was one of five against none; at 0.01, with two
# seeds each, the warm-up only delayed. So it buys a *larger* rate that works reliably, not a better network.
#
# ### What `transformer/train.py` does besides
#
# The captioner learns two alphabets at once: the phones' CTC loss counts 1, the letters' 0.3. The matrices of the
# blocks are moved by *Muon*, which gives a step the same size in every direction, and only the rest by Adam. And what
# is kept in the end are not the last weights but a running mean of them over about a thousand steps, which the noise
# of single batches hardly moves.

# %%
from transformer.train import AVERAGE, TrainConfig, make_optimizers

config = TrainConfig()
muon, adam = make_optimizers(model, config)
for optimiser in (muon, adam):
    numbers = sum(weight.numel() for group in optimiser.param_groups for weight in group["params"])
    print(f"{type(optimiser).__name__:6} moves {numbers:6,} of our numbers")
assert (config.phone_weight, config.letter_weight) == (1, 0.3)
assert 1 / (1 - AVERAGE) > 900

# %% [markdown]
# ## Exercises
#
# 1. **Doubles.** How many paths of $S$ frames carry a text with $r$ equal neighbours? Change the counting of section 1
#    by a word, then check it by brute force for "aab", "aaa" and "abba".
# 2. **The best path is not the best text.** Find a distribution over two frames whose best path collapses to nothing
#    although "a" is more probable than nothing. What does this say about greedy decoding, and about a beam search?
# 3. **Alignment.** Replace the sum in the trellis by a maximum and remember where it came from (Viterbi). Which frames
#    hold which letter? Check by brute force that no path for the text is better.
# 4. **A batch.** `ctc_loss` takes one example, torch's a batch of different lengths. Write the batch with tensors only,
#    no loop over examples, and reach torch's losses *and* gradients.
#
# Solutions: `solutions/05_ctc_and_training.py`.
#
# ## Further reading
#
# - A. Graves et al., *Connectionist temporal classification*, 2006: the sum over paths, forward and backward.
# - A. Hannun, *Sequence modeling with CTC*, Distill 2017: the best pictures of the trellis.
# - A. Zeyer, R. Schlüter, H. Ney, *Why does CTC result in peaky behavior?*, 2021: section 5, proved.
# - R. Xiong et al., *On layer normalization in the transformer architecture*, 2020: who needs a warm-up, and why.
