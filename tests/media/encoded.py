"""Encoded parts as the pipeline records them, made with x264 and AAC: a white flash and a beep at every odd second."""

from base64 import b64decode
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import pairwise

import av
import numpy as np
import numpy.typing as npt
from av.audio.codeccontext import AudioCodecContext
from av.audio.frame import AudioFrame
from av.audio.stream import AudioStream
from av.codec.context import Flags
from av.packet import Packet
from av.video.codeccontext import VideoCodecContext
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from sfserver.media.contract import AudioPlan, ChunkSpec, EncodePlan, Rational, Rung, TrackPart
from sfserver.media.mp4.fragments import Sample, build_fragment
from sfserver.media.mp4.joining import describe_part, read_back
from sfserver.media.mp4.tracks import TrackTable

SOUND = "main"
SAMPLE_RATE = 48_000
AAC_FRAME = 1024
FLASH_S = 2 / 30
FAST = {"preset": "ultrafast", "crf": "30", "bf": "2", "threads": "1"}


@dataclass(frozen=True)
class Stored:
    """A part, its bytes, and where they begin in the object that holds them."""

    part: TrackPart
    data: bytes
    start: int = 0

    @property
    def object(self) -> bytes:
        """All that the object holds; what lies before the part belongs to nobody."""
        return b"\xee" * self.start + self.data

    @property
    def table(self) -> TrackTable:
        return TrackTable.unpack(b64decode(self.part.table))


@dataclass(frozen=True)
class Encoded:
    """A plan and the parts of every track, by its name."""

    plan: EncodePlan
    tracks: dict[str, list[Stored]]

    @property
    def rungs(self) -> list[str]:
        return [rung.name for rung in self.plan.rungs]


