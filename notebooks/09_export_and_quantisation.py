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
# # 09 · Export and quantisation: from a trained network to the file that is served
#
# **Goal.** The worker that writes captions has no torch. It has numpy, onnxruntime and a folder: a graph, a language
# model, a lexicon, and a page that says what they are. At the end of this notebook you know what an exported graph
# is, you have trained a very small `Captioner`, exported it, made its numbers bytes by hand and by tool, and served
# it. And you have proof that the *file* is what captions depend on: change one matrix in it, and they change; change
# one byte, and it is refused.

# %%
import gc
import hashlib
import json
import logging
import os
import tempfile
import time
from collections import Counter, defaultdict
from pathlib import Path

gc.disable()  # looking for cycles among the many small objects of the exporter takes a second and frees hardly anything
os.environ["OPENBLAS_NUM_THREADS"] = "1"  # as for torch below: small matrices gain nothing from two threads

import matplotlib.pyplot as plt
import numpy as np
import onnx
import onnxruntime
import torch
from onnx import helper, numpy_helper
from torch import Tensor
from torch.nn import functional
from torch.nn.utils.rnn import pad_sequence

logging.disable(logging.WARNING)  # the exporter's remarks on packages that we don't use
torch.set_num_threads(1)
torch.manual_seed(9)
plt.rcParams.update(
    {"figure.dpi": 70, "figure.figsize": (8, 2.4), "axes.spines.top": False, "axes.spines.right": False}
)
rng = np.random.default_rng(9)
folder = Path(tempfile.mkdtemp())

# %% [markdown]
# ## 1. What is a graph?
#
# A model in Python is a program: it may loop, ask, print. An exported graph is a *list*. Each entry (a **node**)
# names an operation, the values it takes and the values it makes; some values are given (**initialisers**, the
# weights), the others are computed. Anything that reads this list can run it, in any language. Here is one made by
# hand, two layers with a ReLU between, and a whole interpreter:

# %%
weights = {"w1": rng.normal(size=(3, 4)), "w2": rng.normal(size=(4, 2)), "b1": rng.normal(size=4)}
nodes = [
    helper.make_node("MatMul", ["x", "w1"], ["h1"]),
    helper.make_node("Add", ["h1", "b1"], ["h2"]),
    helper.make_node("Relu", ["h2"], ["h3"]),
    helper.make_node("MatMul", ["h3", "w2"], ["y"]),
]
OPERATIONS = {"MatMul": np.matmul, "Add": np.add, "Relu": lambda x: np.maximum(x, 0)}


