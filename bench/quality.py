"""Quality at equal size: our settings and a stock preset, rung by rung, in SSIM and XPSNR (both of luma)."""

import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path

import av
from av.codec.context import Flags
from av.filter import Graph
from av.packet import Packet
from av.video.codeccontext import VideoCodecContext
from av.video.frame import PictureType, VideoFrame
from av.video.reformatter import Interpolation, VideoReformatter

from sfserver.media.contract import ChunkSpec, EncodePlan, Rung
from sfserver.media.encode.video import open_encoder

_TICK = Fraction(1, 30)
Frames = Callable[[], Iterator[VideoFrame]]


@dataclass(frozen=True)
class Encoded:
    """A rung's packets and what decodes them."""

    packets: list[Packet]
    config: bytes
    size: int


@dataclass(frozen=True)
class Score:
    """Mean SSIM (linear) and XPSNR (dB) of luma."""

    ssim: float
    xpsnr: float


@dataclass(frozen=True)
class Comparison:
    """Ours against theirs at equal size: `crf` makes ours as big; `size_ratio` says how well that was met."""

    rung: Rung
    crf: float
    size_ratio: float
    ours: Score
    theirs: Score


def reference(source: Path, rung: Rung, gop: int, every: int) -> Frames:
    """Return a way to see every n-th GOP of the source at the rung's size, again and again."""

    def frames() -> Iterator[VideoFrame]:
        scaler, shown = VideoReformatter(), 0
        with av.open(str(source)) as container:
            container.streams.video[0].thread_count = 1
            for number, frame in enumerate(container.decode(video=0)):
                if number // gop % every == 0:
                    size = (rung.width, rung.height)
                    picture = scaler.reformat(frame, *size, "yuv420p", interpolation=Interpolation.BICUBIC, threads=1)
                    picture.pts, picture.time_base, picture.pict_type = shown, _TICK, PictureType.NONE
                    yield picture
                    shown += 1

    return frames


def compare(frames: Frames, rung: Rung, plan: EncodePlan) -> Comparison:
    """Encode as `-preset veryfast -crf 23` does, then with the rung's settings at the CRF that gives the same size."""
    theirs = encode(frames(), _stock(rung))
    count = sum(1 for _ in theirs.packets)
    chunk = ChunkSpec(0, 0, count)

    def ours(crf: float) -> Encoded:
        settled = replace(rung, options={**rung.options, "crf": f"{crf:.2f}"})
        return encode(frames(), open_encoder(settled, plan, chunk))

    crf, encoded = _match_size(ours, theirs.size)
    return Comparison(rung, crf, encoded.size / theirs.size, score(frames(), encoded), score(frames(), theirs))


def _match_size(encoder: Callable[[float], Encoded], size: int) -> tuple[float, Encoded]:
    """Find the CRF whose output has the size within 1 %: a step of 6 roughly halves it, then secants in log size."""
    tried: list[tuple[float, float]] = []
    crf = 23.0
    while True:
        encoded = encoder(crf)
        off = math.log(encoded.size / size)
        if abs(off) < 0.01 or len(tried) == 4:
            return crf, encoded
        slope = (off - tried[-1][1]) / (crf - tried[-1][0]) if tried else -math.log(2) / 6
        tried.append((crf, off))
        crf -= off / slope


def _stock(rung: Rung) -> VideoCodecContext:
    context = av.CodecContext.create("libx264", "w")
    assert isinstance(context, VideoCodecContext)
    context.width, context.height, context.pix_fmt = rung.width, rung.height, "yuv420p"
    context.time_base, context.framerate, context.thread_count = _TICK, 1 / _TICK, 1
    context.flags |= Flags.global_header
    gop = rung.options["g"]
    context.options = {"preset": "veryfast", "profile": "high", "crf": "23", "g": gop, "keyint_min": gop}
    context.options |= {"x264-params": "annexb=0:scenecut=0:threads=1:lookahead-threads=1"}
    context.open()
    return context


def encode(frames: Iterable[VideoFrame], context: VideoCodecContext) -> Encoded:
    """Encode all frames."""
    packets: list[Packet] = []
    for frame in frames:
        packets += context.encode(frame)
    packets += context.encode(None)
    return Encoded(packets, bytes(context.extradata or b""), sum(packet.size for packet in packets))


def score(frames: Iterator[VideoFrame], encoded: Encoded) -> Score:
    """Decode and compare with the reference, frame by frame."""
    decoder = av.CodecContext.create("h264", "r")
    assert isinstance(decoder, VideoCodecContext)
    decoder.extradata, decoder.thread_count = encoded.config, 1
    meters: tuple[_Meter, ...] = ()
    for packet in (*encoded.packets, None):
        for picture in decoder.decode(packet):
            frame = next(frames)
            picture.pts, picture.time_base = frame.pts, _TICK
            frame.time_base = _TICK
            meters = meters or (_Meter(frame, "ssim", "lavfi.ssim.Y"), _Meter(frame, "xpsnr", "lavfi.xpsnr.xpsnr.y"))
            for meter in meters:
                meter.add(frame, picture)
    ssim, xpsnr = (meter.values() for meter in meters)
    # As vf_xpsnr pools a clip: the mean of the root of the weighted error, so that bad frames count.
    roots = [10 ** (-value / 20) for value in xpsnr]
    return Score(sum(ssim) / len(ssim), -20 * math.log10(sum(roots) / len(roots)))


class _Meter:
    """A filter that compares two pictures and writes what it finds into the metadata of the first."""

    def __init__(self, like: VideoFrame, name: str, key: str) -> None:
        self._graph, self._key, self._values = Graph(), key, list[float]()
        shape = {"width": like.width, "height": like.height, "format": like.format, "time_base": _TICK}
        self._inputs = [self._graph.add_buffer(**shape, name=side) for side in ("reference", "coded")]
        meter, self._sink = self._graph.add(name), self._graph.add("buffersink")
        for pad, source in enumerate(self._inputs):
            source.link_to(meter, 0, pad)
        meter.link_to(self._sink)
        self._graph.configure()

    def add(self, reference_frame: VideoFrame, coded: VideoFrame) -> None:
        """Compare a pair."""
        for source, frame in zip(self._inputs, (reference_frame, coded), strict=True):
            source.push(frame)
        self._drain()

    def values(self) -> list[float]:
        """Return the filter's figure for every pair."""
        for source in self._inputs:
            source.push(None)
        self._drain()
        return self._values

    def _drain(self) -> None:
        while True:
            try:
                found = self._sink.pull().metadata
            except (av.error.BlockingIOError, av.error.EOFError):
                return
            # Equal pictures have no figure: count them as very good.
            self._values.append(float(found.get(self._key, "99")))
