# %% [markdown]
# # Solutions to 06 · Encoder and decoder
#
# The first stands alone. The others need ears: instead of an encoder, every letter is a random vector held for two or
# three frames and followed by one of silence, with noise on top. That trains in seconds, and CTC's probabilities are
# known exactly, by Bayes.

# %%
import math

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils.rnn import pad_sequence

from transformer.config import ModelConfig
from transformer.ctc import collapse
from transformer.model import Decoder, DecoderCache, rotary_angles
from transformer.tokenizer import BytePairEncoding

torch.set_num_threads(1)
torch.manual_seed(6)
D = 48
TINY = ModelConfig(d_model=D, n_layers=2, n_heads=2, d_ff=2 * D, auxiliary_layer=0)
WORDS = ["tea", "some", "mist", "toast", "use", "at", "sum", "it", "out", "same", "mouse", "east"]
tokenizer = BytePairEncoding([])

# %% [markdown]
# ## 1 · What a cache costs
#
# Each layer keeps a key and a value of d numbers for each token, and for each frame: 2·n·d·(L + S) numbers of 4 bytes.
# 15 s are 375 frames, so the text's share passes the sound's at 375 tokens. Nobody says that much in 15 s; for a
# decoder of speech the cache is mostly *sound*, and it is the same for every beam.

# %%
decoder, memory = Decoder(TINY, len(tokenizer)), torch.randn(1, 375, D)
cache = DecoderCache()
with torch.no_grad():
    for _ in range(7):
        decoder(torch.full((1, 1), 5), memory, cache=cache)
parts = [part for layer in (*cache.own, *cache.cross) for part in (layer.key, layer.value) if part is not None]
held = sum(part.numel() * part.element_size() for part in parts)
print(f"{held:,} bytes")
assert held == 4 * 2 * len(decoder.blocks) * D * (7 + 375)

# %% [markdown]
# ## 2 · Without a clock
#
# Ears, a teacher, and a loop that is short because there is no encoder to train.

# %%
LETTERS = "aeioumst"
VECTORS = torch.randn(1 + len(LETTERS), D)  # 0 is silence, and CTC's blank
NOISE = 0.7


def hear(text: str) -> Tensor:
    """Return frames (S, d): each letter held, then silence; a space is a longer silence."""
    frames = [0]
    for letter in text:
        label = 1 + LETTERS.find(letter)  # 0 for a space
        frames += [label] * int(torch.randint(2, 4, ())) + [0]
    return VECTORS[frames] + NOISE * torch.randn(len(frames), D)


def with_clock(frames: Tensor) -> Tensor:
    cosines, sines = rotary_angles(torch.arange(frames.shape[-2]), D)
    return frames + torch.cat([sines, cosines], -1)


def pick(count: int, most: int = 2, least: int = 1) -> list[str]:
    """Return texts of so many words each."""
    sizes = torch.randint(least, most + 1, (count,)).tolist()
    return [" ".join(WORDS[at] for at in torch.randint(len(WORDS), (size,)).tolist()) for size in sizes]


def white(frames: int = 20) -> Tensor:
    return torch.randn(frames, D)


# %%
def losses(decoder: Decoder, memories: list[Tensor], texts: list[str]) -> Tensor:
    """Return -log P of each text."""
    lengths = torch.tensor([len(memory) for memory in memories])
    rows = [torch.tensor([tokenizer.START, *tokenizer.encode(text), tokenizer.END]) for text in texts]
    tokens = pad_sequence(rows, batch_first=True)
    logits = decoder(tokens[:, :-1], pad_sequence(memories, batch_first=True), lengths)
    return functional.cross_entropy(logits.transpose(1, 2), tokens[:, 1:], ignore_index=0, reduction="none").sum(1)


def train(*, clock: bool = True, empty: float = 0.0, steps: int = 300) -> Decoder:
    torch.manual_seed(1)
    decoder = Decoder(TINY, len(tokenizer))
    nn.init.normal_(decoder.embedding.weight, std=D**-0.5)
    optimiser = torch.optim.AdamW(decoder.parameters(), lr=0.004)
    for step in range(steps):
        texts = ["" if torch.rand(()) < empty else text for text in pick(16)]
        memories = [hear(text) if text else white() for text in texts]
        loss = losses(decoder, [with_clock(item) if clock else item for item in memories], texts).mean() / 8
        optimiser.zero_grad()
        loss.backward()
        optimiser.param_groups[0]["lr"] = 0.004 * (0.5 + 0.5 * math.cos(math.pi * step / steps)) * min(1, step / 30)
        optimiser.step()
    return decoder.eval()


@torch.no_grad()
def write(decoder: Decoder, memory: Tensor, limit: int = 24) -> str:
    cache, row = DecoderCache(), [tokenizer.START]
    while len(row) < limit and row[-1] != tokenizer.END:
        row.append(int(decoder(torch.tensor([row[-1:]]), memory[None], cache=cache)[0, -1].argmax()))
    return tokenizer.decode(row)


