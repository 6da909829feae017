"""Encode one chunk: decode its frames once, scale them down the ladder, encode every rung, write final fragments."""

import hashlib
import json
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Self

import av
import numpy as np
from av.codec.context import Flags
from av.video.codeccontext import VideoCodecContext
from av.video.frame import PictureType, VideoFrame

from sfserver.media.contract import ChunkResult, ChunkSpec, EncodePlan, MediaLimits, Rung, TrackPart
from sfserver.media.encode.allocator import zero_fresh_memory
from sfserver.media.encode.ladder import BASE_CRF, REORDER_FRAMES, chunk_options
from sfserver.media.mp4.fragments import Fragment, Sample, build_fragment
from sfserver.media.mp4.joining import describe_part, read_back
from sfserver.media.mp4.movie import VIDEO_TRACK
from sfserver.media.sandbox.calls import sandboxed
from sfserver.media.sandbox.throttle import Report, Throttle
from sfserver.media.source.decode import (
    TimedFrame,
    black_frame,
    decode_from,
    decode_ordinals,
    earlier_keyframes,
    prepare_decoder,
)
from sfserver.media.source.grid import Times
from sfserver.media.source.open import media_errors, open_source
from sfserver.media.source.picture import PRE_ROLL_FRAMES, Scaler, deinterlace

# Pictures that wait for one encoder; a 1080p one has 3 MB.
_MOST_WAITING = 8


@dataclass(frozen=True)
class EncodeArguments:
    """What `run_encode` needs: the chunk and, from the probe, the index of the source's frames and the plan.

    `crf` was fixed when the chunk was first claimed (`budget.chunk_crf`), so that a retry makes the same bytes.
    """

    source: Path
    index_file: Path
    plan: EncodePlan
    chunk: ChunkSpec
    limits: MediaLimits
    crf: float = BASE_CRF


@sandboxed
def run_encode(asked: EncodeArguments, workdir: Path, report: Report) -> ChunkResult:
    """Encode one chunk into every rung."""
    source, index_file, plan, chunk = asked.source, asked.index_file, asked.plan, asked.chunk
    return encode_chunk(source, index_file, plan, chunk, workdir, report=report, limits=asked.limits, crf=asked.crf)


def encode_chunk(
    source: Path,
    index_file: Path,
    plan: EncodePlan,
    chunk: ChunkSpec,
    workdir: Path,
    *,
    report: Report,
    limits: MediaLimits | None = None,
    crf: float = BASE_CRF,
) -> ChunkResult:
    """Encode the chunk's output frames in each of its rungs, one part file a rung in `workdir`.

    A frame that can't be decoded repeats the one before it and is counted; damage never fails the chunk. `report`
    gets `{"frames": {rung: encoded}, "decoded": n}` about four times a second.
    """
    zero_fresh_memory()
    rows = np.load(index_file, mmap_mode="r")
    rungs = [rung for rung in plan.rungs if not chunk.rungs or rung.name in chunk.rungs]
    encoders = [RungThread(RungEncoder(rung, plan, chunk, workdir, crf)) for rung in rungs]
    shown, throttle, scaler = ShownFrames(rows, chunk), Throttle(report), Scaler(rungs, plan.picture)
    pictures: list[VideoFrame] = []

    def progress() -> dict[str, object]:
        return {"frames": {e.rung.name: e.encoded for e in encoders}, "decoded": shown.decoded}

    with media_errors(), ExitStack() as threads:
        for encoder in encoders:
            threads.enter_context(encoder)
        frames = chunk_frames(source, rows, plan, chunk, limits or MediaLimits())
        for number, frame in shown.pick(frames, black_frame(rungs[0])):
            pictures = scaler.scale(frame) if frame is not None else pictures
            for encoder, picture in zip(encoders, pictures, strict=True):
                encoder.encode(picture, number)
            throttle(progress)
        parts = {encoder.rung.name: encoder.finish() for encoder in encoders}
    report(progress())
    return ChunkResult(parts, fingerprint(plan), shown.decoded, shown.duplicated, shown.concealed, crf)


