"""A word trigram by hand: counts, interpolated Kneser-Ney, pruning, and a table small enough to ship.

What a word's probability is made of (Kneser and Ney 1995; Chen and Goodman 1999, "modified"): a discounted count of the
three words, plus what was taken off, spread by how many *different* words the shorter history has been seen before. The
result is stored as a back-off model (Katz 1987): an n-gram that was pruned costs its history's weight and the shorter
n-gram. Probabilities are natural logarithms.
"""

import lzma
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

Ints = NDArray[np.int64]
Floats = NDArray[np.float32]
Numbers = TypeVar("Numbers", Ints, Floats)

END, UNKNOWN = 0, 1  # the words every vocabulary begins with: the edge of a sentence, and any word it lacks
SPECIAL = ("<s>", "<unk>")
STEP = 16 / 255  # of a quantised logarithm: a byte reaches down to e^-16
MOST = 16 * STEP  # a back-off weight can be more than 1 (up to e): its history has lost more than its share


def _quantise(logs: Floats, most: float = 0) -> NDArray[np.uint8]:
    return np.clip(np.rint((most - logs) / STEP), 0, 255).astype(np.uint8)


@dataclass(frozen=True)
class LanguageModel:
    """A back-off trigram over word ids 0 … V - 1.

    A state is what the next word's probability depends on: a word id, or V + i for the i-th bigram, if the words before
    are that bigram. Keys are sorted, so that many look-ups at once are a binary search.
    """

    words: tuple[str, ...]
    unigram: Floats  # (V,) log-probabilities
    unigram_backoff: Floats  # (V,)
    bigram_keys: Ints  # (N2,) first * V + second, ascending
    bigram: Floats
    bigram_backoff: Floats
    trigram_keys: Ints  # (N3,) bigram's index * V + third, ascending
    trigram: Floats

    def score(self, states: Ints, words: Ints) -> tuple[Floats, Ints]:
        """Return the log-probability (natural) of each word after its state, and the state after it: (n,) each."""
        size = len(self.words)
        pairs = states >= size
        at = np.where(pairs, states - size, 0)
        last = np.where(pairs, _take(self.bigram_keys, at) % size, states)
        row, found = _find(self.bigram_keys, last * size + words)
        score = np.where(found, _take(self.bigram, row), self.unigram_backoff[last] + self.unigram[words])
        after = np.where(found, row + size, words)
        long, seen = _find(self.trigram_keys, at * size + words)
        seen &= pairs
        score = np.where(seen, _take(self.trigram, long), score + np.where(pairs, _take(self.bigram_backoff, at), 0))
        return score.astype(np.float32), after

    def score_text(self, ids: Sequence[int]) -> float:
        """Return the log-probability of a sentence of word ids, its end included."""
        state, total = np.array([END]), 0.0
        for word in [*ids, END]:
            score, state = self.score(state, np.array([word]))
            total += float(score[0])
        return total

    def perplexity(self, sentences: Iterable[Sequence[int]]) -> float:
        """Return how many words the model hesitates between, on average: e^(-log-probability / words)."""
        totals = [(self.score_text(ids), len(ids) + 1) for ids in sentences]
        return float(np.exp(-sum(total for total, _ in totals) / sum(count for _, count in totals)))

    def save(self, path: Path) -> None:
        """Write the model, logarithms as bytes, compressed."""
        size = len(self.words)
        parts = [
            "\n".join(self.words).encode(),
            np.concatenate([_quantise(self.unigram), _quantise(self.unigram_backoff, MOST)]).tobytes(),
            *_pack(self.bigram_keys, size, size),
            np.concatenate([_quantise(self.bigram), _quantise(self.bigram_backoff, MOST)]).tobytes(),
            *_pack(self.trigram_keys, size, len(self.bigram)),
            _quantise(self.trigram).tobytes(),
        ]
        write_parts(path, parts)

    @classmethod
    def load(cls, path: Path) -> "LanguageModel":
        """Read what `save` wrote. Raises ValueError for a file that is something else."""
        parts = read_parts(path)
        try:
            words = tuple(parts[0].decode().split("\n"))
            unigram = _logs(parts[1]).reshape(2, -1)
            bigram_keys, trigram_keys = _unpack(parts[2], parts[3], len(words)), _unpack(parts[5], parts[6], len(words))
            bigram = _logs(parts[4]).reshape(2, -1)
            one, one_backoff, two, two_backoff = *unigram, *bigram
            if (len(one), len(two), len(parts[7])) != (len(words), len(bigram_keys), len(trigram_keys)):
                raise ValueError("its parts have other lengths")
            backoffs = one_backoff + np.float32(MOST), two_backoff + np.float32(MOST)
            return cls(words, one, backoffs[0], bigram_keys, two, backoffs[1], trigram_keys, _logs(parts[7]))
        except (IndexError, UnicodeDecodeError, ValueError) as problem:
            raise ValueError(f"{path.name} holds no language model: {problem}") from None


