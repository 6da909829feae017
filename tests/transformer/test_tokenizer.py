import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from transformer.tokenizer import (
    BLANK,
    LETTERS,
    BytePairEncoding,
    decode_letters,
    encode_letters,
    merge_pair,
)

WORDS = st.text(LETTERS.strip(), min_size=1, max_size=12)
TEXTS = st.lists(WORDS, max_size=8).map(" ".join)
CORPUS = (
    "the quick brown fox jumps over the lazy dog",
    "the dog's other toys are there and the others are over there",
    "low lower lowest new newer newest wide wider widest",
)


# --- letters ---


@given(st.text(LETTERS, max_size=50))
def test_letters_come_back(text: str) -> None:
    ids = encode_letters(text)
    assert decode_letters(ids) == text
    assert len(ids) == len(text)
    assert set(ids) <= set(range(1, 29))


def test_blanks_are_skipped() -> None:
    assert decode_letters([BLANK, *encode_letters("a"), BLANK, BLANK, *encode_letters("b"), BLANK]) == "ab"


@pytest.mark.parametrize("text", ["Hello", "a.b", "one\ttwo", "café", "line\n", "3", "▁", "’"])
def test_other_characters_are_refused(text: str) -> None:
    with pytest.raises(ValueError, match="normalise the text first"):
        encode_letters(text)


# --- byte-pair encoding ---


def test_a_pair_is_merged_from_left_to_right() -> None:
    assert merge_pair(list("aaaab"), ("a", "a")) == ["aa", "aa", "b"]
    assert merge_pair(list("aaab"), ("a", "a")) == ["aa", "a", "b"]
    assert merge_pair(list("abc"), ("b", "a")) == list("abc")
    assert merge_pair([], ("a", "b")) == []


def test_merges_are_those_worked_out_by_hand() -> None:
    """Three words: hug × 3, pug × 2, hugs × 1.

    1. u-g stands 6 times, ▁-h and h-u 4 times, ▁-p and p-u twice, g-s once: ug.
    2. h-ug 4, ▁-h 4, a tie, and "h" sorts before "▁": hug.
    3. ▁-hug 4, p-ug 2, ▁-p 2, hug-s 1: ▁hug.
    4. p-ug 2, ▁-p 2, ▁hug-s 1: pug; 5. ▁-pug 2: ▁pug; 6. ▁hug-s: ▁hugs; then nothing is left to merge.
    """
    bpe = BytePairEncoding.train(["hug pug hug", "hugs pug hug"], 100)
    assert bpe.merges == [("u", "g"), ("h", "ug"), ("▁", "hug"), ("p", "ug"), ("▁", "pug"), ("▁hug", "s")]
    assert bpe.split("hugs") == ["▁hugs"]
    assert bpe.split("puugs") == ["▁", "p", "u", "ug", "s"]


def test_the_number_of_merges_is_a_limit() -> None:
    bpe = BytePairEncoding.train(CORPUS, 5)
    assert len(bpe.merges) == 5
    assert len(bpe) == 3 + 1 + 27 + 5
    assert BytePairEncoding.train([], 5).merges == []


@settings(deadline=None)
@given(st.randoms(use_true_random=False))
def test_training_depends_on_the_words_alone(shuffler: random.Random) -> None:
    words = " ".join(CORPUS).split()
    shuffler.shuffle(words)
    assert BytePairEncoding.train(words, 20).merges == BytePairEncoding.train(CORPUS, 20).merges


@settings(deadline=None)
@given(TEXTS, st.lists(TEXTS, max_size=4), st.integers(0, 30))
def test_any_text_comes_back_whatever_was_learnt(text: str, corpus: list[str], merges: int) -> None:
    bpe = BytePairEncoding.train(corpus, merges)
    ids = bpe.encode(text)
    assert bpe.decode(ids) == text
    assert all(bpe.END < number < len(bpe) for number in ids)


@settings(deadline=None)
@given(TEXTS)
def test_each_merge_makes_a_text_no_longer(text: str) -> None:
    few, many = BytePairEncoding.train(CORPUS, 3), BytePairEncoding.train(CORPUS, 40)
    assert len(many.encode(text)) <= len(few.encode(text)) <= len(text) + 1


def test_seen_words_are_shorter_than_letters() -> None:
    bpe = BytePairEncoding.train(CORPUS, 60)
    assert bpe.split("the") == ["▁the"]
    assert len(bpe.encode(CORPUS[0])) < len(CORPUS[0]) / 2


def test_padding_start_and_end_are_skipped() -> None:
    bpe = BytePairEncoding.train(CORPUS, 10)
    ids = bpe.encode("over there")
    assert bpe.decode([bpe.START, *ids, bpe.END, bpe.PADDING, bpe.PADDING]) == "over there"


@pytest.mark.parametrize("text", ["Hello", "naïve", "a1", "a-b", "▁▁é"])
def test_unknown_characters_are_a_key_error(text: str) -> None:
    with pytest.raises(KeyError):
        BytePairEncoding.train(CORPUS, 10).encode(text)
