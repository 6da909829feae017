import lzma
from collections import Counter, defaultdict
from itertools import pairwise
from pathlib import Path
from random import Random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from transformer.graph import save_entries
from transformer.language_model import (
    END,
    SPECIAL,
    STEP,
    UNKNOWN,
    LanguageModel,
    encode_corpus,
    read_parts,
    train_language_model,
    write_parts,
)

EVERYTHING = {"n_bigrams": 10**9, "n_trigrams": 10**9}
VOCABULARY = ["a", "b", "c", "d", "e", "f"]
SENTENCE = st.lists(st.sampled_from([*VOCABULARY, "zebra"]), max_size=7).map(" ".join)
CORPUS = st.lists(SENTENCE, max_size=20)
Gram = tuple[int, ...]


class LiteralKneserNey:
    """Interpolated modified Kneser-Ney as the paper writes it (Chen and Goodman 1999, section 4.1), count by count."""

    def __init__(self, sentences: list[list[int]], size: int) -> None:
        self.size = size
        rows = [[END, *sentence, END] for sentence in sentences]
        self.counts: dict[int, Counter[Gram]] = {
            3: Counter(tuple(row[at : at + 3]) for row in rows for at in range(len(row) - 2)),
            2: Counter(tuple(row[:2]) for row in rows),  # nothing stands before the edge: as often as seen
            1: Counter(),
        }
        for order in (3, 2):
            for gram in self.counts[order]:
                self.counts[order - 1][gram[1:]] += 1  # one for each different word before it
        self.after: dict[Gram, list[int]] = defaultdict(list)
        for order in (3, 2):
            for gram, count in self.counts[order].items():
                self.after[gram[:-1]].append(count)

    def discount(self, order: int, count: int) -> float:
        if not count:
            return 0.0
        of = Counter(self.counts[order].values())
        n = [max(1, of[number]) for number in range(5)]
        n[0] = 0
        step = min(count, 3)
        found = step - (step + 1) * n[1] / (n[1] + 2 * n[2]) * n[step + 1] / n[step]
        return min(max(found, 0.0), step)

    def probability(self, gram: Gram) -> float:
        order, history = len(gram), gram[:-1]
        if order == 1:
            counts = [max(1, self.counts[1][word,]) for word in range(self.size)]
            return counts[gram[0]] / sum(counts)
        total = sum(self.after[history])
        if not total:
            return self.probability(gram[1:])
        count = self.counts[order][gram]
        free = sum(self.discount(order, seen) for seen in self.after[history])
        return (count - self.discount(order, count) + free * self.probability(gram[1:])) / total


def make_corpus(sentences: int, words: int, seed: int = 0) -> list[str]:
    """Return sentences in which what follows a word depends on it, with Zipf's long tail."""
    random = Random(seed)
    names = [f"w{number}" for number in range(words)]

    def following(word: int) -> int:
        return (word * 7 + int(random.paretovariate(0.7))) % words

    rows = []
    for _ in range(sentences):
        row = [following(random.randrange(8))]
        while random.random() > 0.12:
            row.append(following(row[-1]))
        rows.append(" ".join(names[word] for word in row))
    return rows


def states_of(model: LanguageModel) -> range:
    return range(len(model.words) + len(model.bigram))


def sums(model: LanguageModel) -> np.ndarray:
    """Return what the probabilities of all words after each state add up to."""
    every, states = np.arange(len(model.words)), np.array(states_of(model))
    scores = [model.score(np.full(len(every), state), every)[0] for state in states]
    return np.exp(np.array(scores, np.float64)).sum(1)


def state_after(model: LanguageModel, words: list[int]) -> int:
    state = np.array([END])
    for word in words:
        _, state = model.score(state, np.array([word]))
    return int(state[0])


def probability(model: LanguageModel, history: list[int], word: int) -> float:
    score, _ = model.score(np.array([state_after(model, history)]), np.array([word]))
    return float(np.exp(score[0]))


@pytest.fixture(scope="module")
def corpus() -> list[str]:
    return make_corpus(1500, 60)


