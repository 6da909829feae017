from itertools import pairwise, product

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from tests.transformer.tiny import Floats, path_of, phones_of, say
from transformer.align import align, collapse, interleave_blanks
from transformer.tokenizer import BLANK

N_LABELS = 4  # the blank and three labels
TARGETS = st.lists(st.integers(1, N_LABELS - 1), max_size=6)
PATHS = st.lists(st.integers(0, N_LABELS - 1), max_size=12)


def make_log_probs(frames: int, seed: int) -> Floats:
    logits = np.random.default_rng(seed).normal(0, 2, (frames, N_LABELS))
    return (logits - np.log(np.exp(logits).sum(1, keepdims=True))).astype(np.float32)


def spans_of(path: tuple[int, ...]) -> list[tuple[int, int]]:
    """Return the frames [start, end) of each label on a path."""
    starts = [at for at, label in enumerate(path) if label != BLANK and (not at or label != path[at - 1])]
    ends = [next((at for at in range(start, len(path)) if path[at] != path[start]), len(path)) for start in starts]
    return list(zip(starts, ends, strict=True))


def fewest_frames(target: list[int]) -> int:
    return len(target) + sum(first == second for first, second in pairwise(target))


@settings(deadline=None, max_examples=80)
@given(frames=st.integers(1, 6), target=TARGETS, seed=st.integers(0, 1000))
def test_no_path_is_likelier(frames: int, target: list[int], seed: int) -> None:
    assume(fewest_frames(target) <= frames)
    log_probs = make_log_probs(frames, seed)
    paths = [path for path in product(range(N_LABELS), repeat=frames) if collapse(path) == target]
    best = max(paths, key=lambda path: float(log_probs[range(frames), list(path)].sum()))
    assert align(log_probs, target) == spans_of(best)


@settings(deadline=None)
@given(frames=st.integers(1, 40), target=TARGETS, seed=st.integers(0, 1000))
def test_labels_take_at_least_a_frame_each_in_order(frames: int, target: list[int], seed: int) -> None:
    assume(fewest_frames(target) <= frames)
    spans = align(make_log_probs(frames, seed), target)
    assert len(spans) == len(target)
    assert all(0 <= start < end <= frames for start, end in spans)
    for (_, end), (start, _), (label, after) in zip(spans, spans[1:], pairwise(target), strict=False):
        assert end < start if label == after else end <= start


@settings(deadline=None)
@given(frames=st.integers(1, 8), target=TARGETS, seed=st.integers(0, 100))
def test_too_few_frames_are_an_error(frames: int, target: list[int], seed: int) -> None:
    log_probs = make_log_probs(frames, seed)
    if fewest_frames(target) <= frames:
        assert len(align(log_probs, target)) == len(target)
    else:
        with pytest.raises(ValueError, match=f"{len(target)} labels do not fit into {frames} frames"):
            align(log_probs, target)


def test_no_frames_hold_nothing_and_no_label() -> None:
    none = np.zeros((0, N_LABELS), np.float32)
    assert align(none, []) == []
    with pytest.raises(ValueError, match="1 labels do not fit into 0 frames"):
        align(none, [1])


@pytest.mark.parametrize(
    ("path", "spans"),
    [
        ([1, 0, 1], [(0, 1), (2, 3)]),
        ([1, 1, 0, 0, 1, 1, 1], [(0, 2), (4, 7)]),
        ([0, 2, 0, 2, 0, 2, 0], [(1, 2), (3, 4), (5, 6)]),
        ([3, 3, 2, 2, 0, 2, 0, 0, 1], [(0, 2), (2, 4), (5, 6), (8, 9)]),
        ([1, 2, 1, 2], [(0, 1), (1, 2), (2, 3), (3, 4)]),
    ],
    ids=str,
)
def test_a_plain_path_is_found_again(path: list[int], spans: list[tuple[int, int]]) -> None:
    assert align(say(path, N_LABELS), collapse(path)) == spans


def test_equal_neighbours_are_kept_apart_where_nothing_says_so() -> None:
    spans = align(say([1] * 9, N_LABELS), [1, 1])
    assert len(spans) == 2
    assert spans[1][0] - spans[0][1] == 1


@pytest.mark.parametrize("frames", [1, 2, 30])
def test_nothing_said_has_no_frames(frames: int) -> None:
    assert align(make_log_probs(frames, 0), []) == []


def test_a_label_that_is_impossible_does_not_fit() -> None:
    log_probs = make_log_probs(5, 0)
    log_probs[:, 2] = -np.inf
    assert len(align(log_probs, [1, 3])) == 2
    with pytest.raises(ValueError, match="do not fit"):
        align(log_probs, [1, 2])


def test_a_minute_is_aligned_to_the_frame() -> None:
    text = "see the two cats no ten nine " * 12
    path = path_of(text, frames=3, blanks=2)
    assert align(say(path, 40), collapse(path)) == spans_of(tuple(path))
    assert collapse(path)[:4] == phones_of("S IY DH AH")


# --- paths and labels ---


@given(PATHS, st.integers(2, 4))
def test_holding_a_label_longer_changes_nothing(path: list[int], times: int) -> None:
    assert collapse([label for label in path for _ in range(times)]) == collapse(path)


@given(PATHS)
def test_blanks_between_all_frames_keep_every_label(path: list[int]) -> None:
    assert collapse([state for label in path for state in (label, BLANK)]) == [label for label in path if label]


@given(PATHS, PATHS)
def test_a_blank_parts_a_path_in_two(first: list[int], second: list[int]) -> None:
    assert collapse([*first, BLANK, *second]) == collapse(first) + collapse(second)


@given(PATHS)
def test_labels_without_equal_neighbours_are_their_own_path(path: list[int]) -> None:
    labels = collapse(path)
    assume(all(first != second for first, second in pairwise(labels)))
    assert collapse(labels) == labels


@given(TARGETS)
def test_states_are_the_labels_with_blanks_around_each(target: list[int]) -> None:
    states = interleave_blanks(target)
    assert states[1::2] == target
    assert set(states[::2]) == {BLANK}
    assert collapse(states) == target
