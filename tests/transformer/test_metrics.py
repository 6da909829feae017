from functools import cache

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from transformer.metrics import edit_distance, word_accuracy

TEXT = st.text("abc", max_size=8)
SENTENCE = st.lists(st.sampled_from(["the", "a", "cat", "cats"]), max_size=8).map(" ".join)


def slow_distance(said: str, meant: str) -> int:
    """Return the edit distance by its definition: the best of what can be done with the first letters."""

    @cache
    def rest(left: int, right: int) -> int:
        if left == len(said) or right == len(meant):
            return len(said) - left + len(meant) - right
        differ = said[left] != meant[right]
        return min(rest(left + 1, right + 1) + differ, rest(left + 1, right) + 1, rest(left, right + 1) + 1)

    return rest(0, 0)


@settings(deadline=None)
@given(TEXT, TEXT)
def test_the_distance_is_the_slow_ones(said: str, meant: str) -> None:
    assert edit_distance(said, meant) == slow_distance(said, meant)


@settings(deadline=None)
@given(TEXT, TEXT, TEXT)
def test_it_is_a_distance(first: str, second: str, third: str) -> None:
    assert edit_distance(first, first) == 0
    assert edit_distance(first, second) == edit_distance(second, first)
    assert (edit_distance(first, second) == 0) == (first == second)
    assert edit_distance(first, third) <= edit_distance(first, second) + edit_distance(second, third)


@settings(deadline=None)
@given(TEXT, TEXT)
def test_it_lies_between_the_lengths(said: str, meant: str) -> None:
    assert abs(len(said) - len(meant)) <= edit_distance(said, meant) <= max(len(said), len(meant))


@pytest.mark.parametrize(
    ("said", "meant", "distance"),
    [
        ("", "", 0),
        ("", "abc", 3),
        ("abc", "", 3),
        ("kitten", "sitting", 3),
        ("intention", "execution", 5),
        ("ab", "ba", 2),
    ],
)
def test_known_distances(said: str, meant: str, distance: int) -> None:
    assert edit_distance(said, meant) == distance


def test_anything_can_be_compared() -> None:
    assert edit_distance([1, None, "two"], [1, "two", (3,)]) == 2
    assert edit_distance(["the", "cat"], ["the", "cats", "sat"]) == 2


def test_word_accuracy_is_over_all_words_and_not_over_sentences() -> None:
    assert word_accuracy([("the cat", "the cat")]) == 1
    assert word_accuracy([("", "the cat")]) == 0
    assert word_accuracy([("the cat sat on a", "the cat sat on the mat"), ("no", "no")]) == pytest.approx(1 - 2 / 7)


def test_inventing_words_costs_more_than_there_were() -> None:
    assert word_accuracy([("a a a a", "no")]) == pytest.approx(1 - 4)
    assert word_accuracy([("a cat", ""), ("no", "no")]) == pytest.approx(1 - 2)


def test_spaces_do_not_count() -> None:
    assert word_accuracy([("  the   cat ", "the cat")]) == 1


@pytest.mark.parametrize("pairs", [[], [("", "")], [("the cat", "")], [("a", "  ")]], ids=str)
def test_accuracy_of_nothing_is_an_error(pairs: list[tuple[str, str]]) -> None:
    with pytest.raises(ValueError, match="at least one word"):
        word_accuracy(pairs)


@settings(deadline=None)
@given(
    st.lists(st.tuples(SENTENCE, SENTENCE), min_size=1, max_size=5).filter(
        lambda pairs: any(meant for _, meant in pairs)
    )
)
def test_accuracy_is_one_only_for_what_was_meant(pairs: list[tuple[str, str]]) -> None:
    assert (word_accuracy(pairs) == 1) == all(said == meant for said, meant in pairs)
    assert word_accuracy(pairs) <= 1