# %% [markdown]
# Attention is a weighted mean over a *set* of frames. Without a clock the decoder hears which words there are, but not
# which came first: the letters are right, the order is a guess.

# %%
decoder, timeless = train(), train(clock=False)
test = pick(80, least=2)
sounds = [hear(text) for text in test]
got = [write(decoder, with_clock(sound)) for sound in sounds]
lost = [write(timeless, sound) for sound in sounds]
swapped = [text for text, wanted in zip(lost, test, strict=True) if text != wanted and sorted(text) == sorted(wanted)]
right, right_without = (sum(a == b for a, b in zip(found, test, strict=True)) / 80 for found in (got, lost))
print(f"right: {right:.0%} with a clock, {right_without:.0%} without; {len(swapped)} of 80 swapped, as {swapped[:3]}")
assert right > right_without + 0.2
assert len(swapped) > 5

# %% [markdown]
# ## 3 · Empty texts
#
# White noise with an empty text, once in ten: hardly anything is invented over white noise any more, and little over
# another sound, held vectors that are no letters. That is better than one might fear. But most of a *tune*, made of the
# letters' own vectors, each held for long, is still written down. Empty texts cover the noises one has thought of and
# what is like them; no list is complete.

# %%
taught = train(empty=0.1)


def other() -> Tensor:
    return torch.randn(6, D).repeat_interleave(3, 0) + NOISE * torch.randn(18, D)


def tune() -> Tensor:
    return VECTORS[torch.randint(1, 9, (3,)).repeat_interleave(10)] + NOISE * torch.randn(30, D)


invented = {
    (name, kind): sum(write(model, with_clock(make())) != "" for _ in range(30)) / 30
    for name, model in (("before", decoder), ("taught", taught))
    for kind, make in (("white noise", white), ("another sound", other), ("tune", tune))
}
print({" ".join(key): f"{share:.0%}" for key, share in invented.items()})
assert invented["before", "white noise"] > 0.9
assert invented["taught", "white noise"] < 0.1
assert invented["taught", "another sound"] < 0.3
assert invented["taught", "tune"] > 0.3

# %% [markdown]
# ## 4 · Rescoring
#
# A frame's vector is its label's plus Gaussian noise, so P(label | frame) is a softmax of −distance² / 2σ², and CTC
# needs no training. Make the ears worse, draw texts from CTC's paths, and let the decoder choose among them. It knows
# the words; but it can only choose what CTC gave some probability to: over silence the list holds nothing but the empty
# text.


# %%
def ctc_log_probs(frames: Tensor, sigma: float) -> Tensor:
    distance = torch.cdist(frames, VECTORS) ** 2
    return (-distance / (2 * sigma**2)).log_softmax(-1)


def spell(path: list[int]) -> str:
    return "".join(LETTERS[label - 1] for label in collapse(path))


def candidates(log_probs: Tensor, count: int = 40) -> list[str]:
    """Return CTC's greedy text and what `count` paths drawn from it collapse to."""
    paths = torch.multinomial(log_probs.exp(), count, replacement=True).T.tolist()
    return list(dict.fromkeys(map(spell, [log_probs.argmax(-1).tolist(), *paths])))


def log_p_ctc(log_probs: Tensor, text: str) -> float:
    labels = torch.tensor([[1 + LETTERS.find(letter) for letter in text]], dtype=torch.long)
    sizes = torch.tensor([len(log_probs)]), torch.tensor([len(text)])
    return -float(functional.ctc_loss(log_probs[:, None], labels, *sizes, reduction="sum"))


@torch.no_grad()
def choose(decoder: Decoder, frames: Tensor, log_probs: Tensor, weight: float) -> str:
    texts = candidates(log_probs)
    heard = torch.tensor([log_p_ctc(log_probs, text) for text in texts])
    told = -losses(decoder, [with_clock(frames)] * len(texts), texts)
    return texts[int((heard + weight * told).argmax())]


# %%
SIGMA = 2.6  # the ears' own doubt, far more than the noise deserves: texts that are nearly right join the list
words = pick(60, most=1)
blurred = [hear(word) + 2.0 * torch.randn(1, D) * torch.randn(1, 1) for word in words]
scores = {}
for weight in (0.0, 0.3, 1.0):
    chosen = [choose(decoder, frames, ctc_log_probs(frames, SIGMA), weight) for frames in blurred]
    scores[weight] = sum(a == b for a, b in zip(chosen, words, strict=True)) / 60
print({f"weight {weight}": f"{score:.0%} right" for weight, score in scores.items()})
quiet = VECTORS[[0] * 20] + NOISE * torch.randn(20, D)
chosen = choose(decoder, quiet, ctc_log_probs(quiet, NOISE), 1.0)
invention = write(decoder, with_clock(quiet))
print(f"over silence: {chosen!r}, where the decoder alone writes {invention!r}")
assert scores[1.0] > scores[0.0]
assert chosen == ""
assert invention != ""
