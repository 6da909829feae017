"""A lexicon of a few words with a language model and their graph, and log-probabilities that say a text plainly."""

from collections.abc import Sequence
from functools import cache

import numpy as np
from numpy.typing import NDArray

from transformer.decoding import BeamSettings
from transformer.graph import N_PHONES, Graph, build_graph
from transformer.language_model import SPECIAL, LanguageModel, train_language_model
from transformer.phones import PHONE_IDS
from transformer.tokenizer import BLANK, LETTERS

Floats = NDArray[np.float32]
Entries = list[tuple[int, list[int]]]

# What is chosen for people may change; what is shown here may not.
BEAM = BeamSettings(
    hypotheses=160,
    threshold=13.0,
    phone_floor=-9.0,
    blank_penalty=0.0,
    language_weight=0.9,
    word_bonus=0.6,
    unknown_word=-4.0,
    unknown_phone=-3.3,
    sure_blank=-0.02,
)
# The usual pronunciation first.
LEXICON = {
    "a": ["AH", "EY"],
    "cat": ["K AE T"],
    "cats": ["K AE T S"],
    "either": ["IY DH ER", "AY DH ER"],
    "know": ["N OW"],
    "me": ["M IY"],
    "nine": ["N AY N"],
    "no": ["N OW"],
    "see": ["S IY"],
    "ten": ["T EH N"],
    "the": ["DH AH", "DH IY"],
    "too": ["T UW"],
    "two": ["T UW"],
}
WORDS = (*SPECIAL, *LEXICON)
SENTENCES = [
    "see the cat",
    "see the two cats",
    "two cats see me",
    "see me too",
    "no me too",
    "ten nine two",
    "nine ten",
    "know the cat",
    "we know a cat",
    "no cats",
    "no no",
    "either the cat or the dog",
    "the cat",
    "a dog",
]


def ids_of(text: str) -> list[int]:
    """Return the ids of words, that of the unknown word for what the lexicon lacks."""
    return [WORDS.index(word) if word in WORDS else 1 for word in text.split()]


def phones_of(text: str) -> list[int]:
    """Return the phone ids of ARPAbet phones."""
    return [PHONE_IDS[phone] for phone in text.split()]


def make_entries() -> Entries:
    return [(WORDS.index(word), phones_of(variant)) for word, variants in LEXICON.items() for variant in variants]


@cache
def make_language() -> LanguageModel:
    return train_language_model(SENTENCES, list(LEXICON), n_bigrams=10**6, n_trigrams=10**6)


@cache
def make_graph() -> Graph:
    return build_graph(make_entries(), make_language().unigram)


def say(path: Sequence[int], labels: int = N_PHONES, *, sure: float = 0.99) -> Floats:
    """Return log-probabilities (frames, labels) by which each frame says the label that `path` has there."""
    found = np.full((len(path), labels), (1 - sure) / (labels - 1), np.float32)
    found[np.arange(len(path)), path] = sure
    return np.log(found)


def path_of(text: str, *, frames: int = 2, blanks: int = 1) -> list[int]:
    """Return the path of words, each said the usual way: every phone for some frames, then blanks."""
    phones = [phone for word in text.split() for phone in phones_of(LEXICON[word][0])]
    return [BLANK] * 2 + [label for phone in phones for label in [phone] * frames + [BLANK] * blanks]


def letters_of(text: str) -> list[int]:
    """Return a path of letters, one a frame; "_" is a blank."""
    return [BLANK if letter == "_" else LETTERS.index(letter) + 1 for letter in text]