@pytest.fixture(scope="module")
def whole(corpus: list[str]) -> LanguageModel:
    return train_language_model(corpus, [f"w{number}" for number in range(60)], **EVERYTHING)


# --- what the probabilities are ---


@settings(deadline=None, max_examples=40)
@given(CORPUS.filter(any))
def test_every_ngram_is_what_the_paper_says(sentences: list[str]) -> None:
    model = train_language_model(sentences, VOCABULARY, **EVERYTHING)
    ids = [[2 + VOCABULARY.index(word) if word in VOCABULARY else UNKNOWN for word in row.split()] for row in sentences]
    literal = LiteralKneserNey(ids, len(model.words))
    firsts = {(END,), *((first, second) for row in ids for first, second in pairwise([END, *row]))}
    for history in sorted(firsts):
        own = [probability(model, list(history[history[0] == END :]), word) for word in range(len(model.words))]
        meant = [literal.probability((*history, word)) for word in range(len(model.words))]
        assert own == pytest.approx(meant, rel=2e-3, abs=1e-5), history


def test_a_model_by_hand() -> None:
    model = train_language_model(["a b", "a c"], ["a", "b", "c"], **EVERYTHING)
    # Different words before each: two before the end (b, c), one before a, b and c; <unk> has none and is given one.
    assert np.exp(model.unigram) == pytest.approx([2 / 6, 1 / 6, 1 / 6, 1 / 6, 1 / 6])
    assert [divmod(int(key), 5) for key in model.bigram_keys] == [(0, 2), (2, 3), (2, 4), (3, 0), (4, 0)]
    # (<s> a) counts 2, four others 1: y = 4 / (4 + 2), D1 = 1 - 2y / 4 = 2/3, D2 = 2 - 3y = 0.
    assert np.exp(model.bigram[:2]) == pytest.approx([1, (1 - 2 / 3 + 4 / 3 / 6) / 2])
    assert np.exp(model.unigram_backoff[2]) == pytest.approx(2 / 3)


def test_probabilities_after_any_state_add_up_to_one(whole: LanguageModel) -> None:
    assert len(whole.trigram) > 1000
    assert np.abs(sums(whole) - 1).max() < 1e-3


@pytest.mark.parametrize("share", [0.5, 0.2, 0.05, 0.01])
def test_they_still_do_after_pruning(whole: LanguageModel, corpus: list[str], share: float) -> None:
    model = train_language_model(
        corpus, whole.words[2:], n_bigrams=int(share * len(whole.bigram)), n_trigrams=int(share * len(whole.trigram))
    )
    assert np.abs(sums(model) - 1).max() < 1e-3


@settings(deadline=None, max_examples=40)
@given(CORPUS.filter(any), st.integers(1, 40), st.integers(1, 40))
def test_pruning_invents_no_probability(sentences: list[str], n_bigrams: int, n_trigrams: int) -> None:
    model = train_language_model(sentences, VOCABULARY, n_bigrams=n_bigrams, n_trigrams=n_trigrams)
    backoff = np.concatenate([model.unigram_backoff, model.bigram_backoff])
    size = len(model.words)
    of_bigram = np.concatenate([np.arange(size), model.bigram_keys % size])
    capped = (backoff == 0) | (model.unigram_backoff[of_bigram] == 0)  # a weight above 1 would not fit into its byte
    assert sums(model).max() < 1 + 1e-3
    assert np.abs(sums(model) - 1)[~capped].max(initial=0) < 1e-3


@pytest.mark.parametrize("sizes", [(0, 0), (10**6, 0)], ids=str)
@pytest.mark.parametrize("sentences", [[], [""], ["a"], ["a b c", "b d"]], ids=str)
def test_a_model_without_longer_ngrams_scores_too(sentences: list[str], sizes: tuple[int, int]) -> None:
    model = train_language_model(sentences, VOCABULARY, n_bigrams=sizes[0], n_trigrams=sizes[1])
    assert len(model.trigram) == 0
    assert np.abs(sums(model) - 1).max() < 1e-3


