"""Small clips made with PyAV, whose every frame says its own number, and readers of what the stages make of them."""

import struct
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from av.audio.frame import AudioFrame
from av.audio.stream import AudioStream
from av.video.frame import VideoFrame
from av.video.stream import VideoStream
from numpy.typing import NDArray

from sfserver.media.contract import AudioResult, ChunkResult, EncodePlan, MediaLimits, ProbeResult, Rung, TrackPart
from sfserver.media.encode.audio import encode_audio
from sfserver.media.encode.budget import Spent, chunk_crf
from sfserver.media.encode.chunks import encode_tasks
from sfserver.media.encode.plan import probe
from sfserver.media.encode.video import encode_chunk
from sfserver.media.mp4.boxes import iter_boxes
from sfserver.media.mp4.fragments import read_fragment

BITS = 10
Picture = NDArray[np.uint8]
Draw = Callable[[int], Picture]


@dataclass(frozen=True)
class Clip:
    """What to make. `times` are presentation times in frames of `fps` (default: 0, 1, 2 …)."""

    codec: str = "libx264"
    frames: int = 60
    fps: Fraction = Fraction(25)
    size: tuple[int, int] = (320, 180)
    pix_fmt: str = "yuv420p"
    gop: int = 25
    times: Sequence[int] | None = None
    options: dict[str, str] = field(default_factory=dict)
    audio: str | None = None
    audio_start_s: float = 0.0
    audio_s: float | None = None
    rotation: int = 0
    muxer: dict[str, str] = field(default_factory=dict)


