# %% [markdown]
# # Solutions to 01 · Tokens
#
# Each stands alone; the texts are made first.

# %%
import random
import time
from collections import Counter, defaultdict
from itertools import pairwise, permutations
from pydoc_data.topics import topics

import numpy as np

from transformer.normalise import normalise_text
from transformer.tokenizer import LETTERS, BytePairEncoding, merge_pair

rng = random.Random(1)
manual = [normalise_text(topics[name]) for name in sorted(topics)][:24]
LINES = [
    "the streamer streams a stream of frames and the encoder encodes the frames of the stream",
    "an encoder that encodes the longest frames longest is the slower encoder",
    "the newest streamer streamed the newer stream while the older streamer was decoding",
    "decoding is faster than encoding and the faster decoder decoded the fastest stream",
]

# %% [markdown]
# ## 1 · Bits a letter
#
# The entropy of the single letters is about 4.1 bits; that of a letter after the one before it is
# H(pair) − H(first), about 3.4. The model of notebook 03 goes on from there.


# %%
def entropy(counts: Counter) -> float:
    shares = np.array(list(counts.values())) / counts.total()
    return float(-(shares * np.log2(shares)).sum())


text = " ".join(manual)
alone = entropy(Counter(text))
after_one = entropy(Counter(pairwise(text))) - entropy(Counter(text[:-1]))
print(f"{np.log2(len(LETTERS)):.2f} at most, {alone:.2f} by frequency, {after_one:.2f} after one letter")
assert after_one < alone - 0.5 < np.log2(len(LETTERS)) - 0.5

# %% [markdown]
# ## 2 · Ties
#
# With our rule the merges depend on the counts alone. With "first come" they depend on which line was read first.


# %%
def first_come(lines: tuple[str, ...], n: int) -> list[tuple[str, str]]:
    counts = Counter(word for line in lines for word in line.split())
    words, merges = {word: ["▁", *word] for word in counts}, []
    for _ in range(n):
        pairs = Counter()
        for word, tokens in words.items():
            for pair in pairwise(tokens):
                pairs[pair] += counts[word]
        merges.append(pairs.most_common(1)[0][0])
        words = {word: merge_pair(tokens, merges[-1]) for word, tokens in words.items()}
    return merges


orders = list(permutations(LINES))
ours = {tuple(BytePairEncoding.train(lines, 60).merges) for lines in orders}
theirs = [first_come(lines, 60) for lines in orders]
changed = max(len(set(theirs[0]) - set(merges)) for merges in theirs)
print(
    f"{len(ours)} list of merges with our rule, {len(set(map(tuple, theirs)))} with the other; up to {changed} differ"
)
assert len(ours) == 1
assert changed > 0

# %% [markdown]
# ## 3 · Dropout for merges
#
# With p = 0 nothing is left out: the usual cut. With p = 1 nothing is joined: letters and the mark of the start.
# Between them the length grows evenly at first, then faster, since a join that is left out early takes the later ones
# with it.


# %%
def split_with_dropout(tokenizer: BytePairEncoding, word: str, p: float) -> list[str]:
    tokens = ["▁", *word]
    while True:
        # Each possible join at each place is left out on its own.
        found = [
            (tokenizer.ranks[pair], at)
            for at, pair in enumerate(pairwise(tokens))
            if pair in tokenizer.ranks and rng.random() >= p
        ]
        if not found:
            return tokens
        at = min(found)[1]
        tokens[at : at + 2] = ["".join(tokens[at : at + 2])]


tokenizer = BytePairEncoding.train(manual, 300)
words = rng.sample(sorted({word for line in manual for word in line.split()}), 300)
lengths = []
for p in (0.0, 0.1, 0.3, 0.6, 1.0):
    cuts = [split_with_dropout(tokenizer, word, p) for word in words]
    assert ["".join(tokens) for tokens in cuts] == [f"▁{word}" for word in words]
    lengths.append(np.mean([len(tokens) for tokens in cuts]))
print("tokens a word:", *(f"{length:.2f}" for length in lengths))
assert lengths[0] == np.mean([len(tokenizer.split(word)) for word in words])
assert lengths[-1] == np.mean([len(word) + 1 for word in words])
assert lengths == sorted(lengths)

# %% [markdown]
# ## 4 · Fast learning
#
# A word's pairs are taken out of the counts before it changes and put in again afterwards. Only the words that hold
# the pair are touched, and after the first merges these are few.


# %%
def train_fast(texts: list[str], n: int) -> list[tuple[str, str]]:
    counts = Counter(word for text in texts for word in text.split())
    words = {word: ["▁", *word] for word in counts}
    pairs, where = Counter(), defaultdict(set)

    def book(word: str, sign: int) -> None:
        for pair in pairwise(words[word]):
            pairs[pair] += sign * counts[word]
            where[pair].add(word)  # a word that no longer holds the pair does no harm

    for word in words:
        book(word, 1)
    merges: list[tuple[str, str]] = []
    while len(merges) < n:
        best = min(pairs, key=lambda pair: (-pairs[pair], pair))
        if pairs[best] <= 0:
            break
        merges.append(best)
        for word in where.pop(best):
            book(word, -1)
            words[word] = merge_pair(words[word], best)
            book(word, 1)
        del pairs[best]
    return merges


took = {}
for name, train in {
    "class": lambda: BytePairEncoding.train(manual, 300).merges,
    "fast": lambda: train_fast(manual, 300),
}.items():
    start = time.process_time()
    took[name] = (train(), time.process_time() - start)
assert took["fast"][0] == took["class"][0]
print(f"{took['class'][1] / took['fast'][1]:.0f} times as fast")