def test_no_sentence_at_all_makes_every_word_as_likely() -> None:
    model = train_language_model([], VOCABULARY, **EVERYTHING)
    assert np.exp(model.unigram) == pytest.approx([1 / 8] * 8)


def test_empty_sentences_end_at_once() -> None:
    model = train_language_model(["", "", "a", ""], ["a"], **EVERYTHING)
    assert probability(model, [], END) > probability(model, [], 2) > probability(model, [], UNKNOWN)


@settings(deadline=None, max_examples=50)
@given(CORPUS)
def test_no_ngram_reaches_over_the_edge_of_a_sentence(sentences: list[str]) -> None:
    model = train_language_model(sentences, VOCABULARY, **EVERYTHING)
    size = len(model.words)
    ids = {word: number for number, word in enumerate(model.words)}
    rows = [[END, *(ids.get(word, UNKNOWN) for word in row.split()), END] for row in sentences]
    pairs = {pair for row in rows for pair in pairwise(row)}
    triples = {(*pair, third) for row in rows for pair, third in zip(pairwise(row), row[2:], strict=False)}
    own = [divmod(key, size) for key in model.bigram_keys.tolist()]
    assert set(own) == pairs
    assert {(*own[key // size], key % size) for key in model.trigram_keys.tolist()} == triples


def test_sentences_are_scored_apart(whole: LanguageModel) -> None:
    assert whole.score_text([5, 9]) == pytest.approx(
        sum(np.log(probability(whole, [5, 9][:at], word)) for at, word in enumerate([5, 9, END])), rel=1e-5
    )


def test_many_scores_at_once_are_those_one_by_one(whole: LanguageModel) -> None:
    generator = np.random.default_rng(0)
    states = generator.integers(0, len(states_of(whole)), 500)
    words = generator.integers(0, len(whole.words), 500)
    scores, after = whole.score(states, words)
    single = [whole.score(states[at : at + 1], words[at : at + 1]) for at in range(500)]
    assert scores == pytest.approx([score[0] for score, _ in single])
    assert after.tolist() == [state[0] for _, state in single]
    assert set(after.tolist()) <= set(states_of(whole))


# --- words that the vocabulary lacks ---


def test_unknown_words_are_one_word() -> None:
    model = train_language_model(["a zebra b", "a gnu b", "a b"], ["a", "b"], **EVERYTHING)
    assert model.words == (*SPECIAL, "a", "b")
    assert encode_corpus(["a zebra", "", "gnu"], model.words).tolist() == [0, 2, 1, 0, 0, 1, 0]
    assert probability(model, [2], UNKNOWN) > probability(model, [3], UNKNOWN)


def test_a_word_never_seen_is_possible() -> None:
    model = train_language_model(["a b"] * 30, ["a", "b", "c"], **EVERYTHING)
    assert 0 < probability(model, [2], 4) < 0.1
    assert np.isfinite(model.score_text([4, 4, 4]))


# --- pruning ---


def test_pruning_keeps_what_is_asked_for(whole: LanguageModel, corpus: list[str]) -> None:
    words = whole.words[2:]
    for n_bigrams, n_trigrams in [(600, 600), (500, 300), (800, 0), (0, 0)]:
        model = train_language_model(corpus, words, n_bigrams=n_bigrams, n_trigrams=n_trigrams)
        assert 0.9 * n_bigrams <= len(model.bigram) <= n_bigrams
        assert 0.9 * n_trigrams <= len(model.trigram) <= n_trigrams


def test_a_kept_trigram_keeps_the_bigram_it_stands_on(whole: LanguageModel, corpus: list[str]) -> None:
    model = train_language_model(corpus, whole.words[2:], n_bigrams=0, n_trigrams=300)
    assert len(model.trigram) >= 270
    assert set(model.trigram_keys // len(model.words)) == set(range(len(model.bigram)))


def test_less_is_more_perplexed(whole: LanguageModel, corpus: list[str]) -> None:
    ids = {word: number for number, word in enumerate(whole.words)}
    held_out = [[ids[word] for word in row.split()] for row in make_corpus(100, 60, seed=1)]
    found = [whole.perplexity(held_out)]
    for share in (0.5, 0.25, 0.1, 0.03, 0.01):
        sizes = int(share * len(whole.bigram)), int(share * len(whole.trigram))
        model = train_language_model(corpus, whole.words[2:], n_bigrams=sizes[0], n_trigrams=sizes[1])
        found.append(model.perplexity(held_out))
    assert found == sorted(found)
    assert 1 < found[0] < found[-1] < len(whole.words)


def test_keys_are_sorted(whole: LanguageModel, corpus: list[str]) -> None:
    pruned = train_language_model(corpus, whole.words[2:], n_bigrams=400, n_trigrams=400)
    for model in (whole, pruned):
        assert (np.diff(model.bigram_keys) > 0).all()
        assert (np.diff(model.trigram_keys) > 0).all()


# --- files ---


def test_what_is_saved_is_loaded(whole: LanguageModel, tmp_path: Path) -> None:
    whole.save(tmp_path / "language.xz")
    loaded = LanguageModel.load(tmp_path / "language.xz")
    assert loaded.words == whole.words
    for name in ("bigram_keys", "trigram_keys"):
        assert np.array_equal(getattr(loaded, name), getattr(whole, name))
    for name in ("unigram", "unigram_backoff", "bigram", "bigram_backoff", "trigram"):
        assert np.abs(getattr(loaded, name) - getattr(whole, name)).max() <= STEP / 2 + 1e-6, name


def test_a_model_without_ngrams_is_loaded(tmp_path: Path) -> None:
    model = train_language_model(["a b"], ["a", "b"], n_bigrams=0, n_trigrams=0)
    model.save(tmp_path / "language.xz")
    loaded = LanguageModel.load(tmp_path / "language.xz")
    assert len(loaded.bigram) == len(loaded.trigram) == 0
    assert loaded.unigram == pytest.approx(model.unigram, abs=STEP)


def test_ids_take_two_bytes(tmp_path: Path) -> None:
    words = [f"x{number}" for number in range(2**16 - 2)]
    model = train_language_model([f"{words[-1]} {words[-2]} {words[0]}"], words, **EVERYTHING)
    model.save(tmp_path / "language.xz")
    assert np.array_equal(LanguageModel.load(tmp_path / "language.xz").trigram_keys, model.trigram_keys)
    with pytest.raises(ValueError, match="65537 words"):
        train_language_model([], [*words, "more"], **EVERYTHING)


def test_other_files_are_refused(whole: LanguageModel, tmp_path: Path) -> None:
    path = tmp_path / "language.xz"
    whole.save(path)
    data, parts = path.read_bytes(), read_parts(path)
    damaged = {
        "empty": b"",
        "truncated": data[:-100],
        "damaged": data[:200] + bytes(40) + data[240:],
        "text": b"see the cat\n",
        "other text, compressed": lzma.compress(b"see the cat\n" * 50),
        "nothing, compressed": lzma.compress(b""),
    }
    for name, content in damaged.items():
        path.write_bytes(content)
        with pytest.raises(ValueError, match=r"language\.xz"):
            assert not LanguageModel.load(path), name
    write_parts(path, parts[:-1])
    with pytest.raises(ValueError, match="holds no language model"):
        LanguageModel.load(path)


def test_a_lexicon_is_no_language_model(tmp_path: Path) -> None:
    for entries in ([], [(2, [1, 2])], [(number, [number % 39 + 1] * 3) for number in range(2, 200)]):
        save_entries(tmp_path / "lexicon.xz", entries)
        with pytest.raises(ValueError, match=r"lexicon\.xz holds no language model"):
            LanguageModel.load(tmp_path / "lexicon.xz")


@pytest.mark.parametrize("part", range(1, 8))
def test_parts_of_other_lengths_are_refused(whole: LanguageModel, tmp_path: Path, part: int) -> None:
    whole.save(tmp_path / "language.xz")
    parts = read_parts(tmp_path / "language.xz")
    parts[part] = parts[part][:-8]
    write_parts(tmp_path / "language.xz", parts)
    with pytest.raises(ValueError, match="holds no language model"):
        LanguageModel.load(tmp_path / "language.xz")
