"""Candidates for a poster: a few pictures spread over the video, for as little decoding as can be."""

from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from fractions import Fraction
from itertools import chain
from pathlib import Path

import av
import numpy as np
from av.video.frame import VideoFrame

from sfserver.media.contract import EncodePlan, MediaLimits, Rung
from sfserver.media.sandbox.throttle import Report, Throttle
from sfserver.media.source.decode import (
    TimedFrame,
    decode_from,
    decode_ordinals,
    prepare_decoder,
)
from sfserver.media.source.grid import Times
from sfserver.media.source.open import open_source
from sfserver.media.source.picture import Scaler, deinterlace
from sfserver.media.source.scenes import Luma

CANDIDATES = 12
# The ends of a video are titles, credits and fades.
_MARGIN = 0.05
# Two later pictures, so far apart, tell whether one is in a transition: dissolves take about a second.
_LATER_S = 0.15
# Frames of 1080p that may be decoded in all; fewer of larger ones.
_MOST_FRAMES, _LEAST_FRAMES, _USUAL_PIXELS = 600, 120, 1920 * 1080
# Frames a decoder may hold back before it gives the first (H.264 and HEVC: 16).
_MOST_DELAY = 16
_SEEK_MARGIN_S = Fraction(1, 2)


@dataclass(frozen=True)
class Shot:
    """Output frame `number`, its source time, and the source times of the two pictures shortly after it."""

    number: int
    time: int
    later: tuple[int, ...]


@dataclass(frozen=True)
class Still:
    """A candidate: its pictures, largest first, the luma of the smallest, and the lumas of those shortly after it."""

    number: int
    pictures: list[VideoFrame]
    luma: Luma
    later: list[Luma]


