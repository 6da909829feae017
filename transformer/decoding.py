"""From log-probabilities to words: greedy, and a beam search over lexicon and language model.

The beam search is CTC prefix search (Graves 2006; Hannun 2014) on the graph of pronunciations: a hypothesis is where
it stands in the graph, what the language model remembers, and its last phone; it carries two probabilities, that of
ending in a blank and that of ending in its last phone, since only after a blank the same phone again is a new one. All
hypotheses are advanced at once as numpy arrays, which is what makes it fast in Python.
"""

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from transformer.align import collapse
from transformer.graph import ROOT, Graph
from transformer.language_model import END, LanguageModel
from transformer.tokenizer import BLANK, decode_letters

Ints = NDArray[np.int64]
Floats = NDArray[np.float32]

NEVER = np.float32(-1e30)


@dataclass(frozen=True)
class BeamSettings:
    """What is weighed, and how much is kept. Chosen on people who are neither trained on nor tested (`data.is_dev`)."""

    hypotheses: int = 160
    threshold: float = 13.0  # a hypothesis so much (natural log) behind the best is given up
    phone_floor: float = -9.0  # phones less likely than this are not tried
    blank_penalty: float = 2.5  # CTC learns to be silent rather than wrong (a half of all frames): this takes it back
    language_weight: float = 1.0
    word_bonus: float = 0.0
    unknown_word: float = -4.0  # on top of what the language model says of an unknown word
    unknown_phone: float = -4.0  # for each phone of it
    sure_blank: float = -0.02  # frames whose blank is likelier than this start no phone

    def __post_init__(self) -> None:
        if not isinstance(self.hypotheses, int) or self.hypotheses < 1:
            raise ValueError(f"{self.hypotheses=} must be a whole number from 1 on")


@dataclass(frozen=True)
class Heard:
    """A word, and the encoder frames between which it was heard; an unknown word has the id UNKNOWN."""

    word: int
    start: int
    end: int  # the frame in which its last phone begins


def greedy_phones(log_probs: Floats) -> list[int]:
    """Return the phones of the likeliest path: log_probs (S, N_PHONES)."""
    return collapse(log_probs.argmax(-1).tolist())


def greedy_text(letters: Floats) -> str:
    """Return the text of the likeliest path: log-probabilities of letters (S, 29)."""
    return " ".join(decode_letters(collapse(letters.argmax(-1).tolist())).split())


@dataclass
class History:
    """The words of all hypotheses, as a tree: each entry points to the word before it. Entry 0 is the beginning."""

    size: int = 1
    firsts: list[int] = field(default_factory=list)  # of each block of entries that was added
    blocks: list[tuple[Ints, Ints, Ints, int]] = field(default_factory=list)  # parents, words, starts, end

    def append(self, parents: Ints, words: Ints, starts: Ints, end: int) -> Ints:
        """Add a word to each of `parents`; return the new entries."""
        self.firsts.append(self.size)
        self.blocks.append((parents, words, starts, end))
        self.size += len(parents)
        return np.arange(self.size - len(parents), self.size)

    def trace(self, entry: int) -> list[Heard]:
        """Return the words up to an entry."""
        found = []
        while entry:
            block = bisect_right(self.firsts, entry) - 1
            parents, words, starts, end = self.blocks[block]
            row = entry - self.firsts[block]
            found.append(Heard(int(words[row]), int(starts[row]), end))
            entry = int(parents[row])
        return found[::-1]


@dataclass(frozen=True)
class Hypotheses:
    """Hypotheses side by side, one a row."""

    node: Ints  # in the graph
    state: Ints  # of the language model
    last: Ints  # phone
    entry: Ints  # in the history
    start: Ints  # frame in which the word that is being heard began
    blank: Floats  # log-probability of all its paths that end in a blank
    label: Floats  # … and in its last phone

    @property
    def total(self) -> Floats:
        """Return the log-probability of all paths of each."""
        return np.logaddexp(self.blank, self.label)

    def take(self, rows: NDArray[np.generic]) -> "Hypotheses":
        """Return some of the rows."""
        return Hypotheses(*(getattr(self, name)[rows] for name in self.__dataclass_fields__))


def _concatenate(parts: Sequence[Hypotheses]) -> Hypotheses:
    names = Hypotheses.__dataclass_fields__
    return Hypotheses(*(np.concatenate([getattr(part, name) for part in parts]) for name in names))