def make_plan(
    frames: int,
    *,
    fps: Fraction = Fraction(30),
    sizes: Sequence[tuple[str, int, int]] = (("360p", 160, 90),),
    opening_gops: int = 0,
    chunk_gops: int = 2,
    sound: bool = True,
) -> EncodePlan:
    """Plan chunks of one GOP for the opening and of `chunk_gops` after it."""
    timescale, gop = fps.numerator * (3000 if fps.denominator == 1 else 1), round(2 * fps)
    starts = [n * gop for n in range(opening_gops)] + list(range(opening_gops * gop, frames, chunk_gops * gop))
    starts = [start for start in starts if start == 0 or start <= frames - gop]
    gops = -(-frames // gop)
    sound_frames = max(1, int(frames / fps * SAMPLE_RATE / AAC_FRAME))
    part_ends = sorted({min(3, gops), min(6, gops), gops})
    return EncodePlan(
        fps=Rational(fps.numerator, fps.denominator),
        timescale=timescale,
        frame_ticks=int(timescale / fps),
        gop_frames=gop,
        frames=frames,
        video_stream_index=0,
        rungs=[Rung(name, width, height, 1_000_000, "libx264", FAST, "") for name, width, height in sizes],
        chunks=[ChunkSpec(i, *bounds) for i, bounds in enumerate(pairwise([*starts, frames]))],
        audio=AudioPlan(1, 96_000, SAMPLE_RATE, 2, sound_frames, part_ends) if sound else None,
        reasons=[],
        opening_gops=opening_gops,
    )


def encode(plan: EncodePlan) -> Encoded:
    """Encode the whole plan; every other object has some bytes before its part."""
    tracks = {
        rung.name: [_encode_chunk(plan, rung, spec, start=spec.index % 2 * 100) for spec in plan.chunks]
        for rung in plan.rungs
    }
    return Encoded(plan, tracks | ({SOUND: _encode_audio(plan, plan.audio)} if plan.audio else {}))


def picture(n: int, fps: Fraction, width: int, height: int) -> npt.NDArray[np.uint8]:
    """Draw frame `n`: a bright bar that moves one step a frame, white all over while it flashes."""
    if n / fps % 2 >= 1 and n / fps % 2 < 1 + FLASH_S:
        return np.full((height, width, 3), 255, np.uint8)
    image = np.full((height, width, 3), 40, np.uint8)
    x = n * 4 % (width - 8)
    image[:, x : x + 8] = (220, 120, 60)
    return image


def waveform(samples: int) -> npt.NDArray[np.float32]:
    """Draw the sound: 1 kHz while the picture flashes."""
    t = np.arange(samples) / SAMPLE_RATE
    beep = 0.5 * np.sin(2 * np.pi * 1000 * t) * ((t % 2 >= 1) & (t % 2 < 1 + FLASH_S))
    return np.stack([beep, beep]).astype(np.float32)


def _encode_chunk(plan: EncodePlan, rung: Rung, spec: ChunkSpec, *, start: int) -> Stored:
    fps = Fraction(plan.fps.num, plan.fps.den)
    encoder = av.CodecContext.create("libx264", "w")
    assert isinstance(encoder, VideoCodecContext)
    encoder.width, encoder.height, encoder.pix_fmt = rung.width, rung.height, "yuv420p"
    encoder.time_base, encoder.framerate, encoder.gop_size = 1 / fps, fps, plan.gop_frames
    encoder.flags |= Flags.global_header
    x264 = "annexb=0:stitchable=1:scenecut=0:open-gop=0:b-pyramid=none"
    keyint = f"keyint={plan.gop_frames}:min-keyint={plan.gop_frames}"
    encoder.options = {**rung.options, "x264-params": f"{x264}:{keyint}"}
    packets: list[Packet[VideoStream]] = []
    for n in range(spec.start_frame, spec.end_frame):
        frame = VideoFrame.from_ndarray(picture(n, fps, rung.width, rung.height), format="rgb24")
        frame.pts, frame.time_base = n, 1 / fps
        packets += encoder.encode(frame)
    packets += encoder.encode(None)
    # One frame of delay, as b-pyramid is off: that is what B-frames take at most.
    samples = [
        Sample(bytes(packet), plan.frame_ticks, ((packet.pts or 0) - at + 1) * plan.frame_ticks, packet.is_keyframe)
        for at, packet in enumerate(packets, spec.start_frame)
    ]
    bounds = pairwise([*range(0, len(samples), plan.gop_frames), len(samples)])
    runs = [samples[a:b] for a, b in bounds]
    first, config = spec.start_frame // plan.gop_frames, bytes(encoder.extradata or b"")
    ticks = plan.gop_frames * plan.frame_ticks
    times = [gop * ticks for gop in range(first, first + len(runs))]
    name = f"{rung.name}.{spec.index}.m4s"
    return store(name, runs, times, first_gop=first, config=config, delay=plan.frame_ticks, start=start)


def _encode_audio(plan: EncodePlan, audio: AudioPlan) -> list[Stored]:
    packets = _aac(plan, audio)[: audio.frames]
    assert len(packets) == audio.frames
    gop_s = Fraction(plan.gop_frames * plan.fps.den, plan.fps.num)
    gops = audio.part_ends[-1]
    groups: list[list[Sample]] = [[] for _ in range(gops)]
    for at, packet in enumerate(packets):
        gop = min(gops - 1, int(Fraction(at * AAC_FRAME, SAMPLE_RATE) / gop_s))
        groups[gop].append(Sample(bytes(packet), AAC_FRAME, 0, True))
    if not groups[-1]:
        groups[-1].append(groups[-2].pop())
    counts = [0, *np.cumsum([len(group) for group in groups]).tolist()]
    times = [AAC_FRAME * count for count in counts[:-1]]
    return [
        store(
            f"audio.{index}.m4s", groups[a:b], times[a:b], first_gop=a, config=AAC_CONFIG, track_id=2, start=index * 60
        )
        for index, (a, b) in enumerate(pairwise([0, *audio.part_ends]))
    ]


# AudioSpecificConfig (ISO/IEC 14496-3, 1.6.2.1): low complexity, 48 kHz, two channels.
AAC_CONFIG = bytes.fromhex("1190")


def _aac(plan: EncodePlan, audio: AudioPlan) -> "list[Packet[AudioStream]]":
    encoder = av.CodecContext.create("aac", "w")
    assert isinstance(encoder, AudioCodecContext)
    encoder.sample_rate, encoder.layout, encoder.format = SAMPLE_RATE, "stereo", "fltp"
    encoder.time_base, encoder.bit_rate = Fraction(1, SAMPLE_RATE), audio.bitrate_bps
    encoder.flags |= Flags.global_header
    sound = waveform(round(Fraction(plan.frames * plan.fps.den, plan.fps.num) * SAMPLE_RATE))
    packets: list[Packet[AudioStream]] = []
    for start in range(0, sound.shape[1], AAC_FRAME):
        frame = AudioFrame.from_ndarray(np.ascontiguousarray(sound[:, start : start + AAC_FRAME]), "fltp", "stereo")
        frame.sample_rate, frame.pts, frame.time_base = SAMPLE_RATE, start, Fraction(1, SAMPLE_RATE)
        packets += encoder.encode(frame)
    return [packet for packet in packets + encoder.encode(None) if packet.pts is not None and packet.pts >= 0]


def store(
    name: str,
    runs: Sequence[Sequence[Sample]],
    times: Sequence[int],
    *,
    first_gop: int = 0,
    config: bytes = b"\x01d\0\x1e",
    delay: int = 0,
    track_id: int = 1,
    start: int = 0,
) -> Stored:
    """Make a part of runs of samples, a fragment each, that are decoded from `times` on."""
    made = [
        (gop, build_fragment(track_id=track_id, sequence=2 * gop + track_id, base_decode_time=time, samples=run))
        for gop, (time, run) in enumerate(zip(times, runs, strict=True), first_gop)
    ]
    fragments = [read_back(data, track_id=track_id, gop=gop) for gop, data in made]
    part = describe_part(name, fragments, first_gop=first_gop, codec_config=config, delay_ticks=delay)
    return Stored(part, b"".join(data for _, data in made), start)
