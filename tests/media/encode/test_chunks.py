from collections import Counter
from dataclasses import replace
from fractions import Fraction
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sfserver.media.contract import ChunkSpec, EncodePlan
from sfserver.media.encode.chunks import (
    audio_part_ends,
    encode_tasks,
    gop_count,
    gop_length,
    opening_length,
    plan_chunks,
)
from sfserver.media.mp4.segments import SegmentRule
from tests.media.encoded import make_plan

LADDER = (("1080p", 1920, 1080), ("720p", 1280, 720), ("360p", 640, 360))
OPENING_GOPS = 3
LONGEST_GOPS = 20
RUN_UP_GOPS, PRE_ROLL_GOPS = 29, 5


def lengths(chunks: list[ChunkSpec]) -> list[int]:
    return [chunk.end_frame - chunk.start_frame for chunk in chunks]


@settings(deadline=None)
@given(
    frames=st.integers(1, 30_000),
    gop=st.integers(4, 120),
    keyframes=st.sets(st.integers(0, 30_000), max_size=80),
    opening=st.integers(0, 3),
)
def test_chunks_cover_all_frames_and_cut_behind_keyframes(
    frames: int, gop: int, keyframes: set[int], opening: int
) -> None:
    chunks = plan_chunks(frames, gop, keyframes, opening_gops=opening)
    assert [c.index for c in chunks] == list(range(len(chunks)))
    assert [chunks[0].start_frame, *(c.end_frame for c in chunks)] == [0, *(c.start_frame for c in chunks[1:]), frames]
    for chunk in chunks[1:]:
        assert chunk.start_frame % gop == 0
        least = min((chunk.start_frame - key for key in {0, *keyframes} if key <= chunk.start_frame), default=frames)
        in_run_up = opening and chunk.start_frame < (RUN_UP_GOPS + 6) * gop
        assert least < gop or chunk.start_frame <= opening * gop or (in_run_up and least < (PRE_ROLL_GOPS + 1) * gop)
    assert len(chunks) == 1 or min(lengths(chunks)) >= gop
    assert not any(chunk.rungs for chunk in chunks)


@settings(deadline=None)
@given(
    frames=st.integers(1, 20_000),
    gop=st.integers(4, 60),
    keyframes=st.sets(st.integers(0, 20_000), max_size=200),
)
def test_there_is_a_whole_opening_and_nobody_waits_long_after_it_or_there_is_none(
    frames: int, gop: int, keyframes: set[int]
) -> None:
    chunks = plan_chunks(frames, gop, keyframes)
    if chunks != plan_chunks(frames, gop, keyframes, opening_gops=0):
        assert len(chunks) == 1 or lengths(chunks)[0] == OPENING_GOPS * gop or frames < (OPENING_GOPS + 1) * gop
        assert max(lengths(chunks)) <= LONGEST_GOPS * gop


@given(frames=st.integers(200, 20_000), every=st.integers(1, 500), late=st.integers(0, 100))
def test_a_source_with_a_keyframe_every_20_seconds_has_an_opening(frames: int, every: int, late: int) -> None:
    chunks = plan_chunks(frames, 50, range(late, frames, every))
    assert lengths(chunks)[0] == 50 * OPENING_GOPS
    assert OPENING_GOPS <= opening_length(chunks, 50) <= 9