def _find(keys: Ints, wanted: Ints) -> tuple[Ints, NDArray[np.bool_]]:
    """Return where each wanted key stands, and whether it is there."""
    if not len(keys):
        return np.zeros(len(wanted), np.int64), np.zeros(len(wanted), bool)
    at = np.minimum(np.searchsorted(keys, wanted), len(keys) - 1)
    return at, keys[at] == wanted


def _take(values: Numbers, rows: Ints) -> Numbers:
    """Return values[rows], zeros where a model has none of that order."""
    return values[rows] if len(values) else np.zeros(len(rows), values.dtype)


def _logs(data: bytes) -> Floats:
    return np.frombuffer(data, np.uint8).astype(np.float32) * np.float32(-STEP)


def _pack(keys: Ints, size: int, histories: int) -> tuple[bytes, bytes]:
    """Return how many keys each history has, and their words, low bytes apart from high ones: that compresses best."""
    counts = np.bincount(keys // size, minlength=histories).astype("<u2")
    words = (keys % size).astype("<u2")
    return counts.tobytes(), words.view(np.uint8).reshape(-1, 2).T.tobytes()


def _unpack(counts: bytes, words: bytes, size: int) -> Ints:
    histories = np.frombuffer(counts, "<u2").astype(np.int64)
    low, high = np.frombuffer(words, np.uint8).reshape(2, -1).astype(np.int64)
    return np.repeat(np.arange(len(histories)), histories) * size + low + 256 * high


def write_parts(path: Path, parts: Sequence[bytes]) -> None:
    """Write byte strings as one compressed file, each after its length."""
    data = b"".join(len(part).to_bytes(4, "little") + part for part in parts)
    path.write_bytes(lzma.compress(data, preset=9 | lzma.PRESET_EXTREME))


def read_parts(path: Path) -> list[bytes]:
    """Return what `write_parts` wrote. Raises ValueError for a file that is something else."""
    try:
        data = lzma.decompress(path.read_bytes())
    except lzma.LZMAError as problem:
        raise ValueError(f"{path.name} is damaged or no part of a captioner: {problem}") from None
    parts, at = [], 0
    while at < len(data):
        end = at + 4 + int.from_bytes(data[at : at + 4], "little")
        parts.append(data[at + 4 : end])
        at = end
    return parts


# --- training ---


@dataclass(frozen=True)
class Counts:
    """The n-grams of one order: keys ascending, and how often each was seen (or after how many different words)."""

    keys: Ints
    counts: Ints


def encode_corpus(sentences: Iterable[str], words: Sequence[str]) -> Ints:
    """Return sentences as one row of word ids, END before, between and after them."""
    ids = {word: number for number, word in enumerate(words)}
    row = [END]
    for sentence in sentences:
        row += [ids.get(word, UNKNOWN) for word in sentence.split()]
        row.append(END)
    return np.array(row, np.int64)


def _unique(keys: Ints) -> Counts:
    return Counts(*np.unique(keys, return_counts=True))


def _discounts(counts: Ints) -> Floats:
    """Return what to take off a count of 0, 1, 2, and 3 or more (Chen and Goodman 1999, equation 26)."""
    n1, n2, n3, n4 = (max(1, int((counts == n).sum())) for n in (1, 2, 3, 4))
    y = n1 / (n1 + 2 * n2)
    found = np.array([0, 1 - 2 * y * n2 / n1, 2 - 3 * y * n3 / n2, 3 - 4 * y * n4 / n3], np.float32)
    return np.clip(found, 0, [0, 1, 2, 3]).astype(np.float32)


def _interpolate(order: Counts, histories: Ints, sizes: int, lower: Floats) -> Floats:
    """Return the probabilities of an order's n-grams: discounted counts, and the rest spread as `lower` says."""
    discount = _discounts(order.counts)[np.minimum(order.counts, 3)]
    total = np.bincount(histories, order.counts, sizes)
    free = np.bincount(histories, discount, sizes)
    return ((order.counts - discount + free[histories] * lower) / total[histories]).astype(np.float32)


def train_language_model(
    sentences: Iterable[str], words: Sequence[str], *, n_bigrams: int, n_trigrams: int
) -> LanguageModel:
    """Return a trigram over SPECIAL + `words`, pruned to the n-grams whose loss would cost most.

    Raises ValueError for more than 65,536 words: an id takes two bytes.
    """
    vocabulary = (*SPECIAL, *words)
    size = len(vocabulary)
    if size > 2**16:
        raise ValueError(f"{size} words do not fit into two bytes")
    row = encode_corpus(sentences, vocabulary)
    first, second, third = row[:-2], row[1:-1], row[2:]
    inside = second != END  # no n-gram reaches over the edge of a sentence
    three = _unique((first * size + second)[inside] * size + third[inside])
    # A shorter n-gram counts once for each different word before it; at the edge there is nothing before, so as often
    # as it was seen.
    before = _unique(three.keys % size**2)
    edge = _unique(row[:-1][row[:-1] == END] * size + row[1:][row[:-1] == END])
    two = Counts(np.concatenate([edge.keys, before.keys]), np.concatenate([edge.counts, before.counts]))
    one = np.maximum(np.bincount(two.keys % size, minlength=size), 1)
    unigram = (one / one.sum()).astype(np.float32)
    bigram = _interpolate(two, two.keys // size, size, unigram[two.keys % size])
    shorter = np.searchsorted(two.keys, three.keys % size**2)
    histories, history = np.unique(three.keys // size, return_inverse=True)
    trigram = _interpolate(three, history, len(histories), bigram[shorter])
    return _prune(
        vocabulary, (unigram, two, bigram), (three, trigram, shorter, histories, history), (n_bigrams, n_trigrams)
    )


def _worth(counts: Ints, probability: Floats, without: Floats) -> Floats:
    """Return the cost of an n-gram's loss: its count x how much less likely it becomes (Seymore and Rosenfeld 1996)."""
    return (counts * np.abs(np.log(probability) - np.log(without))).astype(np.float32)


def _best(worth: Floats, wanted: int) -> NDArray[np.bool_]:
    if wanted >= len(worth):
        return np.ones(len(worth), bool)
    return worth > np.partition(worth, len(worth) - wanted - 1)[len(worth) - wanted - 1]


def _prune(
    words: tuple[str, ...],
    lower: tuple[Floats, Counts, Floats],
    upper: tuple[Counts, Floats, Ints, Ints, Ints],
    wanted: tuple[int, int],
) -> LanguageModel:
    """Return the model of the n-grams worth keeping; the bigrams that a kept trigram stands on are kept too."""
    size = len(words)
    unigram, two, bigram = lower
    three, trigram, shorter, histories, history = upper
    keep3 = _best(_worth(three.counts, trigram, bigram[shorter]), wanted[1])
    worth2 = _worth(two.counts, bigram, unigram[two.keys % size])
    stands = np.searchsorted(two.keys, np.unique(histories[history[keep3]]))
    worth2[stands] = np.inf
    keep2 = _best(worth2, wanted[0])
    keep2[stands] = True
    keys2, kept2 = two.keys[keep2], bigram[keep2]
    at2 = np.searchsorted(keys2, histories[history[keep3]])
    keys3, kept3 = at2 * size + three.keys[keep3] % size, trigram[keep3]
    backoff1 = _backoff(keys2 // size, size, kept2, unigram[keys2 % size])
    # What a kept trigram would cost without itself: its bigram, or that one's back-off if it was pruned.
    row, found = _find(keys2, three.keys[keep3] % size**2)
    word = three.keys[keep3] % size
    low = np.where(found, kept2[row], np.exp(backoff1[three.keys[keep3] // size % size]) * unigram[word])
    backoff2 = _backoff(at2, len(keys2), kept3, low.astype(np.float32))
    logs = (np.log(part).astype(np.float32) for part in (unigram, kept2, kept3))
    log1, log2, log3 = logs
    order = np.argsort(keys3)
    return LanguageModel(words, log1, backoff1, keys2, log2, backoff2, keys3[order], log3[order])


def _backoff(histories: Ints, size: int, kept: Floats, lower: Floats) -> Floats:
    """Return each history's log weight: what its kept n-grams leave, by what the shorter ones would leave there."""
    left = 1 - np.bincount(histories, kept, size)
    free = 1 - np.bincount(histories, lower, size)
    return np.log(np.clip(left, 1e-5, 1) / np.clip(free, 1e-5, None)).clip(None, MOST).astype(np.float32)
