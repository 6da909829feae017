"""The sound on the output's clock: sample 0 at the first picture, gaps silent, overlaps and lead-in cut off."""

from collections.abc import Iterator
from contextlib import suppress
from fractions import Fraction

import av
import numpy as np
from av.audio.frame import AudioFrame
from av.audio.resampler import AudioResampler
from av.audio.stream import AudioStream
from av.container import InputContainer
from numpy.typing import NDArray

from sfserver.media.contract import AudioPlan
from sfserver.media.source.index import read_packets

Samples = NDArray[np.float32]

FRAME_SAMPLES = 1024
# Timestamps jitter (milliseconds in Matroska); only a jump beyond this is a gap or an overlap.
_TOLERANCE_S = Fraction(40, 1000)


class Timeline:
    """Decode a sound stream onto the plan's sample clock.

    `silence` counts samples that were put in, `damaged_s` the seconds that could not be decoded.
    """

    def __init__(self, plan: AudioPlan, origin: Fraction) -> None:
        self._origin, self._rate = origin, plan.sample_rate
        self._layout = "mono" if plan.channels == 1 else "stereo"
        self._channels, self._length = plan.channels, plan.frames * FRAME_SAMPLES
        self._resampler = AudioResampler("fltp", self._layout, self._rate)
        self._given = 0  # samples given out so far
        self._at = 0  # clock position of the next sample out of the resampler
        self.silence = 0
        self.damaged_s = 0.0

    def blocks(self, container: InputContainer, stream: AudioStream) -> Iterator[Samples]:
        """Yield the plan's number of AAC frames, each (channels, 1024) float32."""
        kept = np.zeros((self._channels, 0), np.float32)
        for samples in self._whole_length(container, stream):
            kept = np.concatenate([kept, samples], axis=1)
            whole = kept.shape[1] // FRAME_SAMPLES * FRAME_SAMPLES
            for start in range(0, whole, FRAME_SAMPLES):
                yield kept[:, start : start + FRAME_SAMPLES]
            kept = kept[:, whole:]

    def _whole_length(self, container: InputContainer, stream: AudioStream) -> Iterator[Samples]:
        left = self._length
        for samples in self._gapless(container, stream):
            yield samples[:, :left]
            left -= min(left, samples.shape[1])
            if not left:
                return
        yield from self._silent(left)

    def _gapless(self, container: InputContainer, stream: AudioStream) -> Iterator[Samples]:
        """Yield samples from clock 0 on, each continuing the one before."""
        expected: Fraction | None = None
        shape: tuple[str, str, int] | None = None
        for frame in self._decode(container, stream):
            starts = self._clock(frame, expected)
            jumped = expected is None or abs(starts - expected) > _TOLERANCE_S * self._rate
            if jumped or shape != _shape(frame):
                yield from self._convert(None)
            if jumped:
                yield from self._silent(round(starts) - self._given)
                self._at, expected = round(starts), starts
            shape = _shape(frame)
            expected = (expected or starts) + Fraction(frame.samples * self._rate, frame.sample_rate)
            yield from self._convert(frame)
        yield from self._convert(None)

    def _clock(self, frame: AudioFrame, expected: Fraction | None) -> Fraction:
        if frame.pts is None or frame.time_base is None:
            return expected or Fraction(0)
        return (frame.pts * frame.time_base - self._origin) * self._rate

    def _silent(self, length: int) -> Iterator[Samples]:
        while length > 0:
            piece = min(length, self._rate)
            self._given, self.silence, length = self._given + piece, self.silence + piece, length - piece
            yield np.zeros((self._channels, piece), np.float32)

    def _convert(self, frame: AudioFrame | None) -> Iterator[Samples]:
        """Resample a frame (None: the rest, and start anew); what lies before what was given out is cut off."""
        if frame is not None:
            frame.pts = None
        try:
            pieces = self._resampler.resample(frame)
        except av.error.MemoryError:
            raise
        except av.error.FFmpegError:
            yield from self._conceal(frame)
            return
        if frame is None:
            self._resampler = AudioResampler("fltp", self._layout, self._rate)
        for piece in pieces:
            samples = np.asarray(piece.to_ndarray(), np.float32)
            late = min(max(0, self._given - self._at), samples.shape[1])
            self._at += samples.shape[1]
            self._given += samples.shape[1] - late
            yield samples[:, late:]

    def _conceal(self, frame: AudioFrame | None) -> Iterator[Samples]:
        """Put silence in place of a frame that nothing can resample: a damaged packet may announce any shape."""
        self._resampler = AudioResampler("fltp", self._layout, self._rate)
        if frame is not None and frame.sample_rate:
            self.damaged_s += frame.samples / frame.sample_rate
            end = self._at + round(frame.samples * self._rate / frame.sample_rate)
            yield from self._silent(end - self._given)
            self._at = end

    def _decode(self, container: InputContainer, stream: AudioStream) -> Iterator[AudioFrame]:
        for packet in read_packets(container, (stream,)):
            try:
                yield from stream.codec_context.decode(packet)
            except av.error.MemoryError:
                raise
            except av.error.FFmpegError:
                self.damaged_s += float((packet.duration or 0) * packet.time_base)
        with suppress(av.error.FFmpegError):
            yield from stream.codec_context.decode(None)


def _shape(frame: AudioFrame) -> tuple[str, str, int]:
    return frame.format.name, frame.layout.name, frame.sample_rate
