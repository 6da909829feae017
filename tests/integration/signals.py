"""A clip of numbered frames with a flash and a beep every second, and a reader of what a player made of it."""

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

FPS = 30
RATE = 48_000
SIZE = (960, 540)


def make_signal_clip(path: Path, seconds: int) -> Path:
    """Write 960x540 black pictures, white for two frames at every full second but 0, when it beeps too."""
    with av.open(str(path), "w", format="matroska") as out:
        video = out.add_stream("libx264", rate=FPS, options={"preset": "ultrafast"})
        video.width, video.height, video.pix_fmt = *SIZE, "yuv420p"
        audio = out.add_stream("pcm_s16le", rate=RATE, layout="mono")
        for number in range(FPS * seconds):
            frame = VideoFrame.from_ndarray(_draw(number), "gray").reformat(format="yuv420p")
            frame.pts, frame.time_base = number, Fraction(1, FPS)
            out.mux(video.encode(frame))
        out.mux(video.encode(None))
        for block in _beeps(seconds):
            out.mux(audio.encode(block))
        out.mux(audio.encode(None))
    return path


def is_flash(number: int) -> bool:
    return number >= FPS and number % FPS < 2


def _draw(number: int) -> Picture:
    """Draw the number where `read_number` looks for it; returns (height, width) luma."""
    width, height = SIZE
    luma = np.full((height, width), 235 if is_flash(number) else 16, np.uint8)
    square = width // (BITS + 2)
    for bit in range(BITS):
        left = square * (bit + 1)
        luma[height // 4 : height // 4 + square, left : left + square] = 235 if number >> bit & 1 else 16
    return luma


def _beeps(seconds: int) -> Iterator[AudioFrame]:
    t = np.arange(RATE * seconds)
    loud = (t % RATE < RATE // 15) & (t >= RATE)
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


def watch(path: Path | str) -> Heard:
    """Decode a file or URL and find its numbers, flashes and beeps."""
    numbers: list[int] = []
    times: list[float] = []
    bright: list[bool] = []
    blocks: list[tuple[float, NDArray[np.float64], int]] = []
    with av.open(str(path)) as container:
        for frame in container.decode(video=0, audio=0):
            if isinstance(frame, VideoFrame):
                luma = frame.to_ndarray(format="gray")
                numbers.append(read_number(luma))
                times.append(float(frame.time))
                bright.append(bool(luma.mean() > 128))
            else:
                blocks.append((float(frame.time), _mono(frame), frame.sample_rate))
    order = np.argsort(times, kind="stable")
    shown = [(times[n], bright[n]) for n in order]
    flashes = [at for n, (at, on) in enumerate(shown) if on and not (n and shown[n - 1][1])]
    return Heard([numbers[n] for n in order], [at for at, _ in shown], flashes, _onsets(blocks))


def _mono(frame: AudioFrame) -> NDArray[np.float64]:
    samples = frame.to_ndarray().astype(np.float64)
    if not frame.format.is_planar:
        samples = samples.reshape(-1, len(frame.layout.channels)).T
    scale = 1.0 if frame.format.name.startswith("flt") else 32768.0
    return np.abs(samples[0]) / scale


def _onsets(blocks: list[tuple[float, NDArray[np.float64], int]]) -> list[float]:
    """Return where it gets loud after at least half a second of quiet."""
    if not blocks:
        return []
    times = np.concatenate([at + np.arange(len(wave)) / rate for at, wave, rate in blocks])
    loud = times[np.concatenate([wave for _, wave, _ in blocks]) > 0.2]
    return [float(at) for at in loud[np.diff(loud, prepend=-1.0) > 0.5]]