def run(nodes: list[onnx.NodeProto], values: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    values = dict(values)
    for node in nodes:
        values[node.output[0]] = OPERATIONS[node.op_type](*(values[name] for name in node.input))
    return values


# %%
x = rng.normal(size=(5, 3)).astype(np.float32)
kind = onnx.TensorProto.FLOAT
graph = helper.make_graph(
    nodes, "toy",
    [helper.make_tensor_value_info("x", kind, ["rows", 3])], [helper.make_tensor_value_info("y", kind, ["rows", 2])],
    [numpy_helper.from_array(array.astype(np.float32), name) for name, array in weights.items()],
)  # fmt: skip
toy = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
(theirs,) = onnxruntime.InferenceSession(toy.SerializeToString()).run(None, {"x": x})
mine = run(nodes, {"x": x, **weights})["y"]
print(x.shape, "->", theirs.shape, "| file:", len(toy.SerializeToString()), "bytes")
assert np.allclose(mine, theirs, atol=1e-5)

# %% [markdown]
# Note "rows": a length that is not in the file. And note what is *not* there: no class, no Python, no `if`. An
# exporter has to turn the one into the other by following what the model does with an example.
#
# ## 2. A model to export
#
# Toy speech as in notebook 05: a letter is a chord of three formants, 60-130 ms long, said by a buzz of any pitch,
# with noise. In this language each letter is one phone, so words and their pronunciations are quickly made. Three
# words make a sentence.

# %%
from transformer.audio import log_mel, normalise
from transformer.config import SAMPLE_RATE, ModelConfig
from transformer.model import Captioner
from transformer.phones import PHONE_IDS
from transformer.tokenizer import encode_letters

FORMANTS = {
    "a": (750, 1200, 2500), "e": (500, 1900, 2600), "i": (300, 2300, 3000), "o": (500, 900, 2400),
    "u": (300, 700, 2200), "m": (250, 1100, 1500), "s": (4500, 5500, 6500), "t": (1800, 3000, 4200),
}  # fmt: skip
SOUNDS = {"a": "AE", "e": "EH", "i": "IH", "o": "AO", "u": "UH", "m": "M", "s": "S", "t": "T"}
SLOTS = [["tom", "sue", "mia", "sam"], ["eats", "uses", "meets", "sees"], ["tea", "oats", "toast", "mist", "seats"]]
WORDS = sorted({word for slot in SLOTS for word in slot})


def phones_of(text: str) -> list[int]:
    return [PHONE_IDS[SOUNDS[letter]] for letter in text.replace(" ", "")]


# %%
def chord(letter: str, period: int) -> np.ndarray:
    n = np.arange(int(rng.uniform(0.06, 0.13) * SAMPLE_RATE))
    if letter == " ":
        return np.zeros(len(n))
    hz = np.fft.rfftfreq(len(n), 1 / SAMPLE_RATE)
    gain = sum(np.exp(-(((hz - formant) / 150) ** 2)) for formant in FORMANTS[letter])
    wave = np.fft.irfft(np.fft.rfft(1.0 * (n % period == 0)) * gain, len(n))
    return 0.3 * wave / np.abs(wave).max() * np.minimum(1, np.minimum(n, n[::-1]) / 240)


def say(text: str) -> tuple[np.ndarray, list[tuple[float, float]]]:
    """Return samples, and the seconds at which each word begins and ends."""
    period, parts = rng.integers(80, 170), [np.zeros(int(rng.uniform(0.05, 0.25) * SAMPLE_RATE))]
    times = []
    for word in text.split():
        begin = sum(map(len, parts)) / SAMPLE_RATE
        parts += [chord(letter, period) for letter in word]
        times.append((begin, sum(map(len, parts)) / SAMPLE_RATE))
        parts.append(chord(" ", period))
    sound = np.concatenate([*parts, np.zeros(1600)])
    return (sound + rng.normal(0, 10 ** rng.uniform(-2.5, -1.5), len(sound))).astype(np.float32), times


# %%
def sentence() -> str:
    return " ".join(str(rng.choice(slot)) for slot in SLOTS)


def make_batch(sounds: list[np.ndarray]) -> tuple[Tensor, Tensor]:
    features = [torch.from_numpy(normalise(log_mel(sound))) for sound in sounds]
    return pad_sequence(features, batch_first=True), torch.tensor([len(item) for item in features])


corpus = [sentence() for _ in range(240)]
batches = [(texts, make_batch([say(text)[0] for text in texts])) for texts in np.reshape(corpus, (20, 12)).tolist()]
test = [(text, *say(text)) for text in (sentence() for _ in range(20))]
print(tuple(batches[0][1][0].shape), corpus[:3])

# %% [markdown]
# Both heads are trained at once, phones for the lexicon, letters for what no lexicon has.

# %%
TINY = ModelConfig(
    d_model=64, n_layers=1, n_heads=2, d_ff=128, conv_channels=8, conv_kernel=7, dropout=0, auxiliary_layer=0
)
model = Captioner(TINY)


def loss_of(texts: list[str], batch: tuple[Tensor, Tensor]) -> Tensor:
    output = model(*batch)
    total = torch.zeros(())
    for logs, encode in ((output.phones, phones_of), (output.letters, encode_letters)):
        targets = [torch.tensor(encode(text)) for text in texts]
        sizes = torch.tensor([len(target) for target in targets])
        total = total + functional.ctc_loss(logs.transpose(0, 1), torch.cat(targets), output.lengths, sizes)
    return total


# %%
began, losses, STEPS = time.process_time(), [], 100
optimiser = torch.optim.AdamW(model.parameters(), lr=0.012)
shape = lambda step: min(1, (step + 1) / 25) * (0.5 + 0.5 * np.cos(np.pi * step / STEPS))  # noqa: E731
schedule = torch.optim.lr_scheduler.LambdaLR(optimiser, shape)
for step in range(STEPS):
    optimiser.zero_grad()
    loss = loss_of(*batches[step % len(batches)])
    loss.backward()
    torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    optimiser.step()
    schedule.step()
    losses.append(loss.item())
model.eval()
plt.semilogy(losses)
plt.gca().set(xlabel="step", ylabel="loss, both heads")
plt.tight_layout()
print(f"{sum(weight.numel() for weight in model.parameters()):,} weights, {time.process_time() - began:.1f} s")

# %% [markdown]
# ## 3. Exporting it
#
# `transformer.export.export_onnx` lets torch follow the model over an example of 2 sounds of 200 frames, with the
# lengths of both axes left open, and writes what it saw. Guess before you look: which operation is the most frequent
# one?

# %%
from transformer.export import describe, export_onnx, quantise

began = time.process_time()
export_onnx(model, folder / "fp32.onnx")
exported = onnx.load(folder / "fp32.onnx").graph
print(f"exported in {time.process_time() - began:.1f} s: {len(exported.node)} nodes")
print("in", [value.name for value in exported.input], "out", [value.name for value in exported.output])
print(Counter(node.op_type for node in exported.node).most_common(8))

# %% [markdown]
# What was a class with a name is a row of small steps. Our attention, for instance, is in there as two products with
# a softmax between, and SiLU as `Sigmoid` and `Mul`. These nodes end in the phones:

# %%
for node in exported.node[-8:]:
    shapes = [f"{init.name}{list(init.dims)}" for init in exported.initializer if init.name in node.input]
    print(f"{node.op_type:10} {' '.join(shapes):34} -> {node.output[0]}")

# %% [markdown]
# **Is it the same function?** The danger of following an example is that something of the example gets fixed: its
# length, its number of sounds, a mask. So ask at lengths that it has never seen, down to a single frame, and with
# padding.

# %%
from transformer.runtime import open_session

session = open_session(folder / "fp32.onnx")


def by_file(session: onnxruntime.InferenceSession, features: Tensor, frames: Tensor) -> list[np.ndarray]:
    return session.run(None, {"features": features.numpy(), "frames": frames.numpy()})


for sizes in ([200, 160], [1], [7], [63, 64, 65], [1500], [333, 12]):
    features, frames = torch.randn(len(sizes), max(sizes), 80), torch.tensor(sizes)
    with torch.no_grad():
        output = model(features, frames)
    phones, letters = by_file(session, features, frames)
    worst = max(np.abs(phones - output.phones.numpy()).max(), np.abs(letters - output.letters.numpy()).max())
    print(f"{sizes!s:14} -> {phones.shape!s:14} differs by {worst:.0e}")
    assert worst < 1e-4

# %% [markdown]
# ## 4. A byte per number
#
# A weight has 32 bits, of which most say nothing: noise of training. **Quantise**: choose a scale $s$, store the
# whole number $q=\mathrm{round}(w/s)$, and read $s\,q$. With $s=\max|w|/127$ every $q$ fits in a byte. How large is
# the error? Rounding is off by anything between $-s/2$ and $s/2$, evenly, so its root mean square is $s/\sqrt{12}$. A
# bit less doubles $s$: nearly a straight line on a logarithmic axis ($b$ bits hold $2^{b-1}-1$ and not $2^{b-1}$
# steps).


# %%
def quantise_by_hand(w: np.ndarray, bits: int = 8, axis: int | None = None) -> tuple[np.ndarray, np.ndarray]:
    """Return whole numbers and their scale: one in all, or one a column with axis=0."""
    largest = 2 ** (bits - 1) - 1
    scale = np.abs(w).max(axis, keepdims=axis is not None) / largest
    return np.rint(w / scale).astype(np.int32), scale


def rms(x: np.ndarray) -> float:
    return float(np.sqrt(np.mean(x**2)))


matrix = model.blocks[0].feed_forward[0].weight.detach().double().numpy().T  # (64, 128): in, out
measured, predicted = [], []
for bits in range(2, 13):
    q, scale = quantise_by_hand(matrix, bits)
    measured.append(rms(q * scale - matrix))
    predicted.append(float(scale) / np.sqrt(12))

# %%
plt.semilogy(range(2, 13), measured, "o", label="measured")
plt.semilogy(range(2, 13), predicted, label="scale / √12")
plt.axhline(rms(matrix), c="0.6", ls=":", label="the weights themselves")
plt.gca().set(xlabel="bits", ylabel="RMS error")
plt.legend(frameon=False)
assert np.allclose(measured[3:], predicted[3:], rtol=0.1)

# %% [markdown]
# At 8 bits the error is a hundredth of the weights. At 2 bits it is as large as they are.
#
# **One scale for all, or one a column?** A column of the matrix makes one output. The scale must hold the largest
# number; if a single column is large, all the others are rounded with *its* step. Look at the phone head, where each
# column is a phone, and 8 of 40 occur in this language. Which columns gain by a scale of their own, and which one
# can't?

# %%
head = model.phone_head.weight.detach().double().numpy().T  # (64, 40)
ways = {"one scale": quantise_by_hand(head), "one a column": quantise_by_hand(head, axis=0)}
for name, (q, scale) in ways.items():
    plt.semilogy(np.sqrt(((q * scale - head) ** 2).mean(0)), "o", ms=4, label=f"{name}: {rms(q * scale - head):.1e}")
plt.semilogy(np.abs(head).max(0) / 127 / np.sqrt(12), "k_", label="largest / 127 / √12")
plt.gca().set(xlabel="column (blank, then 39 phones)", ylabel="RMS error")
plt.legend(frameon=False, ncols=3, loc="lower center", bbox_to_anchor=(0.5, 1))
errors = {name: (q * scale - head) ** 2 for name, (q, scale) in ways.items()}
assert errors["one a column"].mean() < 0.6 * errors["one scale"].mean()
largest = np.abs(head).max(0).argmax()
assert np.isclose(errors["one a column"][:, largest].sum(), errors["one scale"][:, largest].sum())

# %% [markdown]
# A scale for a column costs four bytes and can be taken out of the sum: $\sum_i x_i\,(q_{ij}s_j)=s_j\sum_i
# x_iq_{ij}$. (One a *row* could not: then each term of the sum would have a scale of its own.)
#
# ### A product in integers
#
# The gain is not only size. If $x$ is whole numbers as well, $x\approx s_x(u-z)$, the sum is one of whole numbers,
# and processors multiply four bytes in the time of one float. $x$ is known only when it comes, so its scale is found
# on the fly (**dynamic** quantisation): unsigned bytes from its smallest to its largest value, with a zero point $z$,
# because ranges are lopsided: behind a SiLU nothing is below −0.28, and a signed byte would waste nearly half its
# numbers. Behind a LayerNorm it gains little. And
#
# $$\sum_i(u_i-z)\,q_{ij}=\sum_i u_iq_{ij}-z\sum_i q_{ij}$$
#
# so the zero point costs one number a column.


# %%
def to_bytes(x: np.ndarray) -> tuple[np.ndarray, np.float32, int]:
    low, high = min(0, x.min()), max(0, x.max())  # 0 must be exact: padding is made of it
    scale = np.float32((high - low) / 255)
    zero = int(np.rint(-low / scale))
    return np.clip(np.rint(x / scale) + zero, 0, 255).astype(np.uint8), scale, zero


with torch.no_grad():
    x = model(*make_batch([test[0][1]])).hidden[0].numpy()  # (S, 64): what the phone head reads
u, x_scale, zero = to_bytes(x)
q, scale = quantise_by_hand(head, axis=0)
sums = u.astype(np.int32) @ q - zero * q.sum(0, dtype=np.int32)
product = sums * (x_scale * scale)
of_quantised = (x_scale * (u.astype(np.float64) - zero)) @ (q * scale)
print(u.dtype, u.shape, "x", q.shape, "->", sums.dtype, f"largest sum {np.abs(sums).max():,}; zero point {zero}")
assert np.allclose(product, of_quantised, rtol=1e-9, atol=1e-9)
print(f"error of the product {rms(product - x @ head) / rms(x @ head):.2%} of its size")
assert rms(product - x @ head) < 0.02 * rms(x @ head)

# %% [markdown]
# The integers lose nothing: all of the loss was in the rounding before. (The largest sum that $n$ terms can reach is
# $255\cdot127\,n$; 32 bits hold that up to $n=66{,}000$.)
#
# ### The tool
#
# `transformer.export.quantise` does that to every matrix in the file. Is it the same? Matrices have no names in the
# graph, so we look for the first named weight that the product meets further down, its bias.

# %%
served = folder / "served"
served.mkdir()
quantise(folder / "fp32.onnx", served / "captioner.onnx")
small = onnx.load(served / "captioner.onnx").graph
print(Counter(node.op_type for node in small.node).most_common(6))


def parts_of(graph: onnx.GraphProto) -> dict[str, str]:
    """Return for each initialiser the weight with a name that it meets first on its way through the graph."""
    readers, found = defaultdict(list), {}
    for node in graph.node:
        for name in node.input:
            readers[name].append(node)
    for init in graph.initializer:
        waiting = [init.name]
        for value in waiting:
            if value.startswith("model."):
                found[init.name] = value.removeprefix("model.")
                break
            for node in readers[value]:
                met = [*(name for name in node.input if name.startswith("model.")), *node.output]
                waiting += [name for name in met if name not in waiting]
    return found


# %%
arrays = {init.name: numpy_helper.to_array(init) for init in small.initializer}
parts = parts_of(small)
(head_name,) = (name for name in arrays if arrays[name].shape == q.shape and parts[name] == "phone_head.bias")
scale_name = head_name.replace("_quantized", "_scale")
assert np.array_equal(arrays[head_name], q)
assert np.allclose(arrays[scale_name], scale, rtol=1e-6)
print("phone head: the same", q.size, "bytes and", scale.size, "scales")

# %%
value = helper.make_tensor_value_info
outputs = [value("u", onnx.TensorProto.UINT8, None), value("s", kind, None), value("z", onnx.TensorProto.UINT8, None)]
dynamic = helper.make_graph(
    [helper.make_node("DynamicQuantizeLinear", ["x"], ["u", "s", "z"])],
    "dynamic", [value("x", kind, [None, None])], outputs,
)  # fmt: skip
file = helper.make_model(dynamic, opset_imports=[helper.make_opsetid("", 18)], ir_version=10).SerializeToString()
their_u, their_scale, their_zero = onnxruntime.InferenceSession(file).run(None, {"x": x})
assert np.array_equal(their_u, u)
assert (their_scale, their_zero) == (x_scale, zero)
print("and its input: the same", u.size, "bytes, scale and zero point")

# %% [markdown]
# ### Why only matrix products?
#
# Where are the numbers, and where would it be worth it? By weight: count bytes by the operation that reads them. By
# time: let the tool quantise the convolutions too and use a clock. (A quantised convolution is no faster by law; it
# is as fast as somebody has written it to be.)

# %%
reader = {name: node.op_type for node in exported.node for name in node.input}
held = Counter()
for init in exported.initializer:
    held[reader[init.name]] += numpy_helper.to_array(init).nbytes
print("bytes of weights by operation:", dict(held.most_common(4)))
all_kinds = folder / "all.onnx"
onnxruntime.quantization.quantize_dynamic(
    folder / "fp32.onnx", all_kinds, op_types_to_quantize=["MatMul", "Conv"], per_channel=True
)  # fmt: skip


def milliseconds(path: Path, features: Tensor, repeats: int = 7) -> float:
    """Return the processor's time, which other programs disturb less than the clock's."""
    session, times = open_session(path), []
    for _ in range(repeats):
        began = time.process_time()
        by_file(session, features, torch.tensor([features.shape[1]]))
        times.append(time.process_time() - began)
    return float(1000 * np.median(times))


# %%
files = {"float": folder / "fp32.onnx", "MatMul in bytes": served / "captioner.onnx", "Conv too": all_kinds}
taken = {name: milliseconds(path, torch.randn(1, 1500, 80)) for name, path in files.items()}
_, (left, right) = plt.subplots(1, 2)
left.bar([*files], [path.stat().st_size / 1000 for path in files.values()])
left.set(ylabel="kB of the file")
right.bar([*taken], taken.values(), color="C1")
right.set(ylabel="ms for 15 s of sound")
plt.tight_layout()
print({name: f"{path.stat().st_size:,} bytes, {taken[name]:.1f} ms" for name, path in files.items()})
assert files["MatMul in bytes"].stat().st_size < 0.6 * files["float"].stat().st_size
assert taken["Conv too"] > 1.2 * taken["MatMul in bytes"]

# %% [markdown]
# Matrices hold nearly all bytes; a convolution in integers costs time instead of saving it. So: MatMul only. (This
# model is so small that names, shapes and the list itself are a good part of the file, and its products are too small
# to gain much time. The last section looks at the one that ships.)
#
# ## 5. A folder that is served
#
# The graph makes phones; words need the language model and the lexicon (notebook 07). `export_model` writes
# `captioner.onnx`, doing in one call what we did in two; the other two files have writers of their own, and
# `describe` writes the page: version, settings of the beam, and each file's sha256.

# %%
from transformer.graph import save_entries
from transformer.language_model import train_language_model

language = train_language_model(corpus, WORDS, n_bigrams=200, n_trigrams=400)
entries = [(number, phones_of(word)) for number, word in enumerate(language.words) if word in WORDS]
language.save(served / "language.xz")
save_entries(served / "lexicon.xz", entries)
describe(served, {"name": "toy", "version": "9"})
for path in sorted(served.iterdir()):
    print(f"{path.name:16} {path.stat().st_size:7,} bytes")
print((served / "captioner.json").read_text()[:90], "…")

# %%
from transformer.runtime import ModelError, Transcriber

transcriber = Transcriber(served)
text, sound, times = test[0]
words = transcriber.transcribe(sound)
plt.imshow(normalise(log_mel(sound)).T, origin="lower", aspect="auto", vmin=-2, vmax=2)
for word, (begin, end) in zip(words, times, strict=False):
    plt.plot([begin * 100, end * 100], [82, 82], "C0", lw=4, clip_on=False)
    plt.plot([word.start_s * 100, word.end_s * 100], [87, 87], "C3", lw=4, clip_on=False)
    plt.text(word.start_s * 100, 90, f"{word.text} {word.confidence:.2f}", color="C3")
plt.gca().set(xlabel="frame of 10 ms; blue: said, red: found", ylabel="mel band", ylim=(0, 80))
plt.tight_layout()
for word in words:
    print(f"{word.start_s:.2f} - {word.end_s:.2f}  {word.text:6} {word.confidence:.2f}")
assert [word.text for word in words] == text.split()

# %% [markdown]
# No torch was needed for that. Now the question that decides whether bytes are good enough, asked with more and more
# noise over the speech, so that there is something to lose:

# %%
from transformer.metrics import word_accuracy

plain = folder / "plain"
plain.mkdir()
for name in ("language.xz", "lexicon.xz"):
    (plain / name).write_bytes((served / name).read_bytes())
(plain / "captioner.onnx").write_bytes((folder / "fp32.onnx").read_bytes())
describe(plain, {})
both = {"float": Transcriber(plain), "bytes": transcriber}


def caption(transcriber: Transcriber, sound: np.ndarray) -> str:
    return " ".join(word.text for word in transcriber.transcribe(sound))


# %%
levels, wrong = (0, 0.06, 0.1, 0.15), {name: [] for name in both}
for level in levels:
    noisy = [(text, sound + level * rng.normal(size=len(sound)).astype(np.float32)) for text, sound, _ in test]
    for name, one in both.items():
        wrong[name].append(1 - word_accuracy([(caption(one, sound), text) for text, sound in noisy]))
for (name, rates), style in zip(wrong.items(), ("o-", "s--"), strict=True):
    plt.plot(levels, rates, style, label=name)
    print(f"{name:6}", [f"{rate:.1%}" for rate in rates])
plt.gca().set(xlabel="noise", ylabel="word error rate", ylim=0)
plt.legend(frameon=False)
assert wrong["bytes"][0] < 0.1
assert max(abs(a - b) for a, b in zip(*wrong.values(), strict=True)) < 0.1
assert abs(np.mean(wrong["float"]) - np.mean(wrong["bytes"])) < 0.02

# %% [markdown]
# ## 6. The file is what matters
#
# "The model is ours" is easily said: how would you notice if captions came from somewhere else? By taking the part
# away. We change **one matrix**, in the file itself: in the phone head the columns of S and T, and their scales, change
# places. What was heard as S becomes T, and the other way round. Nothing else changes, in code or files. Look at the
# words of our language again and predict: which of them can still be captioned?

# %%
edited = onnx.load(served / "captioner.onnx")
columns = [PHONE_IDS["S"], PHONE_IDS["T"]]
for init in edited.graph.initializer:
    if init.name in (head_name, scale_name):
        array = numpy_helper.to_array(init).copy()
        array[..., columns] = array[..., columns[::-1]]
        init.CopyFrom(numpy_helper.from_array(array, init.name))
other = folder / "other"
other.mkdir()
onnx.save(edited, other / "captioner.onnx")
for name in ("language.xz", "lexicon.xz"):
    (other / name).write_bytes((served / name).read_bytes())
describe(other, {"name": "toy", "version": "9, S and T exchanged"})

# %%
theirs = {init.name: numpy_helper.to_array(init) for init in onnx.load(other / "captioner.onnx").graph.initializer}
differ = [parts.get(name) for name in arrays if not np.array_equal(arrays[name], theirs[name])]
print("what differs between the files:", Counter(differ))
assert set(differ) == {"phone_head.bias"}, "the matrix, and its scales, of the head whose bias that is"
exchanged = Transcriber(other)
pairs = [(text, caption(transcriber, sound), caption(exchanged, sound)) for text, sound, _ in test]
for pair in pairs[:6]:
    print(" | ".join(f"{part:18}" for part in pair))
found = {"mia": [], "any other word": []}
for text, _, after in pairs:
    for word in text.split():
        found["mia" if word == "mia" else "any other word"].append(word in after.split())
print("still found:", {name: f"{sum(hits)} of {len(hits)}" for name, hits in found.items()})
assert sum(before != after for _, before, after in pairs) > 0.9 * len(pairs)
assert np.mean(found["mia"]) > 0.6
assert np.mean(found["any other word"]) < 0.4

# %% [markdown]
# Only "mia" has neither S nor T. Of the rest the search still makes words, as well as it can, but it hears another
# language: mostly nothing fits, sometimes another word does. So captions depend on the weights in that file, all of the
# way. (A test of ours does the same with the model that ships.) Which also means that a *damaged* file would make
# damaged captions, and nobody would see why. Therefore the folder is checked before it is used. One byte of the graph,
# then one of the language model; then a graph that is whole, and truly described, but not a captioner:


# %%
def refusal(folder: Path) -> str:
    try:
        Transcriber(folder)
    except ModelError as problem:
        return str(problem)
    return "accepted"


for name in ("captioner.onnx", "language.xz"):
    original = (other / name).read_bytes()
    at = len(original) // 2
    (other / name).write_bytes(original[:at] + bytes([original[at] ^ 1]) + original[at + 1 :])
    print("refused:", refusal(other)[:96], "…")
    assert "sha256" in refusal(other)
    (other / name).write_bytes(original)
assert refusal(other) == "accepted"
wanted = json.loads((other / "captioner.json").read_text())["sha256"]
assert all(hashlib.sha256((other / name).read_bytes()).hexdigest() == told for name, told in wanted.items())

# %%
(other / "captioner.onnx").write_bytes(toy.SerializeToString())
describe(other, {})
print("refused:", refusal(other))
assert "another model" in refusal(other)

# %% [markdown]
# A hash guards against accidents, and against mixing files of two models. It doesn't guard against somebody who may
# write `captioner.json` as well: against that only the folder's permissions help.
#
# ## 7. The model that ships
#
# The same view of the file in `transformer/weights`: which parts hold its bytes? Matrices are bytes, so megabytes are
# millions of weights.

# %%
from transformer.config import SMALL
from transformer.runtime import WEIGHTS

shipped = onnx.load(WEIGHTS / "captioner.onnx").graph
owners, held = parts_of(shipped), Counter()
for init in shipped.initializer:
    first, *rest = owners.get(init.name, "other").split(".")
    held[rest[1] if first == "blocks" else first] += numpy_helper.to_array(init).nbytes
held["the list of nodes"] = (WEIGHTS / "captioner.onnx").stat().st_size - held.total()
held.update({name: (WEIGHTS / name).stat().st_size for name in ("language.xz", "lexicon.xz")})
names, sizes = zip(*held.most_common(), strict=True)
plt.barh(names[::-1], np.array(sizes[::-1]) / 1e6)
plt.gca().set(xlabel="MB")
plt.tight_layout()

# %%
largest = sorted(shipped.initializer, key=lambda init: -int(np.prod(init.dims)))[:10]
for init in largest:
    array, owner = numpy_helper.to_array(init), owners.get(init.name, "other")
    name = owner.removesuffix(".bias") + " (matrix)" if array.ndim == 2 else owner
    print(f"{name:40} {array.shape!s:14} {array.dtype!s:8} {array.nbytes:9,} bytes")
in_bytes = sum(int(np.prod(init.dims)) for init in shipped.initializer if init.data_type == onnx.TensorProto.INT8)
numbers = sum(weight.numel() for weight in Captioner(SMALL).parameters())
print(f"{in_bytes / 1e6:.2f} of {numbers / 1e6:.2f} million numbers are bytes")
assert in_bytes > 0.9 * numbers
taken_ms = milliseconds(WEIGHTS / "captioner.onnx", torch.randn(1, 1500, 80), 3)
print(f"15 s of sound take the network {taken_ms:.0f} ms: {15_000 / taken_ms:.0f} times faster than it is spoken")

# %% [markdown]
# ## Exercises
#
# 1. **How few bits?** Quantise all matrices of a `Captioner` to 8, 7, ... 2 bits (in torch: round, and multiply back)
#    and measure how far its log-probabilities move. By which factor does a bit less make it worse?
# 2. **A zero point.** What comes out of a SiLU is never below −0.28. How much of the error does an unsigned byte with
#    a zero point save against a signed one without? Predict it from the ranges.
# 3. **An outlier in a row.** One input of a matrix is 50 times as large as the others and its row 50 times as small.
#    What does that do to the bytes of $x$? Move the factor from $x$ into the matrix, by way of the LayerNorm before
#    it, and show that the function is the same and the error is not.
# 4. **Half a byte.** Pack two 4-bit weights into a byte, with a scale for each 32 rows of a column. How many bytes
#    does the matrix take, and is its error nearer to 8 bits or to 4?
#
# Solutions: `solutions/09_export_and_quantisation.py`.
#
# ## Further reading
#
# - B. Jacob et al., *Quantization and training of neural networks for efficient integer-arithmetic-only inference*,
#   2018.
# - M. Nagel et al., *A white paper on neural network quantization*, 2021: ranges, columns, and when training must
#   help.
# - G. Xiao et al., *SmoothQuant*, 2023: exercise 3, for models a thousand times as large.
# - The ONNX operator reference: `DynamicQuantizeLinear`, `MatMulInteger`.
