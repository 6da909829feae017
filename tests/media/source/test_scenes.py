import numpy as np
import pytest

from sfserver.media.encode.sample import landscape
from sfserver.media.source.scenes import Look, Luma, measure, pick, rate

SIZE = (180, 320)


def scene(seed: int, size: tuple[int, int] = SIZE) -> Luma:
    return np.asarray(landscape(np.random.default_rng(seed), *size, contrast=40.0) / 255, np.float32)


def blur(luma: Luma, times: int = 6) -> Luma:
    for _ in range(times):
        luma = sum(np.roll(luma, shift, axis) for shift in (-1, 0, 1) for axis in (0, 1)) / np.float32(6)
    return luma


def mix(one: Luma, other: Luma, share: float) -> Luma:
    return np.asarray(one * (1 - share) + other * share, np.float32)


A, B = scene(1), scene(2)
SHARP = measure(A, [A, A])


@pytest.mark.parametrize(
    ("luma", "later"),
    [
        (blur(A), [blur(A), blur(A)]),
        (A * 0.15, [A * 0.15] * 2),
        ((A * 0.3 + 0.7).clip(0, 1), [(A * 0.3 + 0.7).clip(0, 1)] * 2),
        (mix(A, B, 0.4), [mix(A, B, 0.55), mix(A, B, 0.7)]),
        (mix(A, B, 0.05), [mix(A, B, 0.2), mix(A, B, 0.35)]),
        (mix(A, np.ones_like(A), 0.3), [A, A]),
        (A, [mix(A, np.zeros_like(A), 0.3), mix(A, np.zeros_like(A), 0.6)]),
        (A, [B, B]),
    ],
    ids=["blur", "dark", "bright", "dissolve", "dissolve begins", "flash", "fade", "cut"],
)
def test_what_spoils_a_picture_rates_it_well_below_a_good_one(luma: Luma, later: list[Luma]) -> None:
    worse, good = rate([measure(luma, later), SHARP])
    assert worse < 0.7 * good


def test_a_moving_camera_spoils_less_than_a_dissolve() -> None:
    wide = scene(3, (180, 420))
    panned = measure(wide[:, :320], [wide[:, 8:328], wide[:, 16:336]])
    dissolving = measure(mix(A, B, 0.2), [mix(A, B, 0.4), mix(A, B, 0.6)])
    assert dissolving.steadiness < 0.3
    assert 0.5 < panned.steadiness < SHARP.steadiness == 1


def test_plain_pictures_lose_to_any_other_and_still_have_an_order() -> None:
    black, white = (measure(np.full(SIZE, level, np.float32), []) for level in (0.0, 1.0))
    noise = measure(np.asarray(np.random.default_rng(0).normal(0.5, 0.01, SIZE), np.float32), [])
    assert black.plain and white.plain and noise.plain  # noqa: PT018
    assert pick(rate([black, white, noise, measure(blur(A), [B, B])])) == 3
    assert pick(rate([black, black])) == 0


def test_detail_alone_does_not_win() -> None:
    leaves = measure(np.asarray(np.random.default_rng(0).uniform(0.1, 0.8, SIZE), np.float32), [B, A])
    assert leaves.sharpness > 10 * SHARP.sharpness
    assert pick(rate([leaves, SHARP, SHARP])) == 1


@pytest.mark.parametrize(
    ("ratings", "chosen"),
    [
        ([0.5, 0.5, 0.5], 0),
        ([0.1, 0.98, 0.2, 0.3, 1.0, 0.5], 1),
        ([0.1, 0.9, 0.2, 0.3, 1.0, 0.5], 4),
        ([0.1, 0.2, 0.99, 0.3, 1.0, 0.5], 4),
        ([0.0], 0),
    ],
)
def test_among_near_ties_the_first_third_goes_first(ratings: list[float], chosen: int) -> None:
    assert pick(ratings) == chosen


def test_nothing_known_of_what_comes_after_is_neither_steady_nor_a_transition() -> None:
    assert 0.5 < measure(A, []).steadiness < 1
    assert Look(0.0, 0.0, 0.0, 1.0).plain
