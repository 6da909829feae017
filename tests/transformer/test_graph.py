import lzma
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.transformer.tiny import LEXICON, WORDS, Entries, make_entries, make_graph, make_language, phones_of
from transformer.graph import LOOP_LENGTH, N_PHONES, ROOT, Graph, build_graph, load_entries, save_entries
from transformer.language_model import UNKNOWN
from transformer.tokenizer import BLANK

PHONE = st.integers(1, N_PHONES - 1)
ENTRIES = st.lists(st.tuples(st.integers(2, 30), st.lists(PHONE, min_size=1, max_size=6)), max_size=40)


def unigram_of(entries: Entries) -> np.ndarray:
    """Return made-up log-probabilities, another for each word."""
    size = max((word for word, _ in entries), default=1) + 1
    return np.log(np.random.default_rng(size).dirichlet(np.ones(size))).astype(np.float32)


def arcs(graph: Graph, node: int, *, loop: bool = False) -> dict[int, int]:
    """Return the arcs (by phone) that leave a node: those of the dictionary, or those of the loop."""
    rows, _ = graph.arcs_of(np.array([node]))
    own = [row for row in rows if graph.is_loop[row] == loop]
    found = {int(graph.arc_phone[row]): int(graph.arc_node[row]) for row in own}
    assert len(found) == len(own), "two arcs for one phone"
    return found


def walk(graph: Graph, phones: list[int], *, loop: bool = False) -> int:
    node = ROOT
    for phone in phones:
        node = arcs(graph, node, loop=loop)[phone]
    return node


def words_at(graph: Graph, node: int) -> list[int]:
    return graph.words_at(np.array([node]))[0].tolist()


@pytest.fixture(scope="module")
def graph() -> Graph:
    return make_graph()


# --- the tree of pronunciations ---


@settings(deadline=None, max_examples=40)
@given(ENTRIES)
def test_every_pronunciation_is_a_path_to_its_word(entries: Entries) -> None:
    graph = build_graph(entries, unigram_of(entries))
    for word, phones in entries:
        assert word in words_at(graph, walk(graph, phones))


@settings(deadline=None, max_examples=40)
@given(ENTRIES)
def test_no_path_leads_to_another_word(entries: Entries) -> None:
    graph = build_graph(entries, unigram_of(entries))
    open_nodes: list[tuple[int, list[int]]] = [(ROOT, [])]
    found = []
    while open_nodes:
        node, phones = open_nodes.pop()
        found += [(word, phones) for word in words_at(graph, node)]
        open_nodes += [(after, [*phones, phone]) for phone, after in arcs(graph, node).items()]
    assert sorted(found) == sorted({(word, tuple(phones)): (word, phones) for word, phones in entries}.values())


def test_homophones_stand_at_one_node(graph: Graph) -> None:
    assert [WORDS[word] for word in words_at(graph, walk(graph, phones_of("T UW")))] == ["too", "two"]
    assert [WORDS[word] for word in words_at(graph, walk(graph, phones_of("N OW")))] == ["know", "no"]


def test_a_word_ends_where_a_longer_one_goes_on(graph: Graph) -> None:
    cat = walk(graph, phones_of("K AE T"))
    assert [WORDS[word] for word in words_at(graph, cat)] == ["cat"]
    assert list(arcs(graph, cat)) == phones_of("S")


def test_all_ways_to_say_a_word_lead_to_it(graph: Graph) -> None:
    for variant in LEXICON["either"]:
        assert [WORDS[word] for word in words_at(graph, walk(graph, phones_of(variant)))] == ["either"]


def test_a_pronunciation_given_twice_counts_once() -> None:
    graph = build_graph([(2, [1, 2]), (2, [1, 2])], np.zeros(3, np.float32))
    assert words_at(graph, walk(graph, [1, 2])) == [2]


def test_many_nodes_at_once_are_those_one_by_one(graph: Graph) -> None:
    nodes = np.array([ROOT, walk(graph, phones_of("K AE T")), walk(graph, phones_of("T UW")), ROOT])
    rows, owners = graph.arcs_of(nodes)
    words, at = graph.words_at(nodes)
    for position, node in enumerate(nodes):
        assert rows[owners == position].tolist() == graph.arcs_of(np.array([node]))[0].tolist()
        assert words[at == position].tolist() == words_at(graph, int(node))
    empty = np.zeros(0, np.int64)
    assert [len(part) for part in (*graph.arcs_of(empty), *graph.words_at(empty))] == [0, 0, 0, 0]


# --- look-ahead ---


