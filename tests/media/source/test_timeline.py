"""The sound's clock where a frame of it can't be used."""

from fractions import Fraction
from pathlib import Path
from typing import Any, ClassVar

import av
import numpy as np
import pytest
from av.audio.resampler import AudioResampler

from sfserver.media.contract import AudioPlan, MediaLimits
from sfserver.media.source import timeline as timeline_module
from sfserver.media.source.open import open_source
from sfserver.media.source.timeline import FRAME_SAMPLES, Timeline
from tests.media.clips import Clip, make_clip

RATE, FRAMES = 48_000, 90


class Choosy:
    """A resampler that refuses some frames, as the real one does those of a shape it does not know."""

    refused: ClassVar[set[int]] = set()
    count = -1

    def __init__(self, *settings: Any) -> None:
        self._real = AudioResampler(*settings)

    def resample(self, frame: Any) -> Any:
        Choosy.count += frame is not None
        if frame is not None and Choosy.count in self.refused:
            raise av.error.ArgumentError(22, "Invalid argument")
        return self._real.resample(frame)


def sound(path: Path, refused: set[int], monkeypatch: pytest.MonkeyPatch) -> tuple[np.ndarray, Timeline]:
    monkeypatch.setattr(timeline_module, "AudioResampler", Choosy)
    Choosy.refused, Choosy.count = refused, -1
    timeline = Timeline(AudioPlan(1, 128_000, RATE, 2, FRAMES, [1]), Fraction(0))
    with open_source(path, MediaLimits()) as container:
        stream = container.streams.audio[0]
        return np.concatenate(list(timeline.blocks(container, stream)), axis=1), timeline


def test_a_frame_that_cannot_be_resampled_is_silence_and_moves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clip = make_clip(tmp_path / "clip.mp4", Clip(frames=50, audio="aac"))
    whole, untouched = sound(clip, set(), monkeypatch)
    damaged, timeline = sound(clip, {20}, monkeypatch)
    assert damaged.shape == whole.shape == (2, FRAMES * FRAME_SAMPLES)
    assert timeline.damaged_s - untouched.damaged_s == pytest.approx(FRAME_SAMPLES / RATE, rel=0.1)
    differs = np.flatnonzero(np.abs(damaged - whole).max(axis=0) > 1e-3)
    assert 0 < len(differs) <= 2 * FRAME_SAMPLES
    assert differs[-1] - differs[0] <= 2 * FRAME_SAMPLES
