"""Hours of sound in pieces that the network can take, cut where nobody speaks.

Memory is bounded by one piece, whatever comes in. A cut at a pause ends a sentence for the decoder; where somebody
speaks on for longer than a piece, neighbours overlap by a second and the decoder reads over the joint
(`runtime.LONGEST_DECODE` pieces at most).
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from transformer.audio import Floats, clean_samples
from transformer.config import HOP, MAX_PIECE_S, SAMPLE_RATE

SHORTEST_S = 4.0  # a piece is not cut shorter than this where it can be helped
PAUSE_S = 0.25
PAUSE_DB = 22.0  # a pause is so much quieter than the piece's louder parts
OVERLAP_S = 1.0
OVERLAP_FRAMES = 26  # a piece of 15 s has 376 frames, its neighbour begins at frame 350
SILENCE_DB = -65.0  # of full scale: what never gets louder is silence


@dataclass(frozen=True)
class Piece:
    """A stretch of sound, with what of it is also in its neighbours (encoder frames to drop at either end)."""

    start_s: float
    samples: Floats
    drop_before: int
    drop_after: int

    @property
    def is_silent(self) -> bool:
        """Tell whether the piece is too quiet for anything to be said in it."""
        return float(levels(self.samples).max(initial=-np.inf)) < SILENCE_DB


def levels(samples: Floats) -> Floats:
    """Return the level of every 10 ms in dB of full scale."""
    whole = samples[: len(samples) // HOP * HOP].reshape(-1, HOP)
    return (10 * np.log10((whole**2).mean(1) + 1e-12)).astype(np.float32)


def split(sound: NDArray[np.generic] | Iterable[NDArray[np.generic]]) -> Iterator[Piece]:
    """Yield pieces of at most MAX_PIECE_S. `sound` is mono at 16 kHz, whole or block by block, float or int16.

    Raises ValueError for sound of another shape or type.
    """
    limit, overlap = int(MAX_PIECE_S * SAMPLE_RATE), int(OVERLAP_S * SAMPLE_RATE)
    half = OVERLAP_FRAMES // 2
    waiting, start, joined = np.zeros(0, np.float32), 0, False
    for block in _blocks(sound, limit):
        waiting = np.concatenate([waiting, clean_samples(block)])
        while len(waiting) > limit:
            cut = find_pause(waiting[:limit])
            end = cut or limit
            yield Piece(start / SAMPLE_RATE, waiting[:end], half * joined, 0 if cut else half)
            step = cut or limit - overlap
            waiting, start, joined = waiting[step:], start + step, not cut
    if len(waiting):
        yield Piece(start / SAMPLE_RATE, waiting, half * joined, 0)


def _blocks(sound: NDArray[np.generic] | Iterable[NDArray[np.generic]], size: int) -> Iterator[NDArray[np.generic]]:
    if isinstance(sound, np.ndarray):
        if sound.ndim != 1:
            raise ValueError(f"samples must be one row of mono sound, not an array of shape {sound.shape}")
        yield from (sound[at : at + size] for at in range(0, len(sound), size))
    else:
        yield from sound


def find_pause(samples: Floats) -> int | None:
    """Return the sample in the middle of the best pause to cut at, or None where there is none.

    Among pauses the latest counts most: each of the piece's later 10 ms is worth a bit of loudness.
    """
    level = levels(samples)
    width = int(PAUSE_S * SAMPLE_RATE / HOP)
    loudest = np.lib.stride_tricks.sliding_window_view(level, width).max(1)  # of every stretch of PAUSE_S
    first = int(SHORTEST_S * SAMPLE_RATE / HOP)
    quiet = loudest[first:]
    is_pause = quiet < np.percentile(level, 90) - PAUSE_DB
    if not is_pause.any():
        return None
    worth = np.where(is_pause, np.arange(len(quiet)) * 0.02 - quiet, -np.inf)
    return (first + int(worth.argmax()) + width // 2) * HOP
