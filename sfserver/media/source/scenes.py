"""How good a picture is as the one that stands for a video: sharp, well exposed, and not caught in a transition."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Luma = NDArray[np.float32]

_PLAIN_SPREAD, _PLAIN_WEIGHT = 0.035, 1e-3
_DARK, _BRIGHT = 0.02, 0.98
_BEST_MEAN, _FULL_SPREAD = 0.45, 0.18
# The luma a picture gains or loses as a whole: that much is exposure at work, that much a flash or a fade.
_STEADY_SHIFT, _FLASH_SHIFT = 0.02, 0.10
# A pixel changes if it does so by more than noise, and in a straight line if it is that close to halfway in between.
# Of real footage that moves, up to a quarter of the picture does so by chance, of dissolves a third and more.
_NOISE, _STRAIGHT = 0.03, 0.35
_STRAIGHT_MOTION, _STRAIGHT_DISSOLVE = 0.2, 0.5
# Where nothing is known of what comes after.
_UNKNOWN_STEADINESS = 0.75
_TIE = 0.95


@dataclass(frozen=True)
class Look:
    """What is measured of a picture; all but `sharpness` lie in 0–1.

    `sharpness` is the mean squared gradient of luma a pixel, comparable between pictures of one size.
    """

    sharpness: float
    exposure: float
    spread: float
    steadiness: float

    @property
    def plain(self) -> bool:
        """Whether there is nothing to see: black, white, one colour, or noise on one of them."""
        return self.spread < _PLAIN_SPREAD


def measure(luma: Luma, later: Sequence[Luma]) -> Look:
    """Measure a picture of (height, width) luma, 0 black to 1 white, and the pictures shortly after it."""
    return Look(_sharpness(luma), _exposure(luma), float(luma.std()), _steadiness(luma, later))


def rate(looks: Sequence[Look]) -> list[float]:
    """Rate the candidates of one video, higher is better: sharpness × exposure × steadiness.

    A product, because one bad property spoils a picture whatever the others are. Sharpness counts relative to the
    candidates' median s̃, as s / (s + s̃): blur is told within any kind of footage, while a picture of leaves doesn't
    win over one of a face by its detail alone. Plain pictures are left for the case that there is nothing else.
    """
    median = float(np.median([look.sharpness for look in looks])) or 1.0
    return [
        look.sharpness / (look.sharpness + median) * look.exposure * look.steadiness
        * (_PLAIN_WEIGHT if look.plain else 1.0)
        for look in looks
    ]  # fmt: skip


def pick(ratings: Sequence[float]) -> int:
    """Return the index of the best of candidates in order of time; among near-ties the first third goes first."""
    best, third = max(ratings), len(ratings) / 3
    near = [n for n, rating in enumerate(ratings) if rating >= _TIE * best]
    return min(near, key=lambda n: (n >= third, -ratings[n], n))


def _sharpness(luma: Luma) -> float:
    across, down = np.diff(luma, axis=1), np.diff(luma, axis=0)
    return float(np.mean(across * across) + np.mean(down * down))


def _exposure(luma: Luma) -> float:
    """Rate the mean (best a little below the middle, as in photographs), the spread, and what is not clipped."""
    mean = 1 - ((float(luma.mean()) - _BEST_MEAN) / (1 - _BEST_MEAN)) ** 2
    spread = min(1.0, float(luma.std()) / _FULL_SPREAD)
    clipped = float(np.mean((luma < _DARK) | (luma > _BRIGHT)))
    return max(0.05, mean) * spread * (1 - clipped / 2)


def _steadiness(luma: Luma, later: Sequence[Luma]) -> float:
    """Rate how little happens just after the picture: 1 nothing, near 0 a transition.

    Three signs, the worst counts. A flash or a fade makes the whole picture lighter or darker. After a cut nothing is
    where it was (which fast motion, blurred as it is, comes near to). And in a dissolve each pixel goes straight from
    one scene's value to the other's, so that the middle picture is the mean of its neighbours; under motion it isn't.
    """
    if not later:
        return _UNKNOWN_STEADINESS
    small, rest = _halve(luma), [_halve(other) for other in later]
    signs = [_ramp(abs(float(other.mean() - small.mean())), _STEADY_SHIFT, _FLASH_SHIFT) for other in rest]
    if len(rest) > 1:
        signs.append(_dissolve(small, rest[0], rest[1]))
    moves = max(_change(small, other) for other in rest)
    return min(1 - 0.9 * max(signs), 1 - 0.6 * moves)


def _change(one: Luma, other: Luma) -> float:
    """Return 0 for equal pictures, 1 for pictures that have nothing to do with each other."""
    variance = float(one.var() + other.var())
    return min(1.0, float(np.mean((one - other) ** 2)) / variance) ** 0.5 if variance > 1e-6 else 0.0


def _dissolve(first: Luma, middle: Luma, last: Luma) -> float:
    """Return the share of the picture that goes straight from `first` to `last`, 0 up to what motion does by itself."""
    change = np.abs(last - first)
    straight = (change > _NOISE) & (np.abs(first + last - 2 * middle) < _STRAIGHT * change)
    return _ramp(float(np.mean(straight)), _STRAIGHT_MOTION, _STRAIGHT_DISSOLVE)


def _ramp(value: float, low: float, high: float) -> float:
    return min(1.0, max(0.0, (value - low) / (high - low)))


def _halve(luma: Luma) -> Luma:
    """Average 2 × 2 pixels, which takes most of the noise and keeps what the eye calls an edge."""
    height, width = (side // 2 * 2 for side in luma.shape)
    whole = luma[:height, :width]
    corners = whole[::2, ::2] + whole[1::2, ::2] + whole[::2, 1::2] + whole[1::2, 1::2]
    return np.asarray(corners / 4, np.float32)
