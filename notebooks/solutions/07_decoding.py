# %% [markdown]
# # Solutions to 07 · Decoding
#
# Each stands alone.

# %%
import tempfile
from collections import defaultdict
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from transformer.ctc import ctc_loss
from transformer.decoding import BeamSearch, BeamSettings
from transformer.graph import N_PHONES, build_graph
from transformer.language_model import LanguageModel, train_language_model
from transformer.phones import PHONE_IDS

rng = np.random.default_rng(7)

# %% [markdown]
# ## 1 · One number is not enough
#
# Two frames, "a" with 0.4 in both. The path `aa` is "a": a second frame of one and the same sound. With a single
# number we can't know that all of "a"'s probability ends in the label, and give a part of it to "aa", for which two
# frames are too few: between two equal labels a blank has to stand.


# %%
def one_number(probs: np.ndarray) -> dict[tuple[int, ...], float]:
    beam: dict[tuple[int, ...], float] = {(): 1.0}
    for frame in probs:
        after: dict[tuple[int, ...], float] = defaultdict(float)
        for prefix, total in beam.items():
            after[prefix] += total * frame[0]
            for label in range(1, len(frame)):
                after[*prefix, label] += total * frame[label]
        beam = after
    return beam


probs = np.array([[0.6, 0.4], [0.6, 0.4]])
found = one_number(probs)
losses = {text: ctc_loss(torch.from_numpy(probs).log(), text) for text in found if text}
for text, loss in losses.items():
    print(text, f"one number {found[text]:.2f}, truth {float(torch.exp(-loss)):.2f}")
assert np.isclose(found[1, 1], 0.16)
assert losses[1, 1] == torch.inf
assert np.isclose(float(torch.exp(-losses[1,])), found[1,] + found[1, 1]), "what went to aa belongs to a"

# %% [markdown]
# ## 2 · The sum after pruning
#
# What a history's kept n-grams leave is spread over the others in proportion to the shorter history, so the sum is 1
# again, unless the weight for that would have to be above e: the model caps its logarithm at 1. (Then the sum falls
# short; here no weight comes so far.)
#
# In a file each logarithm is off by at most half a step, 8/255. A probability is made of at most three (two back-off
# weights and a unigram), so each is off by a factor of e^(3 · 8/255) at most, and hence the sum too. (Nothing is
# below e^-16 here, where a byte ends.)

# %%
WORDS = ["the", "cat", "dog", "sat", "ran", "on", "mat", "road", "a", "red", "big", "and", "slept", "barked"]
corpus = [" ".join(rng.choice(WORDS, rng.integers(3, 7), p=np.arange(14, 0, -1) / 105)) for _ in range(300)]


def sums(model: LanguageModel) -> np.ndarray:
    """Return, for each state, the sum over all words that may follow."""
    everything = np.arange(len(model.words))
    states = range(len(model.words) + len(model.bigram_keys))
    return np.array([np.exp(model.score(np.full(len(everything), state), everything)[0]).sum() for state in states])


full = train_language_model(corpus, WORDS, n_bigrams=10**6, n_trigrams=10**6)
pruned = train_language_model(corpus, WORDS, n_bigrams=40, n_trigrams=60)
path = Path(tempfile.mkdtemp()) / "language.xz"
pruned.save(path)
for name, model in (("full", full), ("pruned", pruned), ("from a file", LanguageModel.load(path))):
    print(f"{name:12} sums from {sums(model).min():.4f} to {sums(model).max():.4f}")
assert abs(sums(full) - 1).max() < 1e-4
assert sums(pruned).max() < 1 + 1e-4, "never more than 1"
ratio = sums(LanguageModel.load(path)) / sums(pruned)
assert abs(np.log(ratio)).max() <= 3 * 8 / 255 + 1e-5

# %% [markdown]
# ## 3 · Ears that wait
#
# "two ships" or "to write", both at the beginning of a sentence. After "T UW" the two words are two hypotheses, since
# their *state* differs although the node (root), the phone and the sound's score are the same. Both go on; the next
# word is likely after one of them only. With one hypothesis the rarer beginning is thrown away before the ships come
# in.

# %%
LEXICON = {"to": "T UW", "two": "T UW", "ships": "SH IH P S", "write": "R AY T", "read": "R IY D", "olga": "OW L G AH"}


def make_search(model: LanguageModel, words: list[str], **settings: float) -> BeamSearch:
    ids = {word: number for number, word in enumerate(model.words)}
    entries = [(ids[word], [PHONE_IDS[phone] for phone in LEXICON[word].split()]) for word in words]
    weights = {"blank_penalty": 0, "language_weight": 0.8, "unknown_phone": -3.3, **settings}
    return BeamSearch(build_graph(entries, model.unigram), model, BeamSettings(**weights))


def hear(text: str) -> np.ndarray:
    """Return log-probabilities (S, 40) in which each phone has one clear frame."""
    path = [0]
    for word in text.split():
        for phone in LEXICON[word].split():
            path += [PHONE_IDS[phone], 0]
    logits = np.zeros((len(path), N_PHONES))
    logits[range(len(path)), path] = 10
    return (logits - np.log(np.exp(logits).sum(1, keepdims=True))).astype(np.float32)


def decode(search: BeamSearch, text: str) -> str:
    return " ".join(search.language.words[heard.word] for heard in search.decode(hear(text)))


# %%
known = ["to", "two", "ships", "write", "read"]
spoken = ["to write"] * 5 + ["to read"] * 5 + ["two ships"] * 3
language = train_language_model(spoken, known, n_bigrams=100, n_trigrams=100)
for count in (1, 2, 4, 60):
    search = make_search(language, known, hypotheses=count)
    print(count, "hypotheses:", [decode(search, text) for text in ("to write", "two ships")])
assert decode(make_search(language, known, hypotheses=60), "two ships") == "two ships"
assert decode(make_search(language, known, hypotheses=60), "to write") == "to write"
assert decode(make_search(language, known, hypotheses=1), "two ships") != "two ships"

# %% [markdown]
# ## 4 · A name for a finished model
#
# A key is `first · V + second`, so with one word more each has to be made anew; their order stays. The name gets a
# probability and the others keep theirs up to the factor that makes room for it. No n-gram knows it, so it is reached
# by back-off from anywhere, and after it every word is as likely as by itself.


# %%
def with_word(model: LanguageModel, word: str, probability: float) -> LanguageModel:
    size = len(model.words)
    rekey = lambda keys: keys // size * (size + 1) + keys % size  # noqa: E731
    return replace(
        model,
        words=(*model.words, word),
        unigram=np.append(model.unigram + np.log1p(-probability), np.log(probability)).astype(np.float32),
        unigram_backoff=np.append(model.unigram_backoff, 0).astype(np.float32),
        bigram_keys=rekey(model.bigram_keys),
        trigram_keys=rekey(model.trigram_keys),
    )


extended = with_word(language, "olga", 0.01)
search = make_search(extended, [*known, "olga"])
print("before:", decode(make_search(language, known), "olga"), "| after:", decode(search, "olga"))
assert decode(make_search(language, known), "olga") == "<unk>"
for text in ("olga", "to write", "two ships", "to read"):
    assert decode(search, text) == text
sentences = [[language.words.index(word) for word in text.split()] for text in spoken]
change = extended.perplexity(sentences) / language.perplexity(sentences)
print(f"perplexity of the old sentences x {change:.4f}")
assert 1 <= change < 1.02
