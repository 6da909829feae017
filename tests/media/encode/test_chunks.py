from fractions import Fraction
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sfserver.media.encode.chunks import audio_part_ends, gop_count, gop_length, plan_chunks


@settings(deadline=None)
@given(
    frames=st.integers(1, 30_000),
    gop=st.integers(4, 120),
    keyframes=st.sets(st.integers(0, 30_000), max_size=80),
)
def test_chunks_cover_all_frames_and_cut_behind_keyframes(frames: int, gop: int, keyframes: set[int]) -> None:
    chunks = plan_chunks(frames, gop, keyframes)
    assert [c.index for c in chunks] == list(range(len(chunks)))
    assert [chunks[0].start_frame, *(c.end_frame for c in chunks)] == [0, *(c.start_frame for c in chunks[1:]), frames]
    for chunk in chunks[1:]:
        assert chunk.start_frame % gop == 0
        assert any(0 <= chunk.start_frame - key < gop for key in keyframes)
    assert len(chunks) == 1 or all(c.end_frame - c.start_frame >= gop for c in chunks)


def test_chunks_start_short_and_settle() -> None:
    chunks = plan_chunks(60 * 30, 60, range(0, 60 * 30, 30))
    assert [(c.end_frame - c.start_frame) // 30 for c in chunks] == [2, 4, 8, 12, 12, 12, 10]


@settings(deadline=None)
@given(frames=st.integers(1, 3000), gop=st.integers(4, 60), keyframes=st.sets(st.integers(0, 3000), max_size=20))
def test_each_chunk_knows_the_bytes_of_its_span(frames: int, gop: int, keyframes: set[int]) -> None:
    sizes = np.arange(frames) % 97
    for chunk in plan_chunks(frames, gop, keyframes, sizes):
        assert chunk.source_bytes == sizes[chunk.start_frame : chunk.end_frame].sum()


def test_one_keyframe_makes_one_chunk() -> None:
    assert len(plan_chunks(100_000, 50, [0])) == 1


def test_a_short_tail_joins_the_chunk_before_it() -> None:
    assert [c.end_frame for c in plan_chunks(99, 50, range(0, 99, 10))] == [99]
    assert [c.end_frame for c in plan_chunks(100, 50, range(0, 100, 10))] == [50, 100]


@pytest.mark.parametrize(("fps", "gop"), [(Fraction(25, 2), 25), (Fraction(30000, 1001), 60), (60, 120), (5, 10)])
def test_a_gop_is_two_seconds(fps: Fraction, gop: int) -> None:
    assert gop_length(Fraction(fps)) == gop


@settings(deadline=None)
@given(frames=st.integers(1, 20_000), gop=st.integers(4, 120))
def test_audio_parts_begin_with_the_first_chunk_and_cover_all(frames: int, gop: int) -> None:
    chunks = plan_chunks(frames, gop, range(0, frames, gop))
    ends = audio_part_ends(chunks, frames, gop)
    assert ends[0] == gop_count(chunks[0].end_frame, gop)
    assert ends[-1] == gop_count(frames, gop)
    assert ends == sorted(set(ends))
    assert all(b - a <= 15 for a, b in pairwise(ends))
