"""Encoded parts as the packager gets them, made with x264 and AAC: a white flash and a beep at every odd second."""

from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from av.packet import Packet

from sfserver.media.contract import (
    AudioPlan,
    ChunkResult,
    ChunkSpec,
    EncodePlan,
    PackageResult,
    Rational,
    Rung,
    TrackPart,
)
from sfserver.media.mp4.fragments import Sample, build_fragment
from sfserver.media.mp4.package import package
from sfserver.media.mp4.virtual import PartName, VirtualFile, read_spans

SAMPLE_RATE = 48_000
AAC_FRAME = 1024
FLASH_S = 2 / 30


@dataclass(frozen=True)
class Encoded:
    """What `package` gets."""

    plan: EncodePlan
    chunks: list[tuple[ChunkSpec, ChunkResult, dict[str, Path]]]
    audio_parts: list[tuple[TrackPart, Path]]


def make_plan(
    frames: int,
    *,
    fps: Fraction = Fraction(30),
    sizes: tuple[tuple[str, int, int], ...] = (("360p", 160, 90),),
    chunk_gops: int = 2,
    sound: bool = True,
) -> EncodePlan:
    timescale, gop = fps.numerator * (3000 if fps.denominator == 1 else 1), round(2 * fps)
    starts = list(range(0, max(frames - gop, 0) + 1, gop * chunk_gops))
    chunks = [ChunkSpec(i, a, b) for i, (a, b) in enumerate(zip(starts, [*starts[1:], frames], strict=True))]
    options = {"preset": "ultrafast", "crf": "30", "bf": "2", "threads": "1"}
    gops = -(-frames // gop)
    audio = AudioPlan(1, 96_000, SAMPLE_RATE, 2, 0, sorted({min(2, gops), gops})) if sound else None
    return EncodePlan(
        fps=Rational(fps.numerator, fps.denominator),
        timescale=timescale,
        frame_ticks=int(timescale / fps),
        gop_frames=gop,
        frames=frames,
        video_stream_index=0,
        rungs=[Rung(name, w, h, 1_000_000, "libx264", options, "") for name, w, h in sizes],
        chunks=chunks,
        audio=audio,
        reasons=[],
    )


def encode(plan: EncodePlan, workdir: Path) -> Encoded:
    """Encode the whole plan."""
    chunks = []
    for spec in plan.chunks:
        made = {rung.name: _encode_chunk(plan, rung, spec, workdir) for rung in plan.rungs}
        result = ChunkResult({name: part for name, (part, _) in made.items()}, "test", 0, 0, 0)
        chunks.append((spec, result, {name: path for name, (_, path) in made.items()}))
    return Encoded(plan, chunks, _encode_audio(plan, workdir) if plan.audio else [])


def picture(n: int, fps: Fraction, width: int, height: int) -> np.ndarray:
    """Draw frame `n`: a bright bar that moves one step a frame, white all over while it flashes."""
    if n / fps % 2 >= 1 and n / fps % 2 < 1 + FLASH_S:
        return np.full((height, width, 3), 255, np.uint8)
    image = np.full((height, width, 3), 40, np.uint8)
    x = n * 4 % (width - 8)
    image[:, x : x + 8] = (220, 120, 60)
    return image


def waveform(samples: int) -> np.ndarray:
    """Draw the sound: 1 kHz while the picture flashes."""
    t = np.arange(samples) / SAMPLE_RATE
    beep = 0.5 * np.sin(2 * np.pi * 1000 * t) * ((t % 2 >= 1) & (t % 2 < 1 + FLASH_S))
    return np.stack([beep, beep]).astype(np.float32)


def _encode_chunk(plan: EncodePlan, rung: Rung, spec: ChunkSpec, workdir: Path) -> tuple[TrackPart, Path]:
    fps = Fraction(plan.fps.num, plan.fps.den)
    encoder = av.CodecContext.create("libx264", "w")
    encoder.width, encoder.height, encoder.pix_fmt = rung.width, rung.height, "yuv420p"
    encoder.time_base, encoder.framerate, encoder.gop_size = 1 / fps, fps, plan.gop_frames
    x264 = "annexb=0:stitchable=1:scenecut=0:open-gop=0:b-pyramid=none"
    keyint = f"keyint={plan.gop_frames}:min-keyint={plan.gop_frames}"
    encoder.options = {**rung.options, "flags": "+global_header+cgop", "x264-params": f"{x264}:{keyint}"}
    packets: list[Packet] = []
    for n in range(spec.start_frame, spec.end_frame):
        frame = av.VideoFrame.from_ndarray(picture(n, fps, rung.width, rung.height), format="rgb24")
        frame.pts, frame.time_base = n, 1 / fps
        packets += encoder.encode(frame)
    packets += encoder.encode(None)
    first_dts = packets[0].dts
    assert first_dts is not None
    fragments = []
    for gop, run in _by_gop(packets, plan.gop_frames, spec.start_frame):
        samples = [
            Sample(bytes(p), plan.frame_ticks, (p.pts - p.dts) * plan.frame_ticks, p.is_keyframe)  # type: ignore[operator]
            for p in run
        ]
        time = gop * plan.gop_frames * plan.frame_ticks
        fragments.append(build_fragment(track_id=1, sequence=2 * gop + 1, base_decode_time=time, samples=samples))
    path = workdir / f"{rung.name}.{spec.index}.part"
    path.write_bytes(b"".join(fragments))
    delay = (spec.start_frame - first_dts) * plan.frame_ticks
    first_gop, config = spec.start_frame // plan.gop_frames, bytes(encoder.extradata or b"").hex()
    sizes = [len(fragment) for fragment in fragments]
    return TrackPart(path.name, sum(sizes), len(packets), first_gop, sizes, config, delay), path


def _by_gop(packets: list[Packet], gop_frames: int, start: int) -> Iterator[tuple[int, list[Packet]]]:
    for first in range(0, len(packets), gop_frames):
        yield (start + first) // gop_frames, packets[first : first + gop_frames]


def _encode_audio(plan: EncodePlan, workdir: Path) -> list[tuple[TrackPart, Path]]:
    assert plan.audio is not None
    fps = Fraction(plan.fps.num, plan.fps.den)
    encoder = av.CodecContext.create("aac", "w")
    encoder.sample_rate, encoder.layout, encoder.format = SAMPLE_RATE, "stereo", "fltp"  # type: ignore[assignment,attr-defined,misc]
    encoder.time_base, encoder.bit_rate, encoder.flags = Fraction(1, SAMPLE_RATE), plan.audio.bitrate_bps, 1 << 22
    sound = waveform(round(plan.frames / fps * SAMPLE_RATE))
    packets: list[Packet] = []
    for start in range(0, sound.shape[1], AAC_FRAME):
        frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(sound[:, start : start + AAC_FRAME]), "fltp", "stereo")
        frame.sample_rate, frame.pts, frame.time_base = SAMPLE_RATE, start, Fraction(1, SAMPLE_RATE)
        packets += encoder.encode(frame)
    packets = [packet for packet in packets + encoder.encode(None) if packet.pts is not None and packet.pts >= 0]
    gops = -(-plan.frames // plan.gop_frames)
    groups: list[list[Packet]] = [[] for _ in range(gops)]
    for packet in packets:
        assert packet.pts is not None
        groups[min(gops - 1, int(Fraction(packet.pts, SAMPLE_RATE) * fps) // plan.gop_frames)].append(packet)
    fragments = [_audio_fragment(k, group) for k, group in enumerate(groups)]
    parts, config = [], bytes(encoder.extradata or b"").hex()
    for first, end in zip([0, *plan.audio.part_ends], plan.audio.part_ends, strict=False):
        path = workdir / f"audio.{first}.part"
        path.write_bytes(b"".join(fragments[first:end]))
        sizes, samples = [len(each) for each in fragments[first:end]], sum(len(each) for each in groups[first:end])
        parts.append((TrackPart(path.name, sum(sizes), samples, first, sizes, config), path))
    return parts


def _audio_fragment(k: int, packets: list[Packet]) -> bytes:
    samples = [Sample(bytes(packet), packet.duration or AAC_FRAME, 0, True) for packet in packets]
    assert packets[0].pts is not None
    return build_fragment(track_id=2, sequence=2 * k + 2, base_decode_time=packets[0].pts, samples=samples)


@dataclass(frozen=True)
class Packaged:
    """What `package` made of it, below `root`."""

    encoded: Encoded
    result: PackageResult
    root: Path
    progress: list[float]

    def virtual(self, quality: str) -> VirtualFile:
        head, layout = self.root / f"file/{quality}.head", self.root / f"file/{quality}.layout"
        return VirtualFile.load(head.stat().st_size, layout.read_bytes())

    def progressive(self, quality: str) -> bytes:
        paths = {
            "head": self.root / f"file/{quality}.head",
            "video": self.root / f"v/{quality}.mp4",
            "audio": self.root / "a/main.mp4",
        }

        def read(part: PartName, offset: int, length: int) -> bytes:
            with paths[part].open("rb") as file:
                file.seek(offset)
                return file.read(length)

        virtual = self.virtual(quality)
        return read_spans(virtual.map_range(0, virtual.size), read)


def make_packaged(plan: EncodePlan, workdir: Path) -> Packaged:
    """Encode and package the plan."""
    reports: list[float] = []
    encoded = encode(plan, workdir)
    arguments = (encoded.plan, encoded.chunks, encoded.audio_parts, workdir / "out")
    result = package(*arguments, lambda values: reports.append(float(str(values["progress"]))))
    return Packaged(encoded, result, workdir / "out", reports)
