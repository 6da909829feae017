"""How like the source every output frame of every rung is."""

from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from av.video.frame import VideoFrame
from av.video.reformatter import ColorRange, Interpolation, VideoReformatter

from bench.meters import Meter
from sfserver.media.contract import EncodePlan, MediaLimits, TrackPart
from sfserver.media.encode.video import ShownFrames, chunk_frames
from sfserver.media.source.decode import black_frame
from tests.media.clips import Encoded, read_samples


def rung_ssims(source: Path, encoded: Encoded) -> dict[str, list[float]]:
    """Return by rung the SSIM of luma (Wang et al. 2004, as FFmpeg's filter has it) of every output frame.

    The reference is the source's frame scaled straight to the rung's size, bicubic.
    """
    meters = {rung.name: Meter(rung.width, rung.height) for rung in encoded.plan.rungs}
    scalers = {name: VideoReformatter() for name in meters}
    tracks = {name: _decode(encoded.workdir, encoded.parts(name), encoded.plan) for name in meters}
    for picture in _source_pictures(source, encoded):
        for rung in encoded.plan.rungs:
            size = (rung.width, rung.height)
            reference = scalers[rung.name].reformat(
                picture, *size, "yuv420p", interpolation=Interpolation.BICUBIC, dst_color_range=ColorRange.MPEG
            )
            meters[rung.name].add(reference, next(tracks[rung.name]))
    return {name: meter.values() for name, meter in meters.items()}


def _source_pictures(source: Path, encoded: Encoded) -> Iterator[VideoFrame]:
    plan = encoded.plan
    rows = np.load(encoded.workdir / encoded.probed.index_file)
    picture = black_frame(plan.rungs[0])
    for chunk in plan.chunks:
        frames = chunk_frames(source, rows, plan, chunk, MediaLimits())
        for _, frame in ShownFrames(rows, chunk).pick(frames, picture):
            if frame is not None:
                picture = frame
                picture.colorspace = plan.picture.matrix
                if picture.color_range == ColorRange.UNSPECIFIED and not picture.format.name.startswith("yuvj"):
                    picture.color_range = ColorRange.MPEG
            yield picture


def _decode(workdir: Path, parts: list[TrackPart], plan: EncodePlan) -> Iterator[VideoFrame]:
    decoder = av.CodecContext.create("h264", "r")
    decoder.extradata = bytes.fromhex(parts[0].codec_config)
    for time, offset, data in read_samples(workdir, parts):
        packet = av.Packet(data)
        packet.pts, packet.dts = time + offset - parts[0].delay_ticks, time
        packet.time_base = Fraction(1, plan.timescale)
        yield from decoder.decode(packet)
    yield from decoder.decode(None)