def fingerprint(plan: EncodePlan) -> str:
    """Hash what the bytes depend on besides the source: library versions and every rung's settings."""
    settings = [[r.name, r.width, r.height, r.maxrate_bps, r.encoder, r.options] for r in plan.rungs]
    facts = json.dumps([av.__version__, av.library_versions, settings], sort_keys=True)
    return hashlib.sha256(facts.encode()).hexdigest()[:16]


def chunk_frames(
    source: Path, rows: Times, plan: EncodePlan, chunk: ChunkSpec, limits: MediaLimits
) -> Iterator[TimedFrame]:
    """Decode from at or before the chunk's first wanted frame on, deinterlaced where the plan says so."""
    frames = _source_frames(source, rows, plan, chunk, limits)
    return deinterlace(frames) if plan.picture.deinterlace else frames


def _source_frames(
    source: Path, rows: Times, plan: EncodePlan, chunk: ChunkSpec, limits: MediaLimits
) -> Iterator[TimedFrame]:
    start = max(0, chunk.start_frame - (PRE_ROLL_FRAMES if plan.picture.deinterlace else 0))
    wanted = int(rows[start, 0])
    for key in (None,) if plan.picture.sequential else earlier_keyframes(rows, start):
        with open_source(source, limits) as container:
            video = next(s for s in container.streams.video if s.index == plan.video_stream_index)
            prepare_decoder(video, limits)
            if plan.picture.sequential:
                yield from decode_ordinals(container, video)
                return
            frames = decode_from(container, video, key, lambda time: time >= wanted)
            first = next(frames, None)
            if key is None or (first is not None and first[0] <= wanted):
                if first is not None:
                    yield first
                yield from frames
                return


class ShownFrames:
    """Match decoded frames to output frames, and count what was repeated on purpose or for want of a picture."""

    def __init__(self, rows: Times, chunk: ChunkSpec) -> None:
        self._chunk = chunk
        self._wanted = [int(time) for time in rows[chunk.start_frame : chunk.end_frame, 0]]
        self.decoded = self.duplicated = self.concealed = 0

    def pick(self, frames: Iterator[TimedFrame], blank: VideoFrame) -> Iterator[tuple[int, VideoFrame | None]]:
        """Yield each output frame's number and picture; None means the picture before once more."""
        wanted, at, held = self._wanted, 0, (-(2**62), blank)
        fresh = True
        for time, frame in frames:
            if time < held[0]:
                continue
            self.decoded += 1
            while at < len(wanted) and wanted[at] < time and self.decoded > 1:
                yield self._emit(at, held, fresh)
                at, fresh = at + 1, False
            held, fresh = (time, frame), True
            while at < len(wanted) and wanted[at] <= time:
                yield self._emit(at, held, fresh)
                at, fresh = at + 1, False
            if at == len(wanted):
                return
        for rest in range(at, len(wanted)):
            yield self._emit(rest, held, fresh)
            fresh = False

    def _emit(self, at: int, held: TimedFrame, fresh: bool) -> tuple[int, VideoFrame | None]:
        if at and self._wanted[at] == self._wanted[at - 1]:
            self.duplicated += 1
        elif held[0] != self._wanted[at]:
            self.concealed += 1
        return self._chunk.start_frame + at, held[1] if fresh else None


