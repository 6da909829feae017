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
# # 06 · Encoder and decoder: a network that writes
#
# **Goal.** CTC labels frames; it can't know what it has written. A *decoder* writes one token after another, and before
# each it looks at the text so far and at the sound. At the end of this notebook you have built one by hand, made it
# fast with a key-value cache, trained it on top of an encoder together with CTC, and seen its attention walk through
# the sound. Then you will see it invent words over noise, and know why StreamForge's captions never come from it.

# %%
import math
import time

import matplotlib.pyplot as plt
import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils.rnn import pad_sequence

torch.set_num_threads(1)
torch.manual_seed(6)
plt.rcParams.update(
    {"figure.dpi": 70, "figure.figsize": (8, 2.4), "axes.spines.top": False, "axes.spines.right": False}
)
rng = np.random.default_rng(6)

# %% [markdown]
# ## 1. Two ways to factor a text
#
# Suppose the sound is "tea" or "sum", half and half. CTC's frames choose **independently**: given the sound,
# $P=\prod_t p_t$. A decoder uses the chain rule, which assumes nothing: $P=\prod_i p(y_i\mid y_1\ldots y_{i-1})$. What
# share of the probability goes to words that nobody said?

# %%
independent = {a + b + c: 0.5**3 for a in "ts" for b in "eu" for c in "am"}
chained = {"tea": 0.5 * 1 * 1, "sum": 0.5 * 1 * 1}  # after "t" an "e" is certain
print(independent, f"-> {1 - independent['tea'] - independent['sum']:.0%} for words that were never said")
print(chained, "-> 0%")

# %% [markdown]
# The chain is a language model that listens. That is its strength, and section 8 shows the price.
#
# ## 2. Start, end and a teacher
#
# The decoder predicts token $i$ from the tokens before it. So the first needs a token before it, `<start>`, and to stop
# is itself a prediction, `<end>`. In training we don't wait for its own answers: we feed the true text shifted by one
# (*teacher forcing*) and ask for all the next tokens in a single pass. A mask keeps each from seeing what it is asked.

# %%
from transformer.tokenizer import BytePairEncoding

tokenizer = BytePairEncoding([])  # no merges: letters, and a mark at each word's beginning
START, END = tokenizer.START, tokenizer.END
text = [START, *tokenizer.encode("tea at"), END]
inputs, targets = text[:-1], text[1:]
for name, row in (("given", inputs), ("wanted", targets)):
    print(f"{name:7}", *(f"{tokenizer.tokens[token]:>7}" for token in row))

# %% [markdown]
# ## 3. The decoder by hand
#
# A layer asks three questions, each of LayerNorm(x) and each added to x: *what have I written?* (attention to the text
# before, causal), *what do I hear?* (**cross-attention**: queries from the text, keys and values from the encoder's
# frames), *what follows?* (two linear layers). Cross-attention is nothing new, only two sources instead of one:
#
# ```
#   text    x (L, d) ── query ─► q (L, h) ┐
#                                         ├─ softmax(q kᵀ/√h)  (L, S): for each token, where in the sound
#   sound   m (S, d) ─┬─ key ──► k (S, h) ┘        │
#                     └─ value ► v (S, h) ─────────┴─► weighted mean of v  (L, h)
# ```

# %%
from transformer.config import ModelConfig
from transformer.model import Attention, Decoder, rotary_angles, rotate

TINY = ModelConfig(
    d_model=64, n_layers=1, n_heads=4, d_ff=128, conv_channels=8, conv_kernel=5, dropout=0, auxiliary_layer=0
)


