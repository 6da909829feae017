"""Segments are whole fragments of one chunk, and never last longer than what was promised before the encode."""

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sfserver.media.mp4.segments import (
    Segment,
    SegmentRule,
    average_bps,
    cut_iframes,
    cut_segments,
    peak_bps,
    target_duration_s,
)
from sfserver.media.mp4.tracks import FragmentIndex

RULES = st.builds(SegmentRule, st.integers(1, 4), st.integers(0, 4))
CHUNK = st.lists(st.tuples(st.integers(1, 2**31), st.integers(1, 2**31)), min_size=1, max_size=9)
RATES = [Fraction(25), Fraction(25, 2), Fraction(30), Fraction(24000, 1001), Fraction(60000, 1001), Fraction(1)]


def index_of(chunk: list[tuple[int, int]]) -> FragmentIndex:
    sizes, ticks = (np.array(column, np.uint32) for column in zip(*chunk, strict=True))
    return FragmentIndex(sizes, ticks, sizes // 2 + 1)


@given(RULES, st.integers(0, 9), CHUNK, st.integers(0, 2**40))
def test_segments_are_the_whole_chunk_and_nothing_else(
    rule: SegmentRule, first_gop: int, chunk: list[tuple[int, int]], start: int
) -> None:
    segments = cut_segments(index_of(chunk), 1000, rule, first_gop=first_gop, start=start)
    at = start
    for segment in segments:
        assert segment.offset == at
        at += segment.length
    assert at == start + sum(size for size, _ in chunk)
    assert sum(segment.duration_s for segment in segments) == Fraction(sum(ticks for _, ticks in chunk), 1000)


@given(RULES, st.lists(st.integers(1, 9), min_size=1, max_size=8))
def test_opening_segments_are_one_gop_and_none_holds_more_than_the_rule_says(
    rule: SegmentRule, chunks: list[int]
) -> None:
    gop = 0
    for fragments in chunks:
        firsts = rule.firsts(gop, fragments)
        assert firsts[0] == 0
        ends = [*firsts[1:], fragments]
        for first, end in zip(firsts, ends, strict=True):
            opens = gop + first < rule.opening_gops
            assert 1 <= end - first <= (1 if opens else rule.gops)
            # Shorter than the rule says only where the chunk ends.
            assert opens or end - first == rule.gops or end == fragments
        gop += fragments


@pytest.mark.parametrize(
    ("opening", "chunks", "expected"),
    [
        (3, [1, 1, 1, 2, 5], [[0], [0], [0], [0], [0, 2, 4]]),
        (3, [3, 15], [[0, 1, 2], [0, 2, 4, 6, 8, 10, 12, 14]]),
        (3, [5], [[0, 1, 2, 3]]),
        (1, [1, 3], [[0], [0, 2]]),
        (0, [1, 2, 3], [[0], [0], [0, 2]]),
    ],
)
def test_where_segments_begin(opening: int, chunks: list[int], expected: list[list[int]]) -> None:
    rule, firsts = SegmentRule(2, opening), np.cumsum([0, *chunks]).tolist()
    assert [rule.firsts(first, count) for first, count in zip(firsts, chunks, strict=False)] == expected


@given(CHUNK, st.integers(0, 2**40))
def test_an_iframe_is_the_front_of_each_fragment_and_lasts_to_the_next(
    chunk: list[tuple[int, int]], start: int
) -> None:
    iframes = cut_iframes(index_of(chunk), 1000, start=start)
    at = start
    for iframe, (size, ticks) in zip(iframes, chunk, strict=True):
        assert iframe == Segment(Fraction(ticks, 1000), at, size // 2 + 1)
        at += size


@given(st.sampled_from(RATES) | st.fractions(1, 120, max_denominator=1001), st.integers(1, 3))
def test_no_segment_of_the_picture_lasts_longer_than_the_target(fps: Fraction, gops: int) -> None:
    gop = max(1, round(2 * fps))
    target = target_duration_s(gop, fps, SegmentRule(gops))
    longest_s = gops * gop / fps
    # RFC 8216, 4.3.3.1: rounded to the nearest integer, no duration may be more.
    assert int(longest_s + Fraction(1, 2)) <= target
    assert target >= 1
    assert target - 1 < longest_s + Fraction(1, 2)


@pytest.mark.parametrize("fps", RATES)
def test_no_segment_of_the_sound_lasts_longer_than_the_target(fps: Fraction) -> None:
    gop_s = max(1, round(2 * fps)) / fps
    target = target_duration_s(max(1, round(2 * fps)), fps, SegmentRule(2))
    # A frame belongs to the GOP that it begins in, so a segment may hold one frame's length more than its GOPs.
    bounds = [-(-n * gop_s * 48_000 // 1024) * 1024 for n in range(2000)]
    longest_s = max(Fraction(int(b - a), 48_000) for a, b in zip(bounds, bounds[2:], strict=False))
    assert int(longest_s + Fraction(1, 2)) <= target


def segment(duration_s: float, length: int) -> Segment:
    return Segment(Fraction(duration_s), 0, length)


def test_a_short_tail_is_no_peak_of_its_own() -> None:
    tail = [segment(4, 4000), segment(4, 4000), segment(0.5, 2000)]
    assert peak_bps(tail, 4) == round(8 * 6000 / 4.5)
    assert peak_bps([segment(0.25, 1000)], 4) == average_bps([segment(0.25, 1000)]) == 32_000
    assert peak_bps([], 4) == average_bps([]) == 0


def test_half_a_target_is_long_enough_for_a_peak_and_one_and_a_half_still_is() -> None:
    assert peak_bps([segment(2, 4000), segment(4, 1000)], 4) == 16_000
    assert peak_bps([segment(1.9, 4000), segment(4.1, 1000)], 4) == round(8 * 5000 / 6)
    assert peak_bps([segment(1.9, 4000), segment(4.2, 1000)], 4) == round(8 * 1000 / 4.2)


@given(st.lists(st.builds(segment, st.floats(0.1, 20), st.integers(1, 10**9)), min_size=1, max_size=30))
def test_a_peak_is_a_rate_of_some_run_and_at_least_that_of_each_long_one(segments: list[Segment]) -> None:
    peak = peak_bps(segments, 4)
    assert peak >= max((average_bps([each]) for each in segments if 2 <= each.duration_s <= 6), default=0)
    assert peak <= max(average_bps([each]) for each in segments)