class RungEncoder:
    """Encode one rung of one chunk and write a fragment as each GOP completes."""

    def __init__(self, rung: Rung, plan: EncodePlan, chunk: ChunkSpec, workdir: Path, crf: float) -> None:
        self.rung, self.encoded = rung, 0
        self._plan, self._chunk = plan, chunk
        self._path = workdir / f"{rung.name}.{chunk.index}.m4s"
        self._file = self._path.open("wb")
        self._samples: list[Sample] = []
        self._fragments: list[Fragment] = []
        self._written = 0
        self._context = open_encoder(rung, plan, chunk, crf)

    def encode(self, picture: VideoFrame, number: int) -> None:
        """Encode a picture as output frame `number`."""
        picture.pts = number
        picture.time_base = self._context.time_base
        picture.pict_type = PictureType.NONE
        self._take(picture)
        self.encoded += 1

    def finish(self) -> TrackPart:
        """Encode what is left and close the part."""
        self._take(None)
        self._write_fragment()
        self._file.close()
        return describe_part(
            self._path.name,
            self._fragments,
            first_gop=self._chunk.start_frame // self._plan.gop_frames,
            codec_config=self._context.extradata or b"",
            delay_ticks=REORDER_FRAMES * self._plan.frame_ticks,
        )

    def _take(self, picture: VideoFrame | None) -> None:
        for packet in self._context.encode(picture):
            if packet.is_keyframe and self._samples:
                self._write_fragment()
            # Decode times are the grid itself, whatever the encoder's own are: a chunk too short to reorder would
            # otherwise get another delay than its neighbours.
            decoded_at = self._chunk.start_frame + self._written + len(self._samples)
            offset = ((packet.pts or 0) - decoded_at + REORDER_FRAMES) * self._plan.frame_ticks
            self._samples.append(Sample(bytes(packet), self._plan.frame_ticks, offset, packet.is_keyframe))

    def _write_fragment(self) -> None:
        start = self._chunk.start_frame + self._written
        fragment = build_fragment(
            track_id=VIDEO_TRACK,
            sequence=2 * (start // self._plan.gop_frames) + 1,
            base_decode_time=start * self._plan.frame_ticks,
            samples=self._samples,
        )
        self._file.write(fragment)
        self._fragments.append(read_back(fragment, track_id=VIDEO_TRACK, gop=start // self._plan.gop_frames))
        self._written += len(self._samples)
        self._samples = []


class RungThread:
    """A rung's encoder on a thread of its own: rungs are encoded side by side, and beside the decoding.

    A chunk is then finished in little more than the time of its largest rung wherever there is a core to spare, which
    is what somebody who watches meanwhile waits for. The bytes are the same.
    """

    def __init__(self, encoder: "RungEncoder") -> None:
        self._encoder = encoder
        self._thread = ThreadPoolExecutor(1)
        self._waiting: deque[Future[None]] = deque()

    @property
    def rung(self) -> Rung:
        """What it encodes."""
        return self._encoder.rung

    @property
    def encoded(self) -> int:
        """How many pictures are encoded."""
        return self._encoder.encoded

    def __enter__(self) -> Self:
        """Do nothing: the thread starts with the first picture."""
        return self

    def __exit__(self, *_: object) -> None:
        """End the thread; what waits is dropped."""
        self._thread.shutdown(cancel_futures=True)

    def encode(self, picture: VideoFrame, number: int) -> None:
        """Have a picture encoded as output frame `number`; waits where the thread is too far behind.

        Raises what went wrong with an earlier picture.
        """
        self._waiting.append(self._thread.submit(self._encoder.encode, picture, number))
        while len(self._waiting) > _MOST_WAITING:
            self._waiting.popleft().result()

    def finish(self) -> TrackPart:
        """Encode what is left and close the part."""
        while self._waiting:
            self._waiting.popleft().result()
        return self._thread.submit(self._encoder.finish).result()


def open_encoder(rung: Rung, plan: EncodePlan, chunk: ChunkSpec, crf: float = BASE_CRF) -> VideoCodecContext:
    """Open the rung's encoder for a chunk; its parameter sets are the same for every chunk of the plan."""
    fps = Fraction(plan.fps.num, plan.fps.den)
    context = av.CodecContext.create(rung.encoder, "w")
    assert isinstance(context, VideoCodecContext)
    context.width, context.height, context.pix_fmt = rung.width, rung.height, "yuv420p"
    context.time_base, context.framerate = 1 / fps, fps
    context.sample_aspect_ratio = Fraction(1)
    context.thread_count = 1
    context.flags |= Flags.global_header
    context.color_range, context.colorspace = 1, plan.picture.matrix
    context.color_primaries, context.color_trc = plan.picture.primaries, plan.picture.transfer
    context.options = chunk_options(rung, chunk, fps, crf)
    context.open()
    return context