# %%
def look(attention: Attention, x: Tensor, source: Tensor, *, causal: bool) -> Tensor:
    """Attention of one example, head by head: x (L, d), source (S, d) to (L, d)."""
    parts = attention.query(x), attention.key(source), attention.value(source)
    heads = []
    for head in zip(*(part.chunk(attention.n_heads, -1) for part in parts), strict=True):
        q, k, v = head
        if causal:  # the text has an order: each q and k is turned by its place
            angles = rotary_angles(torch.arange(len(q)), q.shape[-1])
            q, k = rotate(q, *angles), rotate(k, *angles)
        scores = q @ k.T / math.sqrt(q.shape[-1])  # (L, S)
        if causal:
            scores = scores.masked_fill(torch.ones_like(scores).triu(1).bool(), -torch.inf)
        heads.append(scores.softmax(-1) @ v)
    return attention.out(torch.cat(heads, -1))


# %%
def toy_decoder(decoder: Decoder, tokens: Tensor, memory: Tensor) -> Tensor:
    x = decoder.embedding(tokens)  # (L, d)
    for block in decoder.blocks:
        mine = block.own_norm(x)
        x = x + look(block.own, mine, mine, causal=True)
        x = x + look(block.cross, block.cross_norm(x), memory, causal=False)
        x = x + block.feed_forward(block.feed_forward_norm(x))
    return decoder.norm(x) @ decoder.embedding.weight.T  # to compare with each token's own vector


decoder, memory, tokens = Decoder(TINY, len(tokenizer)), torch.randn(1, 25, 64), torch.tensor([inputs])
with torch.no_grad():
    logits = decoder(tokens, memory)
    print(tuple(tokens.shape), tuple(memory.shape), "->", tuple(logits.shape))
    assert torch.allclose(toy_decoder(decoder, tokens[0], memory[0]), logits[0], atol=1e-4, rtol=1e-4)

# %% [markdown]
# Two properties to test rather than believe. First: one pass with a teacher gives the same as writing token by token,
# because no row sees a later one. Second, before you run it: what happens to the answer when we **shuffle the frames of
# the sound**?

# %%
with torch.no_grad():
    one_by_one = torch.stack([decoder(tokens[:, : n + 1], memory)[0, -1] for n in range(len(inputs))])
    assert torch.allclose(one_by_one, logits[0], atol=1e-4, rtol=1e-4)
    shuffled = decoder(tokens, memory[:, torch.randperm(25)])
    print(f"shuffled frames change the logits by {(shuffled - logits).abs().max():.0e}")
    assert torch.allclose(shuffled, logits, atol=1e-4, rtol=1e-4)

# %% [markdown]
# Nothing! A weighted mean doesn't mind the order. The decoder can only know that "mist" came before "mouse" if each
# *frame* carries its time. Our encoder knows distances only (RoPE), so we shall add a clock to its frames: sines and
# cosines of slower and slower pace.


# %%
def add_clock(hidden: Tensor) -> Tensor:
    """Return hidden (B, S, d) plus the sinusoids of each frame's number."""
    frames, width = hidden.shape[1:]
    cosines, sines = rotary_angles(torch.arange(frames), width)
    return hidden + torch.cat([sines, cosines], -1)


plt.imshow(add_clock(torch.zeros(1, 60, 64))[0].T, aspect="auto", cmap="RdBu")
plt.gca().set(xlabel="frame", ylabel="number of 64")
plt.tight_layout()

# %% [markdown]
# ## 4. The cache
#
# Writing token $n$ needs one new row of logits. Without memory we push all $n$ tokens through again, to get $n-1$ rows
# that we know. What of them does the new row need? Only their **keys and values**. Keep those, and of the sound's too,
# which never change, and a step costs one token. So, predict: the time a token takes is a line that rises with $n$
# without the cache, and flat with it; the sum is a parabola against a line.

# %%
from transformer.model import DecoderCache

with torch.no_grad():
    cache = DecoderCache()
    cached = torch.stack([decoder(tokens[:, n : n + 1], memory, cache=cache)[0, -1] for n in range(len(inputs))])
    assert torch.allclose(cached, logits[0], atol=1e-4, rtol=1e-4)
    in_pieces = DecoderCache()
    pieces = [decoder(part, memory, cache=in_pieces) for part in (tokens[:, :4], tokens[:, 4:])]
    assert torch.allclose(torch.cat(pieces, 1), logits, atol=1e-4, rtol=1e-4)
