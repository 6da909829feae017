import pytest
from hypothesis import given
from hypothesis import strategies as st

from transformer.config import ModelConfig
from transformer.phones import PHONE_IDS, PHONES, from_ipa

IPA = "abdefhijklmnoprstuvwxyzæçðŋɐɑɒɔəɚɛɜɝɡɨɪɬɹɾʃʊʌʒʔθᵻˈˌː̩ "


def test_there_are_39_phones_and_a_blank() -> None:
    assert len(set(PHONES)) == 39
    assert sorted(PHONE_IDS.values()) == list(range(1, ModelConfig().n_phones))


@pytest.mark.parametrize(
    ("word", "ipa", "phones"),
    [
        ("hello", "həlˈoʊ", "HH AH L OW"),
        ("church", "tʃˈɜːtʃ", "CH ER CH"),
        ("judge", "dʒˈʌdʒ", "JH AH JH"),
        ("bird, American", "bˈɜːɹd", "B ER D"),
        ("thing", "θˈɪŋ", "TH IH NG"),
        ("measure", "mˈɛʒɚ", "M EH ZH ER"),
        ("little, flapped", "lˈɪɾəl", "L IH T AH L"),
        ("button, glottal", "bˈʌʔn̩", "B AH T AH N"),
        ("fire", "fˈaɪɚ", "F AY ER"),
        ("house", "hˈaʊs", "HH AW S"),
        ("boy", "bˈɔɪ", "B OY"),
        ("door", "dˈoːɹ", "D AO R"),
        ("car", "kˈɑːɹ", "K AA R"),
        ("go, British", "ɡˈəʊ", "G OW"),
        ("you", "jˈuː", "Y UW"),
        ("mother", "mˈʌðɚ", "M AH DH ER"),
        ("vision", "vˈɪʒən", "V IH ZH AH N"),
        ("wanted", "wˈɔntᵻd", "W AO N T IH D"),
        ("loch", "lˈɒx", "L AA K"),
        ("furry", "fˈɜːɹi", "F ER IY"),
        ("red", "ɹˈɛd", "R EH D"),
        ("cats", "kˈæts", "K AE T S"),
        ("say", "sˈeɪ", "S EY"),
        ("nothing", "", ""),
    ],
)
def test_words_in_ipa_become_arpabet(word: str, ipa: str, phones: str) -> None:
    assert from_ipa(ipa) == phones.split(), word


@given(st.text(IPA, max_size=30))
def test_whatever_is_read_is_a_phone(ipa: str) -> None:
    assert set(from_ipa(ipa)) <= set(PHONES)


@given(st.text(max_size=30))
def test_any_text_gives_phones_or_nothing(text: str) -> None:
    assert set(from_ipa(text)) <= set(PHONES)


def test_marks_of_stress_change_nothing() -> None:
    assert from_ipa("ˌɪntɚnˈæʃənəl") == from_ipa("ɪntɚnæʃənəl")
    assert " ".join(from_ipa("ˌɪntɚnˈæʃənəl")) == "IH N T ER N AE SH AH N AH L"


def test_an_r_of_its_own_is_kept_after_other_vowels() -> None:
    assert from_ipa("stˈɑːɹɹi") == ["S", "T", "AA", "R", "R", "IY"]
    assert from_ipa("ɚɹ") == ["ER"]
