"""Encode the sound: one AAC run for all rungs, handed over in parts as it gets along."""

from collections.abc import Callable
from dataclasses import asdict, dataclass
from fractions import Fraction
from itertools import count
from pathlib import Path

import av
from av.audio.codeccontext import AudioCodecContext
from av.audio.frame import AudioFrame
from av.codec.context import Flags

from sfserver.media.contract import AudioFacts, AudioPlan, AudioResult, ChunkSpec, EncodePlan, MediaLimits, TrackPart
from sfserver.media.encode.chunks import audio_part_ends, gop_count
from sfserver.media.mp4.fragments import Sample, build_fragment
from sfserver.media.mp4.joining import describe_part, read_back
from sfserver.media.mp4.movie import AUDIO_TRACK
from sfserver.media.sandbox.calls import sandboxed
from sfserver.media.sandbox.throttle import Report, Throttle
from sfserver.media.source.open import media_errors, open_source
from sfserver.media.source.timeline import FRAME_SAMPLES, Samples, Timeline

SAMPLE_RATE = 48_000
_BPS_PER_CHANNEL = 64_000
_MIN_BPS = 24_000


@dataclass(frozen=True)
class AudioArguments:
    """What `run_audio` needs; the first `skip_parts` parts are recorded already."""

    source: Path
    plan: EncodePlan
    skip_parts: int
    limits: MediaLimits


@sandboxed
def run_audio(asked: AudioArguments, workdir: Path, report: Report) -> AudioResult:
    """Encode the sound; report each finished part as {"part", "index"}."""
    indices = count(asked.skip_parts)

    def on_part(part: TrackPart) -> None:
        report({"part": asdict(part), "index": next(indices)})

    return encode_audio(
        asked.source, asked.plan, workdir, report, on_part, skip_parts=asked.skip_parts, limits=asked.limits
    )


def plan_audio(facts: AudioFacts, stream_index: int, chunks: list[ChunkSpec], fps: Fraction, gop: int) -> AudioPlan:
    """Plan the AAC track: mono stays mono, all else becomes stereo, at no more bits than the source has.

    The track ends with the picture: as many AAC frames as fit whole, so that the picture is the longer of the two
    and the duration stays exact. A longer source loses its rest, a shorter one is padded with silence.
    """
    channels = 1 if facts.channels == 1 else 2
    most = _BPS_PER_CHANNEL * channels
    frames = chunks[-1].end_frame
    return AudioPlan(
        stream_index=stream_index,
        bitrate_bps=max(_MIN_BPS, min(most, facts.bitrate_bps or most)),
        sample_rate=SAMPLE_RATE,
        channels=channels,
        frames=max(1, int(frames / fps * SAMPLE_RATE / FRAME_SAMPLES)),
        part_ends=audio_part_ends(frames, gop),
    )