print("own keys", tuple(cache.own[0].key.shape), "of the sound", tuple(cache.cross[0].key.shape))

# %%
big = Decoder(ModelConfig(d_model=192, n_heads=3, d_ff=768), 500).eval()
sound, written = torch.randn(1, 250, 192), torch.randint(3, 500, (1, 120))


@torch.no_grad()
def clock_tokens(cache: DecoderCache | None) -> np.ndarray:
    times = []
    for n in range(written.shape[1]):
        began = time.process_time()  # the processor's, which other programs disturb less than the clock's
        big(written[:, : n + 1] if cache is None else written[:, n : n + 1], sound, cache=cache)
        times.append(time.process_time() - began)
    return np.array(times) * 1000


clock_tokens(DecoderCache())  # once to warm up
times = {"without cache": clock_tokens(None), "with cache": clock_tokens(DecoderCache())}

# %%
_, (left, right) = plt.subplots(1, 2)
for name, taken in times.items():
    left.plot(range(0, 120, 12), [np.median(taken[n : n + 12]) for n in range(0, 120, 12)], label=name)
    right.plot(np.cumsum(taken) / 1000, label=name)
left.set(xlabel="tokens so far", ylabel="ms for the next", ylim=0)
right.set(xlabel="tokens", ylabel="seconds in all", ylim=0)
right.legend(frameon=False)
plt.tight_layout()
print({name: f"{taken.sum() / 1000:.2f} s" for name, taken in times.items()})
last = {name: np.median(taken[-40:]) for name, taken in times.items()}
assert last["with cache"] < last["without cache"] / 2

# %% [markdown]
# ## 5. A language of twelve words, and names
#
# Toy speech as in notebook 05: letters are chords of formants, and it is quiet between words and round them. A third of
# what is said are one or two of twelve words, so that the decoder has something to learn that CTC can't: which letters
# make a word. The rest are names, letters at random, so that it has to listen all the same. The test holds pairs of
# words and names that no training example has.

# %%
from transformer import augment
from transformer.audio import log_mel_torch, normalise
from transformer.config import SAMPLE_RATE
from transformer.ctc import collapse
from transformer.model import Captioner
from transformer.tokenizer import decode_letters, encode_letters

FORMANTS = {
    "a": (750, 1200, 2500), "e": (500, 1900, 2600), "i": (300, 2300, 3000), "o": (500, 900, 2400),
    "u": (300, 700, 2200), "m": (250, 1100, 1500), "s": (4500, 5500, 6500), "t": (1800, 3000, 4200),
}  # fmt: skip
WORDS = ["tea", "some", "mist", "toast", "use", "at", "sum", "it", "out", "same", "mouse", "east"]


# %%
def chord(letter: str, period: int) -> np.ndarray:
    n = np.arange(int(rng.uniform(0.06, 0.13) * SAMPLE_RATE))
    if letter == " ":
        return np.zeros(len(n))
    hz = np.fft.rfftfreq(len(n), 1 / SAMPLE_RATE)
    gain = sum(np.exp(-(((hz - formant) / 150) ** 2)) for formant in FORMANTS[letter])
    wave = np.fft.irfft(np.fft.rfft(1.0 * (n % period == 0)) * gain, len(n))
    return 0.3 * wave / np.abs(wave).max() * np.minimum(1, np.minimum(n, n[::-1]) / 240)


# %%
def say(text: str) -> np.ndarray:
    period, quiet = rng.integers(80, 170), (rng.uniform(0.05, 0.25, 2) * SAMPLE_RATE).astype(int)
    sound = np.concatenate([np.zeros(quiet[0]), *(chord(letter, period) for letter in text), np.zeros(quiet[1])])
    return (sound + rng.normal(0, 10 ** rng.uniform(-2.5, -1.5), len(sound))).astype(np.float32)