@settings(deadline=None, max_examples=40)
@given(ENTRIES)
def test_look_ahead_adds_up_to_the_best_word_below(entries: Entries) -> None:
    unigram = unigram_of(entries)
    graph = build_graph(entries, unigram)
    for _, phones in entries:
        node, paid = ROOT, 0.0
        for at, phone in enumerate(phones, 1):
            rows, _ = graph.arcs_of(np.array([node]))
            row = next(row for row in rows if graph.arc_phone[row] == phone and not graph.is_loop[row])
            node, paid = int(graph.arc_node[row]), paid + float(graph.arc_ahead[row])
            best = max(unigram[word] for word, other in entries if other[:at] == phones[:at])
            assert paid == pytest.approx(best, abs=1e-4)
            assert graph.ahead[node] == pytest.approx(best)
    assert (graph.arc_ahead <= 0).all()
    assert np.isfinite(graph.ahead).all()
    assert graph.ahead[ROOT] == 0


def test_ending_a_likely_word_gives_nothing_back_for_it(graph: Graph) -> None:
    unigram = make_language().unigram
    for word, phones in make_entries():
        assert graph.ahead[walk(graph, phones)] >= unigram[word]


# --- the loop of phones for words that the lexicon lacks ---


@given(st.lists(PHONE, min_size=1, max_size=8))
def test_any_three_phones_or_more_are_an_unknown_word(phones: list[int]) -> None:
    graph = LONE_LOOP
    known = [UNKNOWN] if len(phones) >= LOOP_LENGTH else []
    assert words_at(graph, walk(graph, phones, loop=True)) == known
    assert set(arcs(graph, walk(graph, phones, loop=True), loop=True)) == set(range(1, N_PHONES))


LONE_LOOP = build_graph([], np.zeros(2, np.float32))


def test_the_loop_is_left_by_no_word_of_the_lexicon(graph: Graph) -> None:
    loop = {int(node) for node in graph.arc_node[graph.is_loop]}
    words = {word for node in loop for word in words_at(graph, node)}
    beyond = {after for node in loop for after in arcs(graph, node, loop=True).values()}
    assert words == {UNKNOWN}
    assert beyond <= loop
    assert not any(arcs(graph, node) for node in loop)
    assert len(loop) == LOOP_LENGTH * (N_PHONES - 1)


def test_the_loop_looks_at_nothing_ahead(graph: Graph) -> None:
    assert (graph.arc_ahead[graph.is_loop] == 0).all()
    assert (graph.ahead[graph.arc_node[graph.is_loop]] == 0).all()


def test_no_arc_is_a_blank(graph: Graph) -> None:
    assert set(graph.arc_phone) <= set(range(1, N_PHONES))
    assert BLANK == 0


# --- files ---


@settings(deadline=None, max_examples=20)
@given(ENTRIES)
def test_entries_are_loaded_as_they_were_saved(tmp_path_factory: pytest.TempPathFactory, entries: Entries) -> None:
    path = tmp_path_factory.mktemp("entries") / "lexicon.xz"
    ordered = sorted(entries, key=lambda entry: entry[0])
    save_entries(path, ordered)
    assert [(word, list(phones)) for word, phones in load_entries(path)] == ordered


@pytest.mark.parametrize("words", [[2, 258], [300], [2, 65_535], [5, 4]], ids=str)
def test_entries_are_kept_or_refused_but_never_changed(tmp_path: Path, words: list[int]) -> None:
    entries = [(word, [1, 2, 3]) for word in words]
    try:
        save_entries(tmp_path / "lexicon.xz", entries)
    except ValueError:
        return
    assert [(word, list(phones)) for word, phones in load_entries(tmp_path / "lexicon.xz")] == entries


def test_what_is_loaded_makes_the_same_graph(graph: Graph, tmp_path: Path) -> None:
    save_entries(tmp_path / "lexicon.xz", make_entries())
    again = build_graph(load_entries(tmp_path / "lexicon.xz"), make_language().unigram)
    for name in Graph.__dataclass_fields__:
        assert np.array_equal(getattr(again, name), getattr(graph, name)), name


def test_other_files_are_no_lexicon(tmp_path: Path) -> None:
    path = tmp_path / "lexicon.xz"
    make_language().save(path)
    language = path.read_bytes()
    save_entries(path, make_entries())
    data = path.read_bytes()
    foreign = {
        "a language model": language,
        "empty": b"",
        "truncated": data[:-20],
        "text": b"the DH AH\n",
        "other text, compressed": lzma.compress(b"the DH AH\n" * 40),
        "nothing, compressed": lzma.compress(b""),
        "its end is missing": lzma.compress(lzma.decompress(data)[:-3]),
    }
    for name, content in foreign.items():
        path.write_bytes(content)
        with pytest.raises(ValueError, match=r"lexicon\.xz"):
            assert not load_entries(path), name
