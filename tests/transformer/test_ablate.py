import numpy as np
import pytest

from tests.transformer.tiny import BEAM, letters_of, make_language, say
from transformer.ablate import VARIANTS, letters_as_phones, spelling_search
from transformer.data import Utterance
from transformer.graph import N_PHONES


def utterance(source: str, speaker: str = "", split: str = "train") -> Utterance:
    return Utterance("1", source, speaker or f"{source}-1", split, "a", "")


@pytest.mark.parametrize(
    ("path", "text"), [("__sse_e_ tt_wo_  cc_aa_ts__", "see two cats"), ("no_ _no_", "no no"), ("know_ no", "know no")]
)
def test_spelled_words_are_found_by_their_letters(path: str, text: str) -> None:
    """What sounds alike is told apart, and a space is no letter of a word."""
    language = make_language()
    heard = spelling_search(language, BEAM).decode(letters_as_phones(say(letters_of(path), 29)))
    assert " ".join(language.words[word.word] for word in heard) == text


def test_a_space_between_words_is_as_good_as_a_blank() -> None:
    wide = letters_as_phones(say(letters_of(" _a"), 29, sure=0.9))
    assert wide.shape == (3, N_PHONES)
    assert wide[0, 0] == pytest.approx(wide[1, 0])
    assert np.exp(wide).sum(-1) == pytest.approx(1, abs=1e-4)


def test_variants_hear_whom_they_say() -> None:
    hears = {variant.name: variant.hears for variant in VARIANTS}
    assert len(hears) == len(VARIANTS)
    person, engine, test = utterance("ls"), utterance("espeak"), utterance("ls", split="test")
    kept = utterance("ls", speaker="ls-7859")  # people kept to choose settings by
    assert [hears["people alone"](item) for item in (person, engine, test, kept)] == [True, False, False, False]
    assert [hears["engines alone"](item) for item in (person, engine, test, kept)] == [False, True, False, False]
    assert [hears["all of it: 128 x 5"](item) for item in (person, engine, test, kept)] == [True, True, False, False]
