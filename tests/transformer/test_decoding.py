from collections import defaultdict
from dataclasses import replace
from functools import cache
from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.transformer.tiny import (
    BEAM,
    LEXICON,
    WORDS,
    Entries,
    Floats,
    letters_of,
    make_graph,
    make_language,
    path_of,
    phones_of,
    say,
)
from transformer.align import collapse
from transformer.decoding import BeamSearch, BeamSettings, Heard, greedy_phones, greedy_text
from transformer.graph import LOOP_LENGTH, N_PHONES, build_graph
from transformer.language_model import END, UNKNOWN, LanguageModel, train_language_model
from transformer.tokenizer import BLANK

EVERYTHING = {"n_bigrams": 10**6, "n_trigrams": 10**6}
WIDE = replace(BEAM, hypotheses=10**6, threshold=1e6, phone_floor=-1e6, sure_blank=0)  # nothing is given up
CLOSED = replace(BEAM, unknown_word=-1e9)


@pytest.fixture(scope="module")
def search() -> BeamSearch:
    return BeamSearch(make_graph(), make_language(), BEAM)


def words_of(heard: list[Heard]) -> str:
    return " ".join(WORDS[word.word] for word in heard)


def noisy(path: list[int], seed: int, level: float = 1.0) -> Floats:
    """Return log-probabilities that say a path, less plainly here than there."""
    logits = say(path, sure=0.9) + np.random.default_rng(seed).normal(0, level, (len(path), N_PHONES))
    return (logits - np.log(np.exp(logits).sum(1, keepdims=True))).astype(np.float32)


# --- plain speech ---


@pytest.mark.parametrize("frames", [1, 2, 5])
@pytest.mark.parametrize(
    "text", ["see the two cats", "no", "ten nine two", "know the cat", "two cats see me too", "a cat"]
)
def test_what_is_said_plainly_is_heard(search: BeamSearch, text: str, frames: int) -> None:
    assert words_of(search.decode(say(path_of(text, frames=frames)))) == text


@settings(deadline=None, max_examples=25)
@given(
    st.lists(st.sampled_from(["see", "the", "cat", "cats", "me", "nine", "ten", "either"]), max_size=8),
    st.integers(0, 99),
)
def test_any_words_said_plainly_are_heard(words: list[str], seed: int) -> None:
    search, text = BeamSearch(make_graph(), make_language(), BEAM), " ".join(words)
    assert words_of(search.decode(noisy(path_of(text), seed))) == text


def test_every_way_to_say_a_word_is_heard(search: BeamSearch) -> None:
    for variant in LEXICON["either"]:
        path = [BLANK, *phones_of(variant), BLANK, *phones_of("DH AH K AE T")]
        assert words_of(search.decode(say(path))) == "either the cat"


def test_frames_are_those_of_the_first_and_the_last_phone(search: BeamSearch) -> None:
    s, iy, m = phones_of("S IY M")
    path = [0, 0, s, s, 0, iy, iy, iy, 0, 0, 0, m, 0, iy, 0]
    assert search.decode(say(path)) == [Heard(WORDS.index("see"), 2, 5), Heard(WORDS.index("me"), 11, 13)]


def test_blanks_say_nothing(search: BeamSearch) -> None:
    assert search.decode(say([BLANK] * 50)) == []
    assert search.decode(say([BLANK] * 50, sure=0.9)) == []


def test_no_frames_say_nothing(search: BeamSearch) -> None:
    assert search.decode(np.zeros((0, N_PHONES), np.float32)) == []
    assert greedy_phones(np.zeros((0, N_PHONES), np.float32)) == []


def test_a_word_cut_off_is_not_heard(search: BeamSearch) -> None:
    whole = path_of("see the cats")
    assert words_of(search.decode(say([*whole, *phones_of("K")]))) == "see the cats"


def test_words_before_one_cut_off_are_heard_even_if_nothing_else_is_possible(search: BeamSearch) -> None:
    path = [*path_of("see the cats"), *phones_of("N AY")]
    closed = replace(search, settings=replace(CLOSED, threshold=6.0))
    assert words_of(closed.decode(say(path, sure=0.9999999))) == "see the cats"


def test_log_probabilities_are_left_as_they_are(search: BeamSearch) -> None:
    log_probs = say(path_of("see the cat"))
    before = log_probs.copy()
    assert search.decode(log_probs) == search.decode(log_probs)
    assert np.array_equal(before, log_probs)


