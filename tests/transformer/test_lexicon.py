import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.requirements import require_tool
from transformer import lexicon
from transformer.lexicon import (
    MAX_VARIANTS,
    Pronunciation,
    count_words,
    encode_phones,
    pronounce,
    read_cmudict,
    read_lexicon,
    speak_words,
    write_lexicon,
)
from transformer.phones import PHONE_IDS, PHONES

WORD = st.text("abc'", min_size=1, max_size=6)
LEXICONS = st.dictionaries(
    WORD, st.lists(st.lists(st.sampled_from(PHONES), min_size=1).map(tuple), min_size=1, max_size=3), max_size=8
)


@pytest.fixture(scope="module")
def cmudict() -> dict[str, list[Pronunciation]]:
    return read_cmudict()


@pytest.fixture
def spoken(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, ...]]:
    """Put an engine in place of espeak-ng that says every word as its letters; return what it is asked."""
    asked: list[tuple[str, ...]] = []

    def run(*command: str, text: str | None = None) -> bytes:
        asked.append((*command, *([text] if text else [])))
        words = text.split() if text else command[-1:]
        return "".join(
            f" {'' if word == 'mute' else word.strip('~')}\n" * (1 + ("~" in word)) for word in words
        ).encode()

    monkeypatch.setattr(lexicon, "run", run)
    return asked


# --- CMUdict ---


def test_words_have_phones_without_stress(cmudict: dict[str, list[Pronunciation]]) -> None:
    assert len(cmudict) > 100_000
    assert cmudict["cat"] == [("K", "AE", "T")]
    assert cmudict["speaking"] == [("S", "P", "IY", "K", "IH", "NG")]
    assert {phone for variants in cmudict.values() for variant in variants for phone in variant} == set(PHONES)


def test_a_word_has_few_variants_and_none_twice(cmudict: dict[str, list[Pronunciation]]) -> None:
    assert cmudict["the"][:2] == [("DH", "AH"), ("DH", "IY")]
    assert cmudict["either"] == [("IY", "DH", "ER"), ("AY", "DH", "ER")]
    assert all(1 <= len(variants) <= MAX_VARIANTS for variants in cmudict.values())
    assert all(len(set(variants)) == len(variants) for variants in cmudict.values())


# --- words that it lacks ---


def test_what_cmudict_lacks_is_spoken(
    spoken: list[tuple[str, ...]], cmudict: dict[str, list[Pronunciation]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lexicon, "read_cmudict", lambda: cmudict)
    assert pronounce(["cat", "zxkt", "cat", "cats'"]) == {
        "cat": [("K", "AE", "T")],
        "zxkt": [("Z", "K", "K", "T")],
        "cats'": [("K", "AE", "T", "S")],
    }
    assert [command[-1].split() for command in spoken] == [["zxkt"]]


def test_words_are_spoken_in_lots(spoken: list[tuple[str, ...]]) -> None:
    words = ["ba", "da", "mute", "ka", "la"]
    assert speak_words(words, at_once=2) == {
        "ba": [("B", "AA")],
        "da": [("D", "AA")],
        "ka": [("K", "AA")],
        "la": [("L", "AA")],
    }
    assert len(spoken) == 3


def test_a_lot_whose_lines_do_not_match_is_spoken_word_by_word(spoken: list[tuple[str, ...]]) -> None:
    assert speak_words(["ba", "da~", "ka"]) == {
        "ba": [("B", "AA")],
        "da~": [("D", "AA", "D", "AA")],
        "ka": [("K", "AA")],
    }
    assert [command[-1] for command in spoken[1:]] == ["ba", "da~", "ka"]


def test_espeak_says_one_line_a_word() -> None:
    require_tool("espeak-ng")
    words = ["zebra", "kittycat", "o'clock", "shazam", "zzyzx", "a", "bot's"]
    found = speak_words(words)
    assert list(found) == words
    assert found["zebra"] == [("Z", "IY", "B", "R", "AH")]
    assert found["bot's"] == [("B", "AA", "T", "S")]
    assert set(PHONES) >= {phone for variants in found.values() for variant in variants for phone in variant}


# --- texts ---


def test_a_text_is_said_the_usual_way() -> None:
    known = {"the": [("DH", "AH"), ("DH", "IY")], "cat": [("K", "AE", "T")]}
    assert encode_phones("the cat", known) == [PHONE_IDS[phone] for phone in ("DH", "AH", "K", "AE", "T")]
    assert encode_phones("", known) == []
    with pytest.raises(KeyError, match="dog"):
        encode_phones("the dog", known)


def test_words_are_counted() -> None:
    assert count_words(["the cat the", "", "cat's the"]) == {"the": 3, "cat": 1, "cat's": 1}


@settings(deadline=None, max_examples=30)
@given(LEXICONS)
def test_what_is_written_is_read(
    tmp_path_factory: pytest.TempPathFactory, words: dict[str, list[Pronunciation]]
) -> None:
    path = tmp_path_factory.mktemp("lexicon") / "lexicon.tsv"
    write_lexicon(path, words)
    assert read_lexicon(path) == words
    assert list(read_lexicon(path)) == list(words)