@pytest.mark.parametrize("keyframes", [range(0, 1800, 30), range(0, 1800, 15), [*range(0, 1800, 30), 7, 1001]])
def test_chunks_start_short_and_settle(keyframes: range | list[int]) -> None:
    chunks = plan_chunks(60 * 30, 60, keyframes)
    assert [length // 30 for length in lengths(chunks)] == [6] + [2] * 6 + [4] * 10 + [2]
    assert opening_length(chunks, 60) == 9


def test_chunks_grow_as_what_is_ready_gets_ahead_of_what_is_played() -> None:
    seconds = [length // 30 for length in lengths(plan_chunks(600 * 30, 60, range(0, 600 * 30, 30)))]
    assert seconds[:27] == [6] + [2] * 6 + [4] * 10 + [8] * 9 + [12]
    assert set(seconds[26:-1]) == {12}


def test_the_run_up_does_not_wait_for_the_keyframes_of_a_source_with_few() -> None:
    chunks = plan_chunks(120 * 25, 50, range(0, 120 * 25, 250))
    seconds = [length // 25 for length in lengths(chunks)]
    assert seconds[:17] == [6] + [2] * 6 + [4] * 10
    assert all(chunk.start_frame % 250 == 0 for chunk in chunks[18:])


@pytest.mark.parametrize("keyframes", [[0], [0, 200], [0, 75, 130, 190], range(0, 500, 7)])
def test_the_opening_does_not_ask_where_the_source_has_its_keyframes(keyframes: list[int]) -> None:
    assert plan_chunks(500, 50, keyframes)[0].end_frame == 150


@pytest.mark.parametrize(
    ("gops", "extra", "expected"),
    [(25, 0, [3, 1, 1, 20]), (25, 1, [25]), (24, 0, [3, 1, 1, 19]), (4, 0, [3, 1]), (1800, 0, [1800])],
)
def test_a_source_of_one_keyframe_is_cut_only_where_nobody_stands_still(
    gops: int, extra: int, expected: list[int]
) -> None:
    chunks = plan_chunks(50 * gops + extra, 50, [0])
    assert [length // 50 for length in lengths(chunks)] == expected


def test_one_long_stretch_anywhere_leaves_the_opening_out() -> None:
    keyframes = [*range(0, 3000, 50), *range(5000, 8000, 50)]
    chunks = plan_chunks(8000, 50, keyframes)
    assert chunks == plan_chunks(8000, 50, keyframes, opening_gops=0)
    assert max(lengths(chunks)) > LONGEST_GOPS * 50


def test_a_sequential_source_is_one_chunk_and_has_no_opening() -> None:
    for frames in (1, 49, 500, 100_000):
        assert lengths(plan_chunks(frames, 50, [], opening_gops=0)) == [frames]


@settings(deadline=None)
@given(frames=st.integers(1, 3000), gop=st.integers(4, 60), keyframes=st.sets(st.integers(0, 3000), max_size=20))
def test_each_chunk_knows_the_bytes_of_its_span(frames: int, gop: int, keyframes: set[int]) -> None:
    sizes = np.arange(frames) % 97
    chunks = plan_chunks(frames, gop, keyframes, sizes)
    assert sum(chunk.source_bytes for chunk in chunks) == sizes.sum()
    for chunk in chunks:
        assert chunk.source_bytes == sizes[chunk.start_frame : chunk.end_frame].sum()


@pytest.mark.parametrize(
    ("frames", "ends"),
    [
        (1, [1]),
        (49, [49]),
        (50, [50]),
        (99, [99]),
        (100, [50, 100]),
        (149, [50, 149]),
        (199, [50, 100, 199]),
        (200, [150, 200]),
        (249, [150, 249]),
    ],
)
def test_a_short_tail_joins_the_chunk_before_it(frames: int, ends: list[int]) -> None:
    assert [c.end_frame for c in plan_chunks(frames, 50, range(0, frames, 10))] == ends


@pytest.mark.parametrize(("fps", "gop"), [(Fraction(25, 2), 25), (Fraction(30000, 1001), 60), (60, 120), (5, 10)])
def test_a_gop_is_two_seconds(fps: Fraction, gop: int) -> None:
    assert gop_length(Fraction(fps)) == gop


def plan_of(rungs: list[str], opening: int, chunks: list[ChunkSpec]) -> EncodePlan:
    sizes = [each for each in LADDER if each[0] in rungs]
    plan = make_plan(chunks[-1].end_frame, fps=Fraction(25), sizes=sizes, opening_gops=opening)
    rates = {"1080p": 5_000_000, "720p": 2_500_000, "360p": 1_000_000}
    return replace(plan, chunks=chunks, rungs=[replace(rung, maxrate_bps=rates[rung.name]) for rung in plan.rungs])


@given(
    rungs=st.sets(st.sampled_from([name for name, *_ in LADDER]), min_size=1),
    frames=st.integers(1, 2000),
    sizes=st.integers(0, 10**6),
    opening=st.booleans(),
)
def test_tasks_encode_every_rung_of_every_chunk_once_and_share_the_source_out(
    rungs: set[str], frames: int, sizes: int, opening: bool
) -> None:
    spent = np.random.default_rng(sizes).integers(0, 10_000, frames)
    chunks = plan_chunks(frames, 50, range(0, frames, 50), spent, opening_gops=3 if opening else 0)
    plan = plan_of(sorted(rungs), opening_length(chunks, 50) if opening else 0, chunks)
    tasks = encode_tasks(plan, chunks)
    names = [rung.name for rung in plan.rungs]
    made = Counter((task.index, name) for task in tasks for name in task.rungs or names)
    assert made == Counter((chunk.index, name) for chunk in chunks for name in names)
    for chunk in chunks:
        own = [task for task in tasks if task.index == chunk.index]
        assert sum(task.source_bytes for task in own) == chunk.source_bytes
        assert {(task.start_frame, task.end_frame) for task in own} == {(chunk.start_frame, chunk.end_frame)}
        assert len(own) == (2 if "1080p" in rungs and len(rungs) > 1 and plan.opening_gops and not chunk.index else 1)


def test_what_a_player_begins_with_is_encoded_first() -> None:
    chunks = plan_chunks(1000, 50, range(0, 1000, 50), np.full(1000, 17))
    tasks = encode_tasks(plan_of(["1080p", "720p", "360p"], 3, chunks), chunks)
    low, high = ["720p", "360p"], ["1080p"]
    assert [(task.index, task.rungs) for task in tasks] == [(0, low), (0, high)] + [
        (n, []) for n in range(1, len(chunks))
    ]
    # 3.5 of 8.5 Mbit/s, rounded down, and what is left.
    assert [task.source_bytes for task in tasks[:2]] == [1050, 1500]


@pytest.mark.parametrize("rungs", [["360p"], ["720p", "360p"], ["1080p"]])
def test_rungs_that_are_all_low_or_all_high_are_encoded_together(rungs: list[str]) -> None:
    chunks = plan_chunks(1000, 50, range(0, 1000, 50))
    assert encode_tasks(plan_of(rungs, 3, chunks), chunks) == chunks


def test_pictures_on_end_are_judged_by_their_short_side() -> None:
    chunks = plan_chunks(300, 50, range(0, 300, 50))
    sizes = [("1080p", 1080, 1920), ("720p", 720, 1280), ("360p", 360, 640)]
    plan = make_plan(300, fps=Fraction(25), sizes=sizes, opening_gops=3)
    assert [task.rungs for task in encode_tasks(plan, chunks)[:2]] == [["720p", "360p"], ["1080p"]]


@settings(deadline=None)
@given(frames=st.integers(1, 20_000), gop=st.integers(4, 120))
def test_the_first_audio_part_is_the_openings_and_the_others_are_half_minutes(frames: int, gop: int) -> None:
    ends = audio_part_ends(frames, gop)
    last = gop_count(frames, gop)
    assert (ends[0], ends[-1]) == (min(OPENING_GOPS, last), last)
    assert ends == sorted(set(ends))
    steps = [b - a for a, b in pairwise(ends)]
    assert all(step == 16 for step in steps[:-1])
    assert all(1 <= step <= 16 for step in steps)


def test_audio_part_ends_of() -> None:
    assert audio_part_ends(1, 50) == [1]
    assert audio_part_ends(150, 50) == [3]
    assert audio_part_ends(151, 50) == [3, 4]
    assert audio_part_ends(50 * 35, 50) == [3, 19, 35]
    assert audio_part_ends(50 * 35 + 1, 50) == [3, 19, 35, 36]


def test_picture_and_sound_are_cut_at_the_same_places() -> None:
    chunks = plan_chunks(120 * 25, 50, range(0, 120 * 25, 25))
    rule = SegmentRule(2, opening_length(chunks, 50))
    bounds = [0, *audio_part_ends(120 * 25, 50)]
    parts = [(first, end - first) for first, end in pairwise(bounds)]
    pictures = [(c.start_frame // 50, gop_count(c.end_frame, 50) - c.start_frame // 50) for c in chunks]
    cuts = [{first + each for first, count in runs for each in rule.firsts(first, count)} for runs in (pictures, parts)]
    assert cuts[0] == cuts[1]