def draw(number: int, size: tuple[int, int]) -> Picture:
    """Draw a moving gradient with the number in a row of black and white squares; returns (height, width) luma."""
    width, height = size
    across, down = np.meshgrid(np.arange(width), np.arange(height))
    luma = (60 + (across + 3 * number) % 97 + down % 31).astype(np.uint8)
    square = width // (BITS + 2)
    for bit in range(BITS):
        left = square * (bit + 1)
        luma[height // 4 : height // 4 + square, left : left + square] = 225 if number >> bit & 1 else 20
    return luma


def read_number(luma: Picture) -> int:
    """Read the number a picture was drawn with, at whatever size it now has."""
    height, width = luma.shape
    square = width / (BITS + 2)
    middle = int(height / 4 + square / 2)
    bits = [luma[middle - 1 : middle + 2, int(square * (bit + 1.5))].mean() > 122 for bit in range(BITS)]
    return sum(1 << bit for bit, on in enumerate(bits) if on)


def make_clip(path: Path, clip: Clip, *, format: str | None = None, draw_luma: Draw | None = None) -> Path:  # noqa: A002
    """Write the clip to `path`; `draw_luma` draws its frames, else each shows its number."""
    draw_luma = draw_luma or (lambda number: draw(number, clip.size))
    options = {"fflags": "+bitexact", **clip.muxer}
    with av.open(str(path), "w", format=format, options=options) as out:
        video = out.add_stream(clip.codec, rate=clip.fps, options=clip.options)
        assert isinstance(video, VideoStream)
        video.width, video.height, video.pix_fmt = *clip.size, clip.pix_fmt
        video.codec_context.gop_size = clip.gop
        video.codec_context.thread_count = 1
        if clip.rotation:
            video.set_display_rotation(clip.rotation)
        experimental = {"strict": "experimental"}
        sound = out.add_stream(clip.audio, 48_000, options=experimental, layout="stereo") if clip.audio else None
        assert sound is None or isinstance(sound, AudioStream)
        times = clip.times if clip.times is not None else range(clip.frames)
        for number, time in enumerate(times):
            frame = VideoFrame.from_ndarray(draw_luma(number), "gray").reformat(format=clip.pix_fmt)
            frame.pts, frame.time_base = time, 1 / clip.fps
            out.mux(video.encode(frame))
        out.mux(video.encode(None))
        if sound is not None:
            length_s = clip.audio_s if clip.audio_s is not None else float((times[-1] + 1) / clip.fps)
            for block in tone(length_s, clip.audio_start_s):
                out.mux(sound.encode(block))
            out.mux(sound.encode(None))
    return path


def tone(length_s: float, start_s: float = 0.0, rate: int = 48_000) -> Iterator[AudioFrame]:
    """Yield a 440 Hz stereo tone in blocks of 960 samples."""
    for start in range(0, int(length_s * rate), 960):
        wave = (0.4 * np.sin(2 * np.pi * 440 * np.arange(start, start + 960) / rate)).astype(np.float32)
        frame = AudioFrame.from_ndarray(np.stack([wave, wave]), "fltp", "stereo")
        frame.sample_rate, frame.time_base = rate, Fraction(1, rate)
        frame.pts = round(start_s * rate) + start
        yield frame


@dataclass(frozen=True)
class Encoded:
    """A clip after probe, encode and audio; a chunk of the opening is there once for each task that encoded it."""

    probed: ProbeResult
    chunks: list[ChunkResult]
    sound: AudioResult | None
    sound_parts: list[TrackPart]
    workdir: Path

    @property
    def plan(self) -> EncodePlan:
        return self.probed.plan

    def parts(self, rung: str) -> list[TrackPart]:
        found = [chunk.parts[rung] for chunk in self.chunks if rung in chunk.parts]
        return sorted(found, key=lambda part: part.first_gop)

    def numbers(self, rung: str) -> list[int]:
        """The drawn numbers of the output frames in presentation order."""
        return [read_number(luma) for _, luma in decode_track(self.workdir, self.parts(rung), self.plan)]


def run_stages(
    source: Path, workdir: Path, limits: MediaLimits | None = None, *, rungs: list[Rung] | None = None
) -> Encoded:
    """Probe and encode, as the pipeline does: each chunk is claimed once the ones before it are recorded.

    `rungs` take the place of those that the plan has.
    """
    workdir.mkdir()
    probed = probe(source, workdir, limits or MediaLimits(), ignore)
    probed = replace(probed, plan=replace(probed.plan, rungs=rungs or probed.plan.rungs))
    plan, index = probed.plan, workdir / probed.index_file
    chunks: list[ChunkResult] = []
    spent: list[Spent] = []
    for chunk in encode_tasks(plan, plan.chunks):
        crf = chunk_crf(plan.budget, spent)
        chunks.append(encode_chunk(source, index, plan, chunk, workdir, report=ignore, crf=crf))
        made = sum(part.size_bytes for part in chunks[-1].parts.values())
        spent.append(Spent(made, chunk.source_bytes, crf))
    parts: list[TrackPart] = []
    sound = encode_audio(source, probed.plan, workdir, ignore, parts.append) if probed.plan.audio else None
    return Encoded(probed, chunks, sound, parts, workdir)


def ignore(report: dict[str, object]) -> None:
    """Take a report and drop it."""


def read_samples(workdir: Path, parts: Iterable[TrackPart]) -> Iterator[tuple[int, int, bytes]]:
    """Yield (decode time, composition offset, data) of every sample of the parts in file order."""
    for part in parts:
        data = (workdir / part.file).read_bytes()
        for start in [box.start for box in iter_boxes(data) if box.kind == "moof"]:
            fragment = read_fragment(data[start:])
            time, at = fragment.base_decode_time, start + fragment.data_start
            rows = zip(fragment.sizes, fragment.durations, fragment.composition_offsets, strict=True)
            for length, duration, offset in rows:
                yield time, int(offset), data[at : at + int(length)]
                time, at = time + int(duration), at + int(length)


def decode_track(workdir: Path, parts: list[TrackPart], plan: EncodePlan) -> list[tuple[int, Picture]]:
    """Decode a rung's parts as one stream; returns (frame number on the grid, luma) in presentation order."""
    decoder = av.CodecContext.create("h264", "r")
    decoder.extradata = bytes.fromhex(parts[0].codec_config)
    frames = []
    for time, offset, data in read_samples(workdir, parts):
        packet = av.Packet(data)
        packet.pts, packet.dts = time + offset - parts[0].delay_ticks, time
        packet.time_base = Fraction(1, plan.timescale)
        frames += decoder.decode(packet)
    frames += decoder.decode(None)
    shown = [((frame.pts or 0) // plan.frame_ticks, frame.to_ndarray(format="gray")) for frame in frames]
    return [(number, luma.astype(np.uint8, copy=False)) for number, luma in shown]


def decode_sound(workdir: Path, parts: list[TrackPart]) -> NDArray[np.float32]:
    """Decode the AAC parts as one stream; returns (channels, samples)."""
    decoder = av.CodecContext.create("aac", "r")
    decoder.extradata = bytes.fromhex(parts[0].codec_config)
    blocks = []
    for _, _, data in read_samples(workdir, parts):
        blocks += [frame.to_ndarray() for frame in decoder.decode(av.Packet(data))]
    return np.concatenate(blocks, axis=1)


def box(kind: bytes, payload: bytes = b"") -> bytes:
    """Build one MP4 box."""
    return struct.pack(">I4s", 8 + len(payload), kind) + payload
