from fractions import Fraction

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from sfserver.media.source.grid import STANDARD_RATES, frame_slots, make_grid, pick_rate

MILLISECONDS = Fraction(1, 1000)
PLENTY = 10**9


def stamps(fps: Fraction, frames: int, time_base: Fraction, start: int = 0) -> np.ndarray:
    return np.array([start + round(n / fps / time_base) for n in range(frames)], dtype=np.int64)


@settings(deadline=None)
@given(
    fps=st.sampled_from(STANDARD_RATES),
    frames=st.integers(2, 2000),
    time_base=st.sampled_from([Fraction(1, 90_000), Fraction(1, 15_360), Fraction(1, 1_000_000_000)]),
    start=st.integers(-100_000, 10**9),
)
def test_constant_rates_keep_every_frame(fps: Fraction, frames: int, time_base: Fraction, start: int) -> None:
    times = stamps(fps, frames, time_base, start)
    grid = make_grid(times, time_base, 0, PLENTY)
    assert grid.shown.tolist() == list(range(frames))
    assert abs(float(grid.fps / fps) - 1) < 0.002


@settings(deadline=None)
@given(fps=st.sampled_from(STANDARD_RATES), frames=st.integers(300, 2000))
def test_millisecond_stamps_are_seen_through(fps: Fraction, frames: int) -> None:
    grid = make_grid(stamps(fps, frames, MILLISECONDS), MILLISECONDS, 0, PLENTY)
    assert (grid.fps, grid.frames, grid.constant_rate) == (fps, frames, True)


@pytest.mark.parametrize(
    ("fps", "time_base"),
    [
        (Fraction(179, 6), Fraction(1, 11_456)),
        (Fraction(15000, 1001), Fraction(1001, 15000)),
        (Fraction(25), Fraction(1, 25)),
        (Fraction(18), Fraction(1, 18_000)),
        (Fraction(7), Fraction(1, 7)),
    ],
)
@pytest.mark.parametrize("frames", [2, 5, 400])
def test_exact_rates_off_the_list_stay_exact(fps: Fraction, time_base: Fraction, frames: int) -> None:
    grid = make_grid(stamps(fps, frames, time_base), time_base, 0, PLENTY)
    assert (grid.fps, grid.frames) == (fps, frames)


def test_an_odd_rate_behind_milliseconds_keeps_every_frame() -> None:
    grid = make_grid(stamps(Fraction(179, 6), 500, MILLISECONDS), MILLISECONDS, 0, PLENTY)
    assert grid.shown.tolist() == list(range(500))
    assert abs(float(grid.fps) - 179 / 6) < 0.002


@pytest.mark.parametrize(
    ("fps", "expected"), [(120, 60), (100, 50), (90, 45), (Fraction(120_000, 1001), Fraction(60_000, 1001)), (61, 30.5)]
)
def test_faster_than_60_is_divided_evenly(fps: Fraction, expected: Fraction) -> None:
    times = stamps(Fraction(fps), 241, Fraction(1, 120_000))
    grid = make_grid(times, Fraction(1, 120_000), 0, PLENTY)
    assert grid.fps == expected
    assert grid.shown.tolist() == list(range(0, 241, 2))


@pytest.mark.parametrize(("fps", "expected"), [(1, 5), (3, 6), (Fraction(1, 2), 5), (2, 6)])
def test_slow_sources_show_each_frame_equally_often(fps: Fraction, expected: int) -> None:
    times = stamps(Fraction(fps), 20, Fraction(1, 1000))
    grid = make_grid(times, Fraction(1, 1000), 0, PLENTY)
    assert grid.fps == expected
    assert set(np.bincount(grid.shown)[:-1]) == {expected / fps}


def test_variable_rate_becomes_30_with_repeats() -> None:
    times = np.cumsum([0, *([21, 33, 55, 150] * 60)]).astype(np.int64)
    grid = make_grid(times, MILLISECONDS, 33, PLENTY)
    assert (grid.fps, grid.constant_rate) == (30, False)
    assert abs(grid.frames / 30 - times[-1] / 1000) <= 1 / 30 + 1e-9
    assert (np.diff(grid.shown) >= 0).all()


def test_gaps_in_a_constant_rate_are_filled_on_the_same_grid() -> None:
    times = np.delete(stamps(Fraction(25), 100, Fraction(1, 12_800)), [40, 41, 42])
    grid = make_grid(times, Fraction(1, 12_800), 512, PLENTY)
    assert (grid.fps, grid.frames) == (25, 100)
    assert grid.shown[38:45].tolist() == [38, 39, 39, 39, 39, 40, 41]


def test_sparse_slides_get_a_slower_grid_instead_of_a_refusal() -> None:
    times = np.array([0, 9_000, 31_000, 60_500, 75_123], dtype=np.int64)
    grid = make_grid(times, MILLISECONDS, 5000, max_frames=600)
    assert grid.fps == 5
    assert grid.frames <= 600


@settings(deadline=None)
@given(st.lists(st.integers(0, 10**5), min_size=1, max_size=60, unique=True), st.integers(0, 5000))
@example([0, 10], 0)  # 91 frames a second, halved
def test_every_grid_is_monotone_covers_the_source_and_shows_the_latest_frame(times: list[int], tail: int) -> None:
    array = np.array(sorted(times), dtype=np.int64)
    grid = make_grid(array, MILLISECONDS, tail, PLENTY)
    fps, divisor, _ = pick_rate(array, MILLISECONDS)
    assert grid.fps == fps
    slots = frame_slots(array, MILLISECONDS, fps, divisor)
    assert grid.shown[0] >= 0
    assert grid.shown[-1] == len(array) - 1
    assert all(slots[shown] <= n for n, shown in enumerate(grid.shown))
    assert all(shown + 1 == len(array) or slots[shown + 1] > n for n, shown in enumerate(grid.shown))
    length = float(Fraction(int(array[-1] - array[0])) * MILLISECONDS * grid.fps)
    rounded = 0.5 if divisor == 1 else 0.5 + 0.5 / divisor  # once, or again at the divided rate
    assert abs(grid.frames - length) <= 1 + rounded + tail / 1000 * float(grid.fps)


def test_slots_are_exact_beyond_64_bits() -> None:
    times = np.array([0, 2**45, 2**46], dtype=np.int64)
    time_base = Fraction(1, 2**31 - 1)
    fps = Fraction(60_000, 1001)
    exact = [int(t * time_base * fps + Fraction(1, 2)) for t in (0, 2**45, 2**46)]
    assert frame_slots(times, time_base, fps).tolist() == exact


def test_a_single_frame_has_a_rate() -> None:
    assert pick_rate(np.array([7], dtype=np.int64), MILLISECONDS) == (25, 1, True)
