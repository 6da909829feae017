"""A clip of numbered frames with a flash and a beep every second, and a reader of what a player made of it."""

import itertools
import math
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from av.audio.frame import AudioFrame
from av.video.frame import VideoFrame
from numpy.typing import NDArray

from tests.media.clips import BITS, Picture, read_number

RATE = 48_000
# How many numbers the squares can show: a longer clip starts again at 0.
NUMBERS = 1 << BITS


@dataclass(frozen=True)
class Signal:
    """What to draw: black pictures, white for 1/15 s at every full second but 0, when it beeps too."""

    seconds: int = 20
    fps: Fraction = Fraction(30)
    size: tuple[int, int] = (960, 540)
    has_sound: bool = True

    @property
    def frames(self) -> int:
        return math.floor(self.seconds * self.fps)

    @property
    def duration_s(self) -> float:
        return float(self.frames / self.fps)

    @property
    def flashes(self) -> list[int]:
        """The first white frame of each flash."""
        return [n for second in range(1, self.seconds) if (n := math.ceil(second * self.fps)) < self.frames - 1]

    def is_white(self, number: int) -> bool:
        second = math.floor(number / self.fps)
        return second >= 1 and number - math.ceil(second * self.fps) < max(2, round(self.fps / 15))

    def middle(self, number: int) -> float:
        """Return a time at which the frame is on the screen, as far as can be from its neighbours."""
        return float((number + Fraction(1, 2)) / self.fps)

    @property
    def shown(self) -> list[int]:
        """What a player reads from the pictures of the whole clip."""
        return [number % NUMBERS for number in range(self.frames)]


def make_signal_clip(path: Path, signal: Signal) -> Path:
    """Write the clip as Matroska: H.264 and, where it has sound, PCM."""
    with av.open(str(path), "w", format="matroska") as out:
        video = out.add_stream("libx264", rate=signal.fps, options={"preset": "ultrafast"})
        video.width, video.height, video.pix_fmt = *signal.size, "yuv420p"
        audio = out.add_stream("pcm_s16le", rate=RATE, layout="mono") if signal.has_sound else None
        for number in range(signal.frames):
            frame = VideoFrame.from_ndarray(_draw(number, signal), "gray").reformat(format="yuv420p")
            frame.pts, frame.time_base = number, 1 / signal.fps
            out.mux(video.encode(frame))
        out.mux(video.encode(None))
        if audio is not None:
            for block in _beeps(signal):
                out.mux(audio.encode(block))
            out.mux(audio.encode(None))
    return path


def _draw(number: int, signal: Signal) -> Picture:
    """Draw the number where `read_number` looks for it; returns (height, width) luma."""
    width, height = signal.size
    luma = np.full((height, width), 235 if signal.is_white(number) else 16, np.uint8)
    square = width // (BITS + 2)
    for bit in range(BITS):
        left = square * (bit + 1)
        luma[height // 4 : height // 4 + square, left : left + square] = 235 if number >> bit & 1 else 16
    return luma


def _beeps(signal: Signal) -> Iterator[AudioFrame]:
    t = np.arange(round(RATE * signal.duration_s))
    loud = np.zeros(len(t), bool)
    for flash in signal.flashes:
        start = round(RATE * flash / signal.fps)
        loud[start : start + RATE // 15] = True
    wave = (20_000 * np.sin(2 * np.pi * 1000 * t / RATE) * loud).astype(np.int16)
    for start in range(0, len(wave), 960):
        block = AudioFrame.from_ndarray(wave[None, start : start + 960], "s16", "mono")
        block.sample_rate, block.pts, block.time_base = RATE, start, Fraction(1, RATE)
        yield block


@dataclass(frozen=True)
class Heard:
    """What a player showed: frame numbers, their presentation times, and onsets of flashes and beeps, in seconds."""

    numbers: list[int]
    times: list[float]
    flashes: list[float]
    beeps: list[float]

    def worst_offset_s(self) -> float:
        """Return the largest distance of a flash from the beep next to it."""
        return max(min(abs(beep - flash) for beep in self.beeps) for flash in self.flashes)

    def steps(self) -> set[int]:
        """Return by how much the number grows from one picture to the next."""
        return {(after - before) % NUMBERS for before, after in itertools.pairwise(self.numbers)}


def watch(path: Path | str, *, height: int | None = None, **options: str) -> Heard:
    """Decode a file or URL, of several pictures the one of `height`, and find its numbers, flashes and beeps."""
    seen: list[tuple[float, int, bool]] = []
    blocks: list[tuple[float, NDArray[np.float64], int]] = []
    with av.open(str(path), options=options) as container:
        videos = [stream for stream in container.streams.video if height in {None, stream.height}]
        for frame in container.decode(videos[0], *container.streams.audio[:1]):
            if isinstance(frame, VideoFrame):
                luma = read_luma(frame)
                seen.append((_time(frame), read_number(luma), bool(luma.mean() > 128)))
            elif isinstance(frame, AudioFrame):
                blocks.append((_time(frame), _mono(frame), frame.sample_rate))
    seen.sort(key=lambda each: each[0])
    whites = [white for _, _, white in seen]
    flashes = [at for (at, _, white), before in zip(seen, [False, *whites], strict=False) if white and not before]
    return Heard([number for _, number, _ in seen], [at for at, _, _ in seen], flashes, _onsets(blocks))


def read_luma(frame: VideoFrame) -> Picture:
    """Return the frame's luma, (height, width)."""
    return frame.to_ndarray(format="gray").astype(np.uint8)


def _time(frame: VideoFrame | AudioFrame) -> float:
    assert frame.time is not None
    return frame.time


def _mono(frame: AudioFrame) -> NDArray[np.float64]:
    samples: NDArray[np.float64] = frame.to_ndarray().astype(np.float64)
    if not frame.format.is_planar:
        samples = samples.reshape(-1, len(frame.layout.channels)).T
    scale = 1.0 if frame.format.name.startswith("flt") else 32768.0
    loudness: NDArray[np.float64] = np.abs(samples[0]) / scale
    return loudness


def _onsets(blocks: list[tuple[float, NDArray[np.float64], int]]) -> list[float]:
    """Return where it gets loud after at least half a second of quiet."""
    if not blocks:
        return []
    times = np.concatenate([at + np.arange(len(wave)) / rate for at, wave, rate in blocks])
    loud = times[np.concatenate([wave for _, wave, _ in blocks]) > 0.2]
    return [float(at) for at in loud[np.diff(loud, prepend=-1.0) > 0.5]]