def make_batch(sounds: list[np.ndarray]) -> tuple[Tensor, Tensor]:
    spectra = [log_mel_torch(torch.from_numpy(sound)[None])[0].numpy() for sound in sounds]
    features = [torch.from_numpy(normalise(spectrum)) for spectrum in spectra]
    return pad_sequence(features, batch_first=True), torch.tensor([len(item) for item in features])


# %%
pairs = [f"{a} {b}" for a in WORDS for b in WORDS]
names = [*{"".join(rng.choice(list(FORMANTS), rng.integers(2, 7))): None for _ in range(300)}]
rng.shuffle(pairs)
held_out_texts, heard = pairs[:24] + names[:24], WORDS + pairs[24:] + names[24:264]
texts = [rng.choice(heard, 12).tolist() for _ in range(50)]
batches = [make_batch([say(text) for text in group]) for group in texts]
held_out = make_batch([say(text) for text in held_out_texts])
print(tuple(batches[0][0].shape), texts[0][:4])

# %% [markdown]
# ## 6. Training both at once
#
# Alone, a decoder learns slowly: to be told anything by the sound it must find the right frames, and to find them it
# must know what they say. CTC needs no such luck. So the encoder serves two heads, 0.7 CTC + 0.3 cross-entropy, and the
# decoder looks at frames that already mean letters.
#
# A fresh network should know nothing, which costs $\ln 31 = 3.4$ a token. The output layer is the embedding and
# LayerNorm makes x about $\sqrt d$ long: only embeddings of length 1 start there.

# %%
encoder, decoder = Captioner(TINY), Decoder(TINY, len(tokenizer))
nn.init.normal_(decoder.embedding.weight, std=TINY.d_model**-0.5)


def losses(features: Tensor, frames: Tensor, texts: list[str]) -> tuple[Tensor, Tensor]:
    output = encoder(features, frames)
    letters = [torch.tensor(encode_letters(text)) for text in texts]
    sizes = torch.tensor([len(item) for item in letters])
    ctc = functional.ctc_loss(output.letters.transpose(0, 1), torch.cat(letters), output.lengths, sizes)
    rows = [torch.tensor([START, *tokenizer.encode(text), END]) for text in texts]
    tokens = pad_sequence(rows, batch_first=True, padding_value=tokenizer.PADDING)
    logits = decoder(tokens[:, :-1], add_clock(output.hidden), output.lengths)
    return ctc, functional.cross_entropy(logits.transpose(1, 2), tokens[:, 1:], ignore_index=tokenizer.PADDING)


first = losses(*batches[0], texts[0])[1].item()
print(f"cross-entropy before training {first:.2f}, ln {len(tokenizer)} = {math.log(len(tokenizer)):.2f}")
assert abs(first - math.log(len(tokenizer))) < 1


# %%
@torch.no_grad()
def write(features: Tensor, frames: Tensor, limit: int = 40) -> list[str]:
    """Greedy, with the cache: the best token each time, until <end> or `limit`."""
    output = encoder(features, frames)
    memory, cache, rows = add_clock(output.hidden), DecoderCache(), torch.full((len(features), 1), START)
    while rows.shape[1] <= limit and not (rows == END).any(1).all():
        best = decoder(rows[:, -1:], memory, output.lengths, cache)[:, -1].argmax(-1)
        rows = torch.cat([rows, best[:, None]], 1)
    return [tokenizer.decode(row[: [*row, END].index(END)]) for row in rows.tolist()]


@torch.no_grad()
def label(features: Tensor, frames: Tensor) -> list[str]:
    """Greedy CTC."""
    output = encoder(features, frames)
    paths = zip(output.letters.argmax(-1).tolist(), output.lengths.tolist(), strict=True)
    return [decode_letters(collapse(path[:length])).strip() for path, length in paths]