# --- the same phone again ---


@pytest.mark.parametrize(
    ("path", "text"),
    [
        ("T EH N _ N AY N", "ten nine"),
        ("T EH N N AY N", "ten"),  # one N cannot end a word and begin the next
        ("T EH N N N N", "ten"),
        ("N OW _ N OW", "no no"),
        ("S S IY IY M M IY", "see me"),
        ("K AE T S _ S IY", "cats see"),
        ("K AE T S S IY", "cat see"),
    ],
)
def test_a_phone_twice_needs_a_blank(search: BeamSearch, path: str, text: str) -> None:
    frames = [BLANK if phone == "_" else phones_of(phone)[0] for phone in path.split()]
    closed = replace(search, settings=replace(CLOSED, language_weight=0.3))
    heard = words_of(closed.decode(say(frames, sure=0.9999)))
    assert heard.replace("know", "no") == text


def test_a_phone_twice_within_a_word_needs_a_blank() -> None:
    entries: Entries = [(2, [5, 5]), (3, [5])]
    search = BeamSearch(
        build_graph(entries, np.log([0.2, 0.2, 0.3, 0.3])),
        train_language_model(["b", "bb"], ["bb", "b"], **EVERYTHING),
        CLOSED,
    )
    assert [word.word for word in search.decode(say([0, 5, 5, 5, 0]))] == [3]
    assert [word.word for word in search.decode(say([0, 5, 0, 5, 0]))] == [2]


# --- the language model ---


@pytest.mark.parametrize(
    "text", ["two cats", "see me too", "know the cat", "no cats", "see the two cats", "no me too", "nine ten"]
)
def test_context_chooses_among_homophones(search: BeamSearch, text: str) -> None:
    assert words_of(search.decode(say(path_of(text)))) == text


def test_without_context_the_likelier_homophone_is_heard() -> None:
    entries: Entries = [(2, [5, 6]), (3, [5, 6])]
    for sentences, meant in ((["x"] * 3 + ["y"], 2), (["x"] + ["y"] * 3, 3)):
        language = train_language_model(sentences, ["x", "y"], **EVERYTHING)
        search = BeamSearch(build_graph(entries, language.unigram), language, CLOSED)
        assert [word.word for word in search.decode(say([0, 5, 6, 0]))] == [meant]


def test_a_weak_phone_is_overruled(search: BeamSearch) -> None:
    """Said: see the k?t, where AE is a bit less likely than EH; no word is "ket"."""
    path = path_of("see the cat")
    log_probs = say(path)
    ae, eh = phones_of("AE EH")
    log_probs[np.array(path) == ae] = say([eh], sure=0.6)
    log_probs[np.array(path) == ae, ae] = np.log(0.3)
    assert greedy_phones(log_probs) != collapse(path)
    assert words_of(search.decode(log_probs)) == "see the cat"


# --- words that the lexicon lacks ---


def test_an_unknown_word_is_heard_between_known_ones(search: BeamSearch) -> None:
    the, unknown, cat = phones_of("DH AH"), phones_of("ZH OY G UH"), phones_of("K AE T")
    path = [0, *the, 0, *(label for phone in unknown for label in (phone, phone, 0)), 0, *cat, 0]
    heard = search.decode(say(path, sure=0.9999))
    assert [word.word for word in heard] == [WORDS.index("the"), UNKNOWN, WORDS.index("cat")]
    first, last = path.index(unknown[0]), path.index(unknown[-1])
    assert heard == [Heard(heard[0].word, 1, 2), Heard(UNKNOWN, first, last), Heard(heard[2].word, last + 4, last + 6)]


def test_an_unknown_word_alone_and_two_words_of_it(search: BeamSearch) -> None:
    path = [0, *(label for phone in phones_of("ZH OY G UH V") for label in (phone, 0)), 0]
    assert [word.word for word in search.decode(say(path, sure=0.9999))] == [UNKNOWN]


def test_two_phones_are_no_unknown_word(search: BeamSearch) -> None:
    heard = search.decode(say([0, *phones_of("ZH"), 0, *phones_of("OY"), 0], sure=0.9999))
    assert UNKNOWN not in [word.word for word in heard]


def test_known_words_are_not_heard_as_unknown_ones(search: BeamSearch) -> None:
    heard = search.decode(say(path_of("nine ten either cats two cats")))
    assert UNKNOWN not in [word.word for word in heard]


