"""What becomes of sources of every kind, frame by frame; and quality at equal size, against a stock preset.

`python -m bench.quality`: every source of `bench.sources` through probe and encode, one chunk after the other, every
frame of every rung against the source's frame scaled straight to the rung's size (SSIM of luma), and what all rungs
take of the source's size. `python -m bench.transcode` compares rung by rung at equal size, in SSIM and XPSNR.
"""

import math
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import av
from av.codec.context import Flags
from av.packet import Packet
from av.video.codeccontext import VideoCodecContext
from av.video.frame import PictureType, VideoFrame
from av.video.reformatter import Interpolation, VideoReformatter
from av.video.stream import VideoStream

from bench.material import FPS
from bench.measuring import Row, print_table
from bench.meters import SSIM, XPSNR, Meter
from bench.sources import Source, make_sources
from sfserver.media.contract import ChunkSpec, EncodePlan, Rung
from sfserver.media.encode.budget import ALLOWANCE_BYTES, SOURCE_SHARE
from sfserver.media.encode.video import open_encoder
from tests.media.clips import run_stages
from tests.media.similarity import rung_ssims

_TICK = Fraction(1, 30)
# Text that is read and bars that are flat show any loss; film forgives what its grain hides.
_LEAST_SSIM = {"bars": 0.98, "slides": 0.98, "dense": 0.98, "typing": 0.98}
Frames = Callable[[], Iterator[VideoFrame]]


@dataclass(frozen=True)
class Encoded:
    """A rung's packets and what decodes them."""

    packets: "list[Packet[VideoStream]]"
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
        return encode(frames(), open_encoder(rung, plan, chunk, crf))

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
    packets: list[Packet[VideoStream]] = []
    for frame in frames:
        packets += context.encode(frame)
    packets += context.encode(None)
    return Encoded(packets, bytes(context.extradata or b""), sum(packet.size for packet in packets))


def score(frames: Iterator[VideoFrame], encoded: Encoded) -> Score:
    """Decode and compare with the reference, frame by frame."""
    decoder = av.CodecContext.create("h264", "r")
    assert isinstance(decoder, VideoCodecContext)
    decoder.extradata, decoder.thread_count = encoded.config, 1
    meters: tuple[Meter, ...] = ()
    for packet in (*encoded.packets, None):
        for picture in decoder.decode(packet):
            frame = next(frames)
            meters = meters or tuple(Meter(frame.width, frame.height, kind) for kind in (SSIM, XPSNR))
            for meter in meters:
                meter.add(frame, picture)
    ssim, xpsnr = (meter.values() for meter in meters)
    # As vf_xpsnr pools a clip: the mean of the root of the weighted error, so that bad frames count.
    roots = [10 ** (-value / 20) for value in xpsnr]
    return Score(sum(ssim) / len(ssim), -20 * math.log10(sum(roots) / len(roots)))


def main() -> None:
    """Measure every kind of source and print a table."""
    started = time.monotonic()
    with ProcessPoolExecutor(2) as processes:
        rows = [row for found in processes.map(measure_source, make_sources()) for row in found]
    rows.append(Row("all of it, wall", f"{time.monotonic() - started:.0f} s", "< 240 s"))
    print_table("quality: every frame of every rung, SSIM of luma; bytes of all rungs", rows)


def measure_source(source: Source) -> list[Row]:
    """Put a source through probe and encode; return a row for its size and one for every rung."""
    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        encoded = run_stages(source.path, Path(folder) / "out")
        ssims = rung_ssims(source.path, encoded)
    size = source.path.stat().st_size
    made = sum(part.size_bytes for chunk in encoded.chunks for part in chunk.parts.values())
    crfs = [chunk.crf for chunk in encoded.chunks]
    title = f"{source.name}, {size * 8 / len(next(iter(ssims.values()))) * FPS / 1000:.0f} kb/s"
    within = made <= SOURCE_SHARE * size + ALLOWANCE_BYTES
    rows = [Row(f"**{title}**", f"{made / size:.2f} × (CRF {min(crfs):g}–{max(crfs):g})", "≤ 3 × + 256 KiB", within)]
    least = _LEAST_SSIM.get(source.footage)
    for rung, values in ssims.items():
        worst, mean = min(values), sum(values) / len(values)
        promised = (f"worst ≥ {least}", worst >= least) if least else ()
        rows.append(Row(f"{source.name}: {rung}", f"worst {worst:.4f}, mean {mean:.4f}", *promised))
    return rows


if __name__ == "__main__":
    main()