# %%
def edits(got: str, wanted: str) -> int:
    row = list(range(len(wanted) + 1))
    for i, letter in enumerate(got, 1):
        before, row[0] = row[0], i
        for j, other in enumerate(wanted, 1):
            before, row[j] = row[j], min(row[j] + 1, row[j - 1] + 1, before + (letter != other))
    return row[-1]


def error_rate(got: list[str], wanted: list[str] = held_out_texts) -> float:
    return sum(map(edits, got, wanted)) / sum(map(len, wanted))


# %%
STEPS, PEAK, WARM_UP, log = 300, 0.003, 30, []
weights = [*encoder.parameters(), *decoder.parameters()]
flat = nn.utils.parameters_to_vector(weights).detach()
nn.utils.vector_to_parameters(flat, weights)  # from now on each weight is a view of one long vector
mean, square = torch.zeros_like(flat), torch.zeros_like(flat)
began = time.perf_counter()
for step in range(STEPS + 1):
    ctc, cross_entropy = losses(*batches[step % 50], texts[step % 50])
    gradients = torch.autograd.grad(0.7 * ctc + 0.3 * cross_entropy, weights, materialize_grads=True)
    gradient = torch.cat([part.flatten() for part in gradients])
    gradient /= max(1, gradient.norm())  # the first ones are huge
    mean.lerp_(gradient, 0.1)  # Adam, as in notebook 05
    square.lerp_(gradient**2, 0.001)
    rate = PEAK * min(1, (step + 1) / WARM_UP) * (0.5 + 0.5 * math.cos(math.pi * step / STEPS))
    flat -= rate / (1 - 0.9 ** (step + 1)) * mean / ((square / (1 - 0.999 ** (step + 1))).sqrt() + 1e-8)
    if step % 75 == 0:
        log.append((step, error_rate(label(*held_out)), error_rate(write(*held_out))))
print(f"{time.perf_counter() - began:.1f} s")

# %%
steps, by_ctc, by_decoder = zip(*log, strict=True)
plt.plot(steps, by_ctc, "o-", label="CTC")
plt.plot(steps, by_decoder, "o-", label="decoder")
plt.gca().set(xlabel="step", ylabel="letter error rate", ylim=(0, 1.25))
plt.legend(frameon=False)
plt.tight_layout()
got = write(*held_out)
print(f"CTC {by_ctc[-1]:.1%}, decoder {by_decoder[-1]:.1%}")
print("decoder wrong:", [pair for pair in zip(held_out_texts, got, strict=True) if pair[0] != pair[1]][:6])
assert by_ctc[-1] < 0.05
assert by_ctc[2] < by_decoder[2] / 2
assert by_decoder[-1] < 0.4

# %% [markdown]
# The same encoder, the same sounds, the same steps: CTC is nearly done while the decoder is far behind. It has more
# to learn: where to look, and what of it is written already. Its mistakes are of another kind, too: a part twice, a
# part left out, a word for another. Some read well, which is not a virtue in a caption.
#
# ## 7. Where it looks
#
# The weights of cross-attention are a picture, a row for each token. Nobody told the decoder that sound and text run
# in the same direction. Does it know?


# %%
@torch.no_grad()
def cross_weights(tokens: Tensor, memory: Tensor) -> Tensor:
    """Return the last layer's attention to the sound (L, S), mean of the heads."""
    cross, seen = decoder.blocks[-1].cross, []
    hook = decoder.blocks[-1].cross_norm.register_forward_hook(lambda _module, _args, out: seen.append(out))
    decoder(tokens, memory)
    hook.remove()
    q, k = (
        part[0].unflatten(-1, (cross.n_heads, -1)).transpose(0, 1) for part in (cross.query(seen[0]), cross.key(memory))
    )
    return (q @ k.transpose(1, 2) / math.sqrt(q.shape[-1])).softmax(-1).mean(0)


# %%
def look_at(text: str) -> tuple[Tensor, list[int]]:
    with torch.no_grad():
        hidden = encoder(*make_batch([say(text)])).hidden
    tokens = [START, *tokenizer.encode(text)]
    return cross_weights(torch.tensor([tokens]), add_clock(hidden)), [*tokens[1:], END]