def frame_budget(width: int, height: int) -> int:
    """Return how many frames of this size may be decoded in all."""
    return max(_LEAST_FRAMES, min(_MOST_FRAMES, _MOST_FRAMES * _USUAL_PIXELS // max(1, width * height)))


def plan_shots(rows: Times, plan: EncodePlan, budget: int, *, on_keyframes: bool) -> list[list[Shot]]:
    """Choose evenly spread output frames, in groups of those that are decoded from the same keyframe.

    With `on_keyframes` one stands in for a frame that is nearer to it than to the next candidate. Where keyframes lie
    so far apart that reaching every frame would take decoding more than `budget`, the frames move towards theirs.
    """
    fps = Fraction(plan.fps.num, plan.fps.den)
    last, step = len(rows) - 1, max(1, round(_LATER_S * fps))
    end = max(_MARGIN * last, min((1 - _MARGIN) * last, last - 2 * step))
    numbers = np.rint(np.linspace(_MARGIN * last, end, CANDIDATES)).astype(np.int64)
    firsts = np.zeros(1, dtype=np.int64)
    if not plan.picture.sequential:
        firsts = np.concatenate([firsts, np.flatnonzero(np.diff(rows[:, 1])) + 1])
    if on_keyframes and not plan.picture.sequential:
        numbers = _snap(numbers, firsts[rows[firsts, 0] == rows[firsts, 1]], last)
    # Showing a source frame once more costs nothing: what counts is distinct ones.
    ordinals = np.concatenate([[0], np.cumsum(np.diff(rows[:, 0]) != 0)])
    keys = firsts[np.searchsorted(firsts, numbers, side="right") - 1]
    allowance = max(1, budget // len(np.unique(keys)) - 2 * step)
    groups = []
    for key in np.unique(keys):
        reach = ordinals[numbers[keys == key]] - ordinals[key]
        reach = np.rint(reach * min(1.0, allowance / max(1, int(reach[-1])))).astype(np.int64)
        chosen = np.unique(np.searchsorted(ordinals, ordinals[key] + reach))
        groups.append([_shot(rows, int(number), step) for number in chosen])
    return groups


def _snap(numbers: Times, keyframes: Times, last: int) -> Times:
    """Replace the numbers that have a keyframe within half their spacing."""
    inner = keyframes[(keyframes >= _MARGIN * last) & (keyframes <= (1 - _MARGIN) * last)]
    if not len(inner):
        return numbers
    after = np.minimum(np.searchsorted(inner, numbers), len(inner) - 1)
    before = np.maximum(after - 1, 0)
    nearest = np.where(numbers - inner[before] < inner[after] - numbers, inner[before], inner[after])
    return np.where(np.abs(nearest - numbers) * 2 * CANDIDATES <= last, nearest, numbers)


def _shot(rows: Times, number: int, step: int) -> Shot:
    later = (n for n in (number + step, number + 2 * step) if n < len(rows))
    return Shot(number, int(rows[number, 0]), tuple(int(rows[n, 0]) for n in later))


class StillReader:
    """Decode the candidates of one source, as pictures of the given sizes (largest first)."""

    def __init__(
        self, source: Path, rows: Times, plan: EncodePlan, sizes: list[Rung], *, limits: MediaLimits, report: Report
    ) -> None:
        self._source, self._rows, self._plan, self._limits = source, rows, plan, limits
        self._pictures, self._look = Scaler(sizes, plan.picture), Scaler(sizes[-1:], plan.picture)
        self._report, self._progress = Throttle(report), 0.0
        self._stack, self._fresh = ExitStack(), False
        self._left = 0
        self.decoded = 0

    def read(self, *, on_keyframes: bool = True) -> list[Still]:
        """Return the candidates in order of time (`plan_shots`); empty where no frame can be decoded.

        Frames that are damaged are left out. If that leaves none, any that can be decoded near the start will do.
        """
        with self._stack:
            self._open()
            budget = frame_budget(self._video.width, self._video.height)
            groups = plan_shots(self._rows, self._plan, budget, on_keyframes=on_keyframes)
            stills: list[Still] = []
            for done, group in enumerate(groups):
                self._progress = done / len(groups)
                self._left = budget // len(groups) + _MOST_DELAY
                stills += self._read_group(group)
            return stills or list(self._read_any(budget))

    def _read_group(self, group: list[Shot]) -> Iterator[Still]:
        """Decode once through the group, in which a shot may be what comes after another one."""
        starts = {shot.time for shot in group}
        wanted = starts | {time for shot in group for time in shot.later}
        pictures: dict[int, list[VideoFrame]] = {}
        lumas: dict[int, Luma] = {}
        for time, frame in self._frames(group[0], wanted):
            if time in wanted and not frame.is_corrupt:
                if time in starts:
                    pictures[time] = self._pictures.scale(frame)
                lumas[time] = luma_of(pictures[time][-1] if time in starts else self._look.scale(frame)[0])
            if time >= max(wanted):
                break
        for shot in group:
            if shot.time in pictures:
                later = [lumas[time] for time in shot.later if time in lumas]
                yield Still(shot.number, pictures[shot.time], lumas[shot.time], later)

    def _read_any(self, budget: int) -> Iterator[Still]:
        self._left = budget
        for count, (time, frame) in enumerate(self._frames(None, None)):
            if count % (budget // CANDIDATES) == 0:
                number = int(np.searchsorted(self._rows[:, 0], time, side="right")) - 1
                pictures = self._pictures.scale(frame)
                yield Still(max(0, number), pictures, luma_of(pictures[-1]), [])

    def _frames(self, first: Shot | None, wanted: set[int] | None) -> Iterator[TimedFrame]:
        """Decode on from `first` (None: from the start), at least what is `wanted` (None: all)."""
        # The deinterlacer needs every frame.
        interlaced = self._plan.picture.deinterlace
        frames = self._seek_and_decode(first, None if interlaced else wanted)
        for time, frame in deinterlace(frames) if interlaced else frames:
            self._report(lambda: {"progress": self._progress})
            yield time, frame

    def _seek_and_decode(self, first: Shot | None, wanted: set[int] | None) -> Iterator[TimedFrame]:
        for key in self._seek_times(first):
            frames = self._decode(key, wanted)
            start = next(frames, None)
            if key is None or first is None or (start is not None and start[0] <= first.time):
                yield from () if start is None else chain([start], frames)
                return

    def _seek_times(self, first: Shot | None) -> tuple[int | None, ...]:
        """Return where to seek for a shot: its keyframe, and a little before, as MPEG-TS lands behind what is asked."""
        key = int(self._rows[first.number, 1]) if first else 0
        if first is None or self._plan.picture.sequential or key <= int(self._rows[0, 1]):
            return (None,)
        return key, key - int(_SEEK_MARGIN_S / (self._video.time_base or 1))

    def _decode(self, key: int | None, wanted: set[int] | None) -> Iterator[TimedFrame]:
        if key is None and not self._fresh:
            self._open()
        self._fresh = False
        is_wanted = wanted.__contains__ if wanted else lambda time: True
        most = 2 * self._left
        if self._plan.picture.sequential:
            frames = decode_ordinals(self._container, self._video, most)
        else:
            frames = decode_from(self._container, self._video, key, is_wanted, most)
        try:
            for time, frame in frames:
                self._left -= 1
                self.decoded += 1
                yield time, frame
                if self._left <= 0:
                    return
        except av.error.MemoryError:
            raise
        except av.error.FFmpegError:
            return  # what can't be sought is as good as damaged

    def _open(self) -> None:
        self._stack.close()
        self._container = self._stack.enter_context(open_source(self._source, self._limits))
        self._video = next(s for s in self._container.streams.video if s.index == self._plan.video_stream_index)
        prepare_decoder(self._video, self._limits)
        self._fresh = True


def luma_of(picture: VideoFrame) -> Luma:
    """Return the luma of a limited-range picture as (height, width), 0 black to 1 white."""
    plane = picture.planes[0]
    levels = np.frombuffer(memoryview(plane), np.uint8).reshape(plane.height, plane.line_size)[:, : plane.width]
    luma: Luma = ((levels.astype(np.float32) - 16) / 219).clip(0, 1)
    return luma
