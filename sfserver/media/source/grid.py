"""The output time grid: constant-rate frames `n`, shown from `n / fps` on, and which source frame each one shows."""

from dataclasses import dataclass
from fractions import Fraction

import numpy as np
from numpy.typing import NDArray

Times = NDArray[np.int64]

MAX_FPS = 60
STANDARD_RATES = tuple(
    sorted(
        [Fraction(n) for n in (10, 12, 15, 20, 24, 25, 30, 48, 50, 60)]
        + [Fraction(25, 2), Fraction(24000, 1001), Fraction(30000, 1001), Fraction(60000, 1001)]
    )
)
# Below this a two-second GOP has too few frames to be worth one: slower sources show each frame several times.
_MIN_FPS = 5
_SPARSE_RATES = tuple(Fraction(n) for n in (15, 10, 5, 2))


@dataclass(frozen=True)
class Grid:
    """The rate and `shown[n]`, the ordinal (in presentation order) of the source frame that output frame `n` shows."""

    fps: Fraction
    shown: Times
    constant_rate: bool

    @property
    def frames(self) -> int:
        """Output frames in all."""
        return len(self.shown)


def make_grid(times: Times, time_base: Fraction, tail: int, max_frames: int) -> Grid:
    """Lay sorted distinct presentation times (ticks of `time_base`) on a constant-rate grid.

    `tail` is how long the last frame stays, in ticks. A sparse source that would fill more than `max_frames` gets a
    slower rate; the result can still be longer, which is the caller's to judge.
    """
    fps, divisor, constant = pick_rate(times, time_base)
    slower = [rate for rate in reversed(_SPARSE_RATES) if rate < fps]
    slots = frame_slots(times, time_base, fps, divisor)
    while slower and _count(slots, tail * time_base * fps) > max_frames:
        fps = slower.pop()
        slots = frame_slots(times, time_base, fps)
    numbers = np.arange(_count(slots, tail * time_base * fps), dtype=np.int64)
    return Grid(fps, np.searchsorted(slots, numbers, side="right").astype(np.int64) - 1, constant)


def frame_slots(times: Times, time_base: Fraction, fps: Fraction, divisor: int = 1) -> Times:
    """Return the grid position of each source frame: its time × rate, rounded half up, exactly.

    With a divisor that is done at `divisor` times the rate first, so that rounded times can't make the choice of
    every second or third frame uneven.
    """
    scale = time_base * fps * divisor
    offsets = times - times[0]
    if int(offsets[-1]) * 2 * scale.numerator + scale.denominator < 2**62:
        slots = np.asarray((2 * offsets * scale.numerator + scale.denominator) // (2 * scale.denominator))
        return (slots + divisor // 2) // divisor
    half_up = [(2 * int(t) * scale.numerator + scale.denominator) // (2 * scale.denominator) for t in offsets]
    return (np.array(half_up, dtype=np.int64) + divisor // 2) // divisor


def _count(slots: Times, stay: Fraction) -> int:
    # A last frame that stays for about one frame is one: its stated length is often rounded or halved (field rate).
    return int(slots[-1]) + (1 if stay < Fraction(5, 2) else round(stay))


def pick_rate(times: Times, time_base: Fraction) -> tuple[Fraction, int, bool]:
    """Choose the output rate, what the source's was divided by, and whether that is constant.

    Standard rate that explains all times, else the exact constant one, else the standard next to the median step,
    else 30 or 60. At most 60: a faster constant rate is divided by a whole number.
    """
    if len(times) < 2:
        return Fraction(25), 1, True
    exact = _constant_rate(times, time_base)
    if exact is not None:
        divisor = -(-exact // MAX_FPS)
        return exact / divisor * (-(-_MIN_FPS // exact) if exact < _MIN_FPS else 1), divisor, True
    median = Fraction(1) / (Fraction(float(np.median(np.diff(times)))) * time_base)
    nearest = min(STANDARD_RATES, key=lambda rate: abs(rate - median))
    if abs(nearest - median) <= median * Fraction(2, 100):
        return nearest, 1, False
    return Fraction(60 if median > 45 else 30), 1, False


def _constant_rate(times: Times, time_base: Fraction) -> Fraction | None:
    steps = np.diff(times)
    step = int(steps[0])
    exact = _simple(1 / (step * time_base)) if bool((steps == step).all()) else None
    # A step of a few ticks means the time base *is* the frame clock; one of many ticks is as good as exact. Between
    # the two (milliseconds) the true rate is hidden by rounding, and a standard one is the better guess.
    if exact is not None and (exact in STANDARD_RATES or step < 10 or step >= 100):
        return exact
    return _standard_rate(times, time_base) or _average_rate(times, time_base) or exact


def _standard_rate(times: Times, time_base: Fraction) -> Fraction | None:
    fitting = [rate for rate in STANDARD_RATES if _misfit(times, time_base, rate) is not None]
    if not fitting:
        return None
    # 29.97 and 30 both explain a short clip: of such neighbours the one that lies closer is meant.
    close = [rate for rate in fitting if rate <= fitting[0] * Fraction(1005, 1000)]
    return min(close, key=lambda rate: (_misfit(times, time_base, rate) or 0.0, -rate))


def _average_rate(times: Times, time_base: Fraction) -> Fraction | None:
    span = int(times[-1] - times[0])
    low, high = (Fraction(len(times) - 1) / ((span + slack) * time_base) for slack in (1, -1 if span > 1 else 0))
    rate = _simplest_between(low, high)
    return rate if _misfit(times, time_base, rate) is not None else None


def _misfit(times: Times, time_base: Fraction, rate: Fraction) -> float | None:
    """Return how far (in frames) a time lies from the grid at worst.

    None if that is too far, if two times share a slot, or if no two are neighbours (then a slower grid is meant).
    """
    offsets = (times - times[0]).astype(np.float64)
    places = offsets * (time_base.numerator * rate.numerator) / (time_base.denominator * rate.denominator)
    slots = np.floor(places + 0.5)
    worst = float(np.abs(places - slots).max())
    if worst > min(max(float(time_base * rate), 0.02), 0.25) or np.diff(slots).min() != 1:
        return None
    return worst


def _simple(rate: Fraction) -> Fraction:
    return rate if rate.numerator <= 240_000 else rate.limit_denominator(1001)


def _simplest_between(low: Fraction, high: Fraction) -> Fraction:
    """Return the fraction of smallest denominator in [low, high] (walk down the Stern-Brocot tree)."""
    whole = -(-low // 1)
    if whole <= high:
        return Fraction(whole)
    floor = low // 1
    return floor + 1 / _simplest_between(1 / (high - floor), 1 / (low - floor))