picture, wanted = look_at("same toast")
plt.figure(figsize=(8, 3))
plt.imshow(picture, aspect="auto", cmap="Greys")
plt.gca().set_yticks(range(len(wanted)), [tokenizer.tokens[token] for token in wanted], fontsize=7)
plt.gca().set(xlabel="frame of 40 ms", ylabel="token it is about to write")
plt.tight_layout()

# %%
correlations = []
for text in held_out_texts:
    picture, _ = look_at(text)
    centre = picture @ torch.arange(picture.shape[1], dtype=torch.float32)  # where a row looks, on average
    correlations.append(float(np.corrcoef(centre[:-1], np.arange(len(centre) - 1))[0, 1]))
print(f"correlation of place in the text and place in the sound: median {np.median(correlations):.2f}")
assert np.median(correlations) > 0.7

# %% [markdown]
# A staircase, found by itself, though blurred and with a slip here and there: nothing *forces* it to go forward, and
# that is the next section's trouble. (Why the names? With words alone a few frames tell which word it is, the decoder
# spells it by heart, and there is no staircase to be seen.)
#
# ## 8. The failure we design against
#
# Now play what isn't speech: near silence, noise, music. CTC decides frame by frame, and in every training example the
# quiet frames were "blank". For the decoder an empty text would be `<end>` right after `<start>`, which it has never
# seen. What must it do?

# %%
SECONDS = 1.5
kinds = {
    "speech": [say(text) for text in pairs[:24]],
    "near silence": [rng.normal(0, 1e-4, 24_000).astype(np.float32) for _ in range(24)],
    "noise": [augment.steady_noise(SECONDS, rng) for _ in range(24)],
    "music": [augment.music(SECONDS, rng) for _ in range(24)],
}
rates: dict[str, list[float]] = {"CTC": [], "decoder": []}
for kind, sounds in kinds.items():
    batch, seconds = make_batch(sounds), sum(map(len, sounds)) / SAMPLE_RATE
    found = {"CTC": label(*batch), "decoder": write(*batch)}
    for name, got in found.items():
        rates[name].append(sum(map(len, got)) / seconds)
    print(f"{kind:12}", {name: [*dict.fromkeys(got)][:4] for name, got in found.items()})

# %%
for shift, (name, found) in zip((-0.2, 0.2), rates.items(), strict=True):
    plt.bar(np.arange(4) + shift, found, 0.4, label=name)
plt.gca().set_xticks(range(4), kinds)
plt.gca().set(ylabel="letters a second")
plt.legend(frameon=False)
plt.tight_layout()
with torch.no_grad():
    for kind, sounds in kinds.items():
        memory = add_clock(encoder(*make_batch(sounds)).hidden)
        ends = decoder(torch.full((24, 1), START), memory)[:, -1].softmax(-1)[:, END]
        print(f"P(<end> at once) over {kind}: {ends.mean():.1e}")
assert rates["decoder"][1] > 1
assert rates["decoder"][2] > 1
assert rates["CTC"][2] < 0.2 * rates["decoder"][2]

# %% [markdown]
# Over silence and noise CTC writes next to nothing, and the decoder a short text each time: it must. Nothing in it
# tells an invention from the truth, and trained on a real language it invents sentences; published encoder-decoder
# recognisers do so over long pauses. Training with empty texts helps against the noises one has thought of
# (exercise 3).
#
# Over music CTC writes as well, and we had better say so: our music is made of chords, and a chord is all that a letter
# is here. Yet its letters stand where it "heard" them. So in StreamForge **captions come from CTC**, trained with
# wordless sound; a decoder may at most choose between what CTC found.
#
# A second failure of the kind: sentences longer than any in training.