@dataclass(frozen=True)
class BeamSearch:
    """A graph and a language model, ready to decode with."""

    graph: Graph
    language: LanguageModel
    settings: BeamSettings = BeamSettings()

    def decode(self, log_probs: Floats) -> list[Heard]:
        """Return the words heard in log_probs (S, N_PHONES), natural logarithms, blank first."""
        none = np.zeros(1, np.int64)
        hypotheses = Hypotheses(none, none + END, none, none, none, np.zeros(1, np.float32), np.full(1, NEVER))
        history = History()
        for at, frame in enumerate(log_probs):
            blank = frame[BLANK] - np.float32(self.settings.blank_penalty)
            stayed = replace(
                hypotheses, blank=hypotheses.total + blank, label=hypotheses.label + frame[hypotheses.last]
            )
            if frame[BLANK] > self.settings.sure_blank:
                hypotheses = stayed
                continue
            best = float(stayed.total.max())
            grown = self._grow(hypotheses, frame, at, best)
            ended = self._end_words(grown, history, at)
            hypotheses = self._prune(_merge(_concatenate([stayed, grown, ended]), len(self.graph.ahead)))
        return history.trace(self._finish(hypotheses))

    def _grow(self, before: Hypotheses, frame: Floats, at: int, best: float) -> Hypotheses:
        """Follow every arc whose phone is likely enough in this frame."""
        graph, settings = self.graph, self.settings
        arcs, owner = graph.arcs_of(before.node)
        phone = graph.arc_phone[arcs]
        again = phone == before.last[owner]
        label = np.where(again, before.blank[owner], before.total[owner]) + frame[phone]
        label += settings.language_weight * graph.arc_ahead[arcs]
        loop, at_root = graph.is_loop[arcs], before.node[owner] == ROOT
        label += loop * (settings.unknown_phone + settings.unknown_word * at_root)
        kept = np.flatnonzero((label > best - settings.threshold) & (frame[phone] > settings.phone_floor))
        owner, label = owner[kept], label[kept].astype(np.float32)
        return Hypotheses(
            node=graph.arc_node[arcs[kept]],
            state=before.state[owner],
            last=phone[kept],
            entry=before.entry[owner],
            start=np.where(at_root[kept], at, before.start[owner]),
            blank=np.full(len(kept), NEVER),
            label=label,
        )

    def _end_words(self, grown: Hypotheses, history: History, at: int) -> Hypotheses:
        """Return a hypothesis back at the root for each word that ends where a phone has just arrived."""
        words, owner = self.graph.words_at(grown.node)
        ending = grown.take(owner)
        score, state = self.language.score(ending.state, words)
        weighed = self.settings.language_weight * (score - self.graph.ahead[ending.node]) + self.settings.word_bonus
        label = ending.label + weighed.astype(np.float32)
        best = max(grown.label.max(initial=NEVER), label.max(initial=NEVER))
        kept = np.flatnonzero(label > best - self.settings.threshold)
        ending, words = ending.take(kept), words[kept]
        entry = history.append(ending.entry, words, ending.start, at) if len(kept) else ending.entry
        return replace(ending, node=np.zeros(len(kept), np.int64), state=state[kept], entry=entry, label=label[kept])

    def _prune(self, hypotheses: Hypotheses) -> Hypotheses:
        total = hypotheses.total
        limit = total.max() - self.settings.threshold
        if len(total) > self.settings.hypotheses:
            limit = max(limit, np.partition(total, -self.settings.hypotheses)[-self.settings.hypotheses])
        return hypotheses.take(total >= limit)

    def _finish(self, hypotheses: Hypotheses) -> int:
        """Return the entry of the best hypothesis, those preferred that have just ended a word."""
        total = hypotheses.total
        ended = np.flatnonzero(hypotheses.node == ROOT)
        if not len(ended):
            return int(hypotheses.entry[total.argmax()])
        score, _ = self.language.score(hypotheses.state[ended], np.full(len(ended), END))
        return int(hypotheses.entry[ended[(total[ended] + self.settings.language_weight * score).argmax()]])


def _merge(hypotheses: Hypotheses, n_nodes: int) -> Hypotheses:
    """Add up the paths of hypotheses that can't be told apart from here on; the likeliest one's words stay."""
    key = (hypotheses.state * n_nodes + hypotheses.node) * 64 + hypotheses.last
    order = np.lexsort((-hypotheses.total, key))
    ordered = hypotheses.take(order)
    first = np.flatnonzero(np.diff(key[order], prepend=-1))
    if len(first) == len(order):
        return ordered
    blank, label = (np.logaddexp.reduceat(part, first) for part in (ordered.blank, ordered.label))
    return replace(ordered.take(first), blank=blank, label=label)