# --- greedy ---


@settings(deadline=None, max_examples=30)
@given(st.lists(st.integers(0, 12), max_size=30), st.integers(0, 99))
def test_one_hypothesis_without_choices_is_greedy(path: list[int], seed: int) -> None:
    """Each phone a word, all as likely: what is left to weigh are the frames."""
    log_probs = noisy(path, seed, 0.5) if path else np.zeros((0, N_PHONES), np.float32)
    beam = replace(CLOSED, hypotheses=1, language_weight=0, word_bonus=0, sure_blank=0, phone_floor=-1e6)
    heard = BeamSearch(ONE_PHONE_GRAPH, ONE_PHONE_LANGUAGE, beam).decode(log_probs)
    assert [word.word - 1 for word in heard] == greedy_phones(log_probs)


ONE_PHONE_WORDS = [f"p{phone}" for phone in range(1, N_PHONES)]
ONE_PHONE_LANGUAGE = train_language_model(ONE_PHONE_WORDS, ONE_PHONE_WORDS, **EVERYTHING)
ONE_PHONE_GRAPH = build_graph([(phone + 1, [phone]) for phone in range(1, N_PHONES)], ONE_PHONE_LANGUAGE.unigram)


def test_greedy_text_is_the_likeliest_letters() -> None:
    assert greedy_text(say(letters_of("__hhe_l_lo__  _w_o_rr_ld__"), 29)) == "hello world"
    assert greedy_text(say(letters_of("  _ it''s  "), 29)) == "it's"
    assert greedy_text(say([BLANK] * 9, 29)) == ""


# --- against all paths ---

TINY_WORDS = ["ab", "ba", "cab", "ba2", "c"]
TINY: Entries = [(2, [1, 2]), (3, [2, 1]), (3, [2, 3]), (4, [3, 1, 2]), (5, [2, 1]), (6, [3])]
TINY_TEXTS = ["ab ba", "ba ab", "cab", "c ba2", "ba2 c c", "ab zebra", "zebra c", "c ab", "ab ab cab", "ba"]


@cache
def tiny_language() -> LanguageModel:
    return train_language_model(TINY_TEXTS, TINY_WORDS, **EVERYTHING)


def random_frames(frames: int, seed: int) -> Floats:
    """Return log-probabilities in which only the blank and three phones are ever likely."""
    logits = np.full((frames, N_PHONES), -60.0)
    logits[:, :4] = np.random.default_rng(seed).normal(0, 1.5, (frames, 4))
    return (logits - np.log(np.exp(logits).sum(1, keepdims=True))).astype(np.float32)


def readings(phones: tuple[int, ...]) -> list[tuple[tuple[int, ...], int]]:
    """Return all ways to part phones into words, each with how many phones are in unknown ones."""
    if not phones:
        return [((), 0)]
    found = []
    for end in range(1, len(phones) + 1):
        words = [(word, 0) for word, said in TINY if tuple(said) == phones[:end]]
        words += [(UNKNOWN, end)] * (end >= LOOP_LENGTH)
        for (word, loop), (rest, more) in product(words, readings(phones[end:])):
            found.append(((word, *rest), loop + more))
    return found


def exhaustive(log_probs: Floats, beam: BeamSettings) -> dict[tuple[int, int], dict[tuple[int, ...], float]]:
    """Return what every text scores, summed over its paths, by the language model's state and last phone."""
    language = tiny_language()
    said: dict[tuple[int, ...], float] = defaultdict(lambda: -np.inf)
    for path in product(range(4), repeat=len(log_probs)):
        phones = tuple(collapse(path))
        score = log_probs[range(len(path)), list(path)].astype(float).sum() - beam.blank_penalty * path.count(BLANK)
        said[phones] = np.logaddexp(said[phones], score)
    groups: dict[tuple[int, int], dict[tuple[int, ...], float]] = defaultdict(lambda: defaultdict(lambda: -np.inf))
    for phones, score in said.items():
        for words, loop in readings(phones):
            state, total = np.array([END]), score + beam.unknown_phone * loop
            for word in words:
                one, state = language.score(state, np.array([word]))
                total += beam.language_weight * float(one[0]) + beam.word_bonus + beam.unknown_word * (word == UNKNOWN)
            group = groups[int(state[0]), phones[-1] if phones else BLANK]
            group[words] = np.logaddexp(group[words], total)
    return groups