# %%
for count in (1, 2, 3, 5):
    long = [" ".join(rng.choice(WORDS, count)) for _ in range(24)]
    batch = make_batch([say(text) for text in long])
    wrong = [error_rate(got, long) for got in (label(*batch), write(*batch))]
    print(
        f"words {count}: CTC {wrong[0]:5.1%}, decoder {wrong[1]:5.1%}", *(("heard at most two",) if count > 2 else ())
    )

# %% [markdown]
# ## 9. Beam search
#
# Greedy takes the best next token, and a good token may lead nowhere. A **beam** keeps the `width` best beginnings;
# each step extends all of them by all tokens and keeps the best again. Scores only fall, so when the best finished
# text beats the best unfinished one, we are done. With a width of 1 it must be greedy.


# %%
@torch.no_grad()
def beam(memory: Tensor, width: int, limit: int = 40) -> tuple[float, list[int]]:
    """Return the best text's log-probability and tokens, for memory (1, S, d)."""
    going, done = [(0.0, [START])], []
    while going and len(going[0][1]) <= limit and not (done and max(done)[0] >= going[0][0]):
        logits = decoder(torch.tensor([row for _, row in going]), memory.expand(len(going), -1, -1))
        scores = logits[:, -1].log_softmax(-1) + torch.tensor([[score] for score, _ in going])
        best, at = scores.flatten().topk(width)
        rows = [
            (score, [*going[place // len(tokenizer)][1], place % len(tokenizer)])
            for score, place in zip(best.tolist(), at.tolist(), strict=True)
        ]
        done += [row for row in rows if row[1][-1] == END]
        going = [row for row in rows if row[1][-1] != END]
    return max(done or going)


# %%
with torch.no_grad():
    output = encoder(*held_out)
memories = [add_clock(output.hidden[at : at + 1, : output.lengths[at]]) for at in range(0, 48, 2)]  # every second one
outcome = {}
for width in (1, 2, 4, 8):
    found = [beam(memory, width) for memory in memories]
    written = [tokenizer.decode(tokens) for _, tokens in found]
    outcome[width] = float(np.mean([score for score, _ in found])), error_rate(written, held_out_texts[::2])
    print(f"width {width}: mean log P {outcome[width][0]:.2f}, letter error rate {outcome[width][1]:.1%}")
    if width == 1:
        assert written == write(*held_out)[::2]
assert outcome[8][0] >= outcome[1][0]

# %% [markdown]
# A wider beam finds texts of higher probability; whether they are *better* texts is for the model to answer, not the
# search. And it can't cure section 8: over noise, a wider beam finds a more probable invention.
#
# ## Exercises
#
# 1. **What a cache costs.** How many bytes does a `DecoderCache` hold for $L$ tokens, $S$ frames, $n$ layers and a
#    width $d$? Check it. At which $L$ does the text's share pass the sound's, for 15 s at 25 frames a second?
# 2. **Without a clock.** Train a decoder on frames without `add_clock`. Which kind of mistake appears? (Give it perfect
#    ears: make memory from the letters, no encoder. It trains in seconds.)
# 3. **Empty texts.** Let one example in ten be noise with an empty text. How much is still invented over that noise?
#    And over another one, never heard?
# 4. **Rescoring.** Of several candidates, all heard by CTC, let the decoder choose by
#    $\log P_{CTC}+\lambda\log P_{dec}$. Why can it no longer invent?
#
# Solutions: `solutions/06_encoder_decoder.py`.
#
# ## Further reading
#
# - D. Bahdanau, K. Cho, Y. Bengio, *Neural machine translation by jointly learning to align and translate*, 2015.
# - A. Vaswani et al., *Attention is all you need*, 2017: the decoder of section 3.
# - S. Watanabe et al., *Hybrid CTC/attention architecture for end-to-end speech recognition*, 2017: the joint loss.
# - A. Koenecke et al., *Careless whisper: speech-to-text hallucination harms*, 2024: section 8 at large.
# - F. Stahlberg, B. Byrne, *On NMT search errors and model errors: cat got your tongue?*, 2019: wider is not better.
