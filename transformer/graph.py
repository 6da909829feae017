"""The graph that the decoder walks: a tree of pronunciations, and a loop of phones for words that it lacks.

A node is a prefix of pronunciations, an arc one more phone. Words stand at the node where their last phone arrives;
several can (homophones), and a word can end where a longer one goes on. Every node knows the most likely word below
it, so that a path pays for a rare word as soon as it can only become one (language model look-ahead: Ortmanns, Ney and
Eiden 1996).
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from transformer.language_model import UNKNOWN, read_parts, write_parts

Ints = NDArray[np.int64]
Floats = NDArray[np.float32]

ROOT = 0
N_PHONES = 40  # with the blank
LOOP_LENGTH = 3  # a word that the lexicon lacks has at least so many phones


@dataclass(frozen=True)
class Graph:
    """Arcs and words by node, in rows: those of node n stand at first[n] … first[n + 1] - 1."""

    first_arc: Ints
    arc_phone: Ints
    arc_node: Ints
    arc_ahead: Floats  # what the best word below becomes less likely by taking the arc, <= 0
    is_loop: NDArray[np.bool_]  # by arc: a phone of an unknown word
    first_word: Ints
    words: Ints
    ahead: Floats  # by node: log-probability of the best word below; 0 at the root and in the loop

    def arcs_of(self, nodes: Ints) -> tuple[Ints, Ints]:
        """Return every arc that leaves one of `nodes`, and from which of them (its position)."""
        return _rows(self.first_arc, nodes)

    def words_at(self, nodes: Ints) -> tuple[Ints, Ints]:
        """Return every word that ends at one of `nodes`, and at which of them (its position)."""
        rows, owners = _rows(self.first_word, nodes)
        return self.words[rows], owners


def _rows(first: Ints, nodes: Ints) -> tuple[Ints, Ints]:
    counts = first[nodes + 1] - first[nodes]
    owners = np.repeat(np.arange(len(nodes)), counts)
    starts = first[nodes] - np.cumsum(counts) + counts
    return starts[owners] + np.arange(len(owners)), owners


def build_graph(entries: Iterable[tuple[int, Sequence[int]]], unigram: Floats) -> Graph:
    """Return the graph of (word id, phone ids) entries; `unigram` gives each word's log-probability."""
    children: list[dict[int, int]] = [{}]
    words: dict[int, list[int]] = {}
    for word, phones in entries:
        node = ROOT
        for phone in phones:
            after = children[node].get(phone)
            if after is None:
                after = children[node][phone] = len(children)
                children.append({})
            node = after
        if word not in words.setdefault(node, []):
            words[node].append(word)
    ahead = _look_ahead(children, words, unigram)
    loops = _add_loop(children, words)
    ahead = np.concatenate([ahead, np.zeros(len(children) - len(ahead), np.float32)])
    return _to_rows(children, words, ahead, loops)


def _look_ahead(children: list[dict[int, int]], words: dict[int, list[int]], unigram: Floats) -> Floats:
    ahead = np.full(len(children), -np.inf, np.float32)
    for node in range(len(children) - 1, -1, -1):  # a child has a higher number than its parent
        below = [float(ahead[child]) for child in children[node].values()]
        ahead[node] = max([*below, *(float(unigram[word]) for word in words.get(node, []))], default=-np.inf)
    ahead[ROOT] = 0
    return ahead


def _add_loop(children: list[dict[int, int]], words: dict[int, list[int]]) -> set[int]:
    """Add the phone loop; return its nodes. A dictionary has one arc a phone, so the loop's have phones + N_PHONES."""
    first = len(children)

    def node(step: int, phone: int) -> int:
        return first + step * (N_PHONES - 1) + phone - 1

    children += [{} for _ in range(LOOP_LENGTH * (N_PHONES - 1))]
    for phone in range(1, N_PHONES):
        children[ROOT][phone + N_PHONES] = node(0, phone)
        words[node(LOOP_LENGTH - 1, phone)] = [UNKNOWN]
        for step in range(LOOP_LENGTH):
            after = min(step + 1, LOOP_LENGTH - 1)
            children[node(step, phone)] = {other + N_PHONES: node(after, other) for other in range(1, N_PHONES)}
    return set(range(first, len(children)))


def _to_rows(children: list[dict[int, int]], words: dict[int, list[int]], ahead: Floats, loops: set[int]) -> Graph:
    arc_phone = np.array([phone % N_PHONES for arcs in children for phone in arcs], np.int64)
    arc_node = np.array([node for arcs in children for node in arcs.values()], np.int64)
    counts = np.array([len(arcs) for arcs in children])
    owner = np.repeat(np.arange(len(children)), counts)
    word_counts = [len(words.get(node, ())) for node in range(len(children))]
    return Graph(
        first_arc=np.concatenate([[0], np.cumsum(counts)]),
        arc_phone=arc_phone,
        arc_node=arc_node,
        arc_ahead=ahead[arc_node] - ahead[owner],
        is_loop=arc_node >= min(loops),
        first_word=np.concatenate([[0], np.cumsum(word_counts)]),
        words=np.array([word for node in range(len(children)) for word in words.get(node, ())], np.int64),
        ahead=ahead,
    )


def save_entries(path: Path, entries: Sequence[tuple[int, Sequence[int]]]) -> None:
    """Write (word id, phone ids) entries, compressed.

    Raises ValueError unless they are ordered by word, and no more than 255 ids in a row are left out.
    """
    steps = np.diff(np.array([0, *(word for word, _ in entries)]))
    if len(steps) and not 0 <= steps.min() <= steps.max() <= 255:
        raise ValueError("entries must be ordered by word, without long gaps")
    words = steps.astype(np.uint8)
    lengths = bytes(len(phones) for _, phones in entries)
    write_parts(path, [words.tobytes(), lengths, bytes(phone for _, phones in entries for phone in phones)])


def load_entries(path: Path) -> list[tuple[int, bytes]]:
    """Return what `save_entries` wrote; phone ids are the values of the bytes.

    Raises ValueError for a file that is something else.
    """
    parts = read_parts(path)
    if len(parts) != 3 or len(parts[0]) != len(parts[1]) or sum(parts[1]) != len(parts[2]):
        raise ValueError(f"{path.name} holds no pronunciations")
    words = np.cumsum(np.frombuffer(parts[0], np.uint8).astype(np.int64))
    ends = np.cumsum(np.frombuffer(parts[1], np.uint8).astype(np.int64))
    return [(int(w), parts[2][end - n : end]) for w, end, n in zip(words, ends, parts[1], strict=True)]