@settings(deadline=None, max_examples=60)
@given(
    frames=st.integers(1, 5),
    seed=st.integers(0, 10**6),
    unknown=st.sampled_from([-1.0, -0.2, -4.0]),
    penalty=st.sampled_from([0.0, 1.5]),
)
def test_a_wide_beam_finds_the_best_of_all_paths(frames: int, seed: int, unknown: float, penalty: float) -> None:
    """Texts that the language model can't tell apart any more are one hypothesis: their paths are added up."""
    beam = replace(WIDE, unknown_word=unknown, unknown_phone=unknown / 4, word_bonus=1.0, blank_penalty=penalty)
    language, log_probs = tiny_language(), random_frames(frames, seed)
    groups = exhaustive(log_probs, beam)
    ends = {
        group: np.logaddexp.reduce(list(texts.values()))
        + beam.language_weight * float(language.score(np.array([group[0]]), np.array([END]))[0][0])
        for group, texts in groups.items()
    }
    search = BeamSearch(build_graph(TINY, language.unigram), language, beam)
    heard = tuple(word.word for word in search.decode(log_probs))
    best = max(ends.values())
    assert any(heard in groups[group] for group, total in ends.items() if total > best - 1e-3)


# --- how much is kept ---


def forward(log_probs: Floats, phones: list[int]) -> float:
    """Return the log-probability of phones, summed over all paths."""
    states = [BLANK, *(state for phone in phones for state in (phone, BLANK))]
    alpha = np.full(len(states), -np.inf)
    alpha[:2] = log_probs[0, states[:2]]
    for frame in log_probs[1:]:
        step = np.concatenate([[-np.inf], alpha[:-1]])
        skip = np.concatenate([[-np.inf] * 2, alpha[:-2]])[: len(states)]
        may = [at > 1 and state != BLANK and state != states[at - 2] for at, state in enumerate(states)]
        alpha = np.logaddexp(np.logaddexp(alpha, step), np.where(may, skip, -np.inf)) + frame[states]
    return float(np.logaddexp.reduce(alpha[-2:]))


def rescore(language: LanguageModel, heard: list[Heard], log_probs: Floats, beam: BeamSettings) -> float:
    """Return the log-probability of known words, over all paths and all ways to say them."""
    words = [word.word for word in heard]
    variants = product(*(map(phones_of, LEXICON[WORDS[word]]) for word in words))
    acoustic = [forward(log_probs, [phone for part in parts for phone in part]) for parts in variants]
    weighed = beam.language_weight * language.score_text(words) + beam.word_bonus * len(words)
    return float(np.logaddexp.reduce(acoustic)) + weighed


def widths(seed: int, noise: float, changes: list[dict[str, float]]) -> list[float]:
    """Return the score of what is heard in five noisy words, with more and more kept."""
    random = np.random.default_rng(seed)
    log_probs = noisy(path_of(" ".join(random.choice(list(LEXICON), 5)), frames=1), seed, noise)
    found = []
    for change in changes:
        beam = replace(CLOSED, phone_floor=-30, sure_blank=0, **change)
        heard = BeamSearch(make_graph(), make_language(), beam).decode(log_probs)
        found.append(rescore(make_language(), heard, log_probs, beam))
    return found


MORE = [
    [{"hypotheses": count, "threshold": 40} for count in (1, 4, 16, 64, 1000)],
    [{"hypotheses": 1000, "threshold": threshold} for threshold in (1, 3, 6, 12, 40)],
]


@pytest.mark.parametrize("changes", MORE, ids=["hypotheses", "threshold"])
def test_keeping_more_is_never_worse_in_speech(changes: list[dict[str, float]]) -> None:
    scores = np.array([widths(seed, 1.0, changes) for seed in range(7)])
    assert (np.diff(scores) > -1e-3).all()
    assert scores[:, 0].mean() < scores[:, -1].mean() - 1


@pytest.mark.parametrize("changes", MORE, ids=["hypotheses", "threshold"])
def test_keeping_more_is_no_worse_in_noise(changes: list[dict[str, float]]) -> None:
    """A hypothesis stands for all texts that end alike, so that its best one may score a bit less than another."""
    scores = np.array([widths(seed, 2.5, changes) for seed in range(7)])
    assert (np.diff(scores.mean(0)) > -0.5).all()
    assert (scores[:, -1] > scores[:, 0] - 0.5).all()
    assert scores[:, 0].mean() < scores[:, -1].mean() - 1