def gop_bounds(plan: EncodePlan, audio: AudioPlan) -> list[int]:
    """Return the first AAC frame of each GOP, and the end: a frame belongs to the GOP it starts in.

    A last GOP too short for that gets the last frame all the same, so that every GOP has sound.
    """
    per_gop = Fraction(plan.gop_frames * plan.fps.den * audio.sample_rate, plan.fps.num * FRAME_SAMPLES)
    starts = (-(-k * per_gop // 1) for k in range(gop_count(plan.frames, plan.gop_frames)))
    return [*(min(start, audio.frames - 1) for start in starts), audio.frames]


def encode_audio(
    source: Path,
    plan: EncodePlan,
    workdir: Path,
    report: Report,
    on_part: Callable[[TrackPart], None],
    *,
    skip_parts: int = 0,
    limits: MediaLimits | None = None,
) -> AudioResult:
    """Encode the whole track, calling `on_part` for each part of `plan.audio.part_ends` once its file is complete.

    Parts below `skip_parts` were handed over by an earlier run: they are encoded again (the encoder has memory) but
    not written. `report` gets `{"audio_s": seconds encoded}`. Raises ValueError if the plan has no audio.
    """
    audio = plan.audio
    if audio is None:
        raise ValueError("the plan has no audio")
    throttle, writer = Throttle(report), _PartWriter(plan, audio, workdir, on_part)
    writer.skip = skip_parts
    timeline = Timeline(audio, Fraction(plan.origin.num, plan.origin.den))
    with media_errors(), open_source(source, limits or MediaLimits()) as container:
        stream = next(s for s in container.streams.audio if s.index == audio.stream_index)
        stream.codec_context.thread_count = 1
        for block in timeline.blocks(container, stream):
            writer.encode(block)
            throttle(lambda: {"audio_s": writer.encoded * FRAME_SAMPLES / audio.sample_rate})
        writer.finish()
    silence_s = timeline.silence / audio.sample_rate
    return AudioResult(len(audio.part_ends), audio.frames, silence_s, timeline.damaged_s)


class _PartWriter:
    """Encode blocks of 1024 samples and cut the packets into a fragment per GOP and a file per part."""

    def __init__(self, plan: EncodePlan, audio: AudioPlan, workdir: Path, on_part: Callable[[TrackPart], None]) -> None:
        self._audio, self._workdir, self._on_part = audio, workdir, on_part
        self._bounds = gop_bounds(plan, audio)
        self._context = open_aac(audio)
        self._layout = "mono" if audio.channels == 1 else "stereo"
        self._packets = 0
        self._samples: list[Sample] = []
        self._fragments: list[bytes] = []
        self._gop = self._part = 0
        self.skip = 0
        self.encoded = 0

    def encode(self, block: Samples) -> None:
        """Encode one AAC frame's worth of samples, (channels, 1024)."""
        frame = AudioFrame.from_ndarray(block, "fltp", self._layout)
        frame.sample_rate = self._audio.sample_rate
        frame.time_base = Fraction(1, self._audio.sample_rate)
        frame.pts = self.encoded * FRAME_SAMPLES
        self.encoded += 1
        self._take(frame)

    def finish(self) -> None:
        """Encode what the encoder still holds."""
        self._take(None)

    def _take(self, frame: AudioFrame | None) -> None:
        for packet in self._context.encode(frame):
            self._packets += 1
            # The first packet only primes the decoder; without it no edit list is needed, at the price of a
            # 21 ms fade-in.
            if self._packets == 1:
                continue
            self._samples.append(Sample(bytes(packet), FRAME_SAMPLES, 0, True))
            if self._packets - 1 == self._bounds[self._gop + 1]:
                self._end_gop()

    def _end_gop(self) -> None:
        fragment = build_fragment(
            track_id=AUDIO_TRACK,
            sequence=2 * self._gop + 2,
            base_decode_time=self._bounds[self._gop] * FRAME_SAMPLES,
            samples=self._samples,
        )
        self._fragments.append(fragment)
        self._samples = []
        self._gop += 1
        if self._gop == self._audio.part_ends[self._part]:
            self._end_part()

    def _end_part(self) -> None:
        if self._part >= self.skip:
            path = self._workdir / f"audio.{self._part}.m4s"
            path.write_bytes(b"".join(self._fragments))
            self._on_part(self._describe(path))
        self._part, self._fragments = self._part + 1, []

    def _describe(self, path: Path) -> TrackPart:
        first = self._gop - len(self._fragments)
        fragments = [read_back(data, track_id=AUDIO_TRACK, gop=gop) for gop, data in enumerate(self._fragments, first)]
        return describe_part(path.name, fragments, first_gop=first, codec_config=self._context.extradata or b"")


def open_aac(audio: AudioPlan) -> AudioCodecContext:
    """Open the AAC encoder (low complexity, one thread)."""
    context = av.CodecContext.create("aac", "w")
    assert isinstance(context, AudioCodecContext)
    context.sample_rate, context.format = audio.sample_rate, "fltp"
    context.layout = "mono" if audio.channels == 1 else "stereo"
    context.bit_rate = audio.bitrate_bps
    context.time_base = Fraction(1, audio.sample_rate)
    context.thread_count = 1
    context.flags |= Flags.global_header
    context.open()
    return context
