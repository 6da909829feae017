"""The poster: one good frame of the video as JPEG and WebP, in two sizes."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path
from typing import Literal

import av
import numpy as np
from av.codec.context import Flags
from av.video.codeccontext import VideoCodecContext
from av.video.frame import PictureType, VideoFrame
from av.video.reformatter import ColorRange, Colorspace, Interpolation, VideoReformatter

from sfserver.errors import DamagedMediaError
from sfserver.media.contract import EncodePlan, MediaLimits
from sfserver.media.encode.ladder import BOXES, fit_size
from sfserver.media.sandbox.calls import sandboxed
from sfserver.media.sandbox.throttle import Report
from sfserver.media.source.open import media_errors
from sfserver.media.source.scenes import Look, measure, pick, rate
from sfserver.media.source.stills import Still, StillReader

PosterFormat = Literal["jpeg", "webp"]

POSTER_FILES = ("poster.jpg", "poster.webp", "poster-small.jpg", "poster-small.webp")
# From one matrix to another swscale goes through RGB; without these it is up to five levels off.
_EXACT = (
    Interpolation.BICUBIC | Interpolation.FULL_CHR_H_INT | Interpolation.FULL_CHR_H_INP | Interpolation.ACCURATE_RND
)
_NAMES = ("poster", "poster-small")
_SUFFIXES: dict[PosterFormat, str] = {"jpeg": "jpg", "webp": "webp"}
_ENCODERS: dict[PosterFormat, str] = {"jpeg": "mjpeg", "webp": "libwebp"}
_OPTIONS: dict[PosterFormat, dict[str, str]] = {
    "jpeg": {"qmin": "3", "qmax": "3"},
    "webp": {"quality": "80", "compression_level": "4"},
}


@dataclass(frozen=True)
class PosterArguments:
    """What `run_poster` needs: the index of the source's frames and the plan are the probe's."""

    source: Path
    index_file: Path
    plan: EncodePlan
    limits: MediaLimits


@dataclass(frozen=True)
class PosterFile:
    """One picture: `file` is its name in the work directory."""

    file: str
    format: PosterFormat
    width: int
    height: int
    size_bytes: int


@dataclass(frozen=True)
class PosterResult:
    """The pictures of output frame `frame`, shown from `time_s` on, and why it was chosen."""

    files: list[PosterFile]
    time_s: float
    frame: int
    reason: str


@sandboxed
def run_poster(asked: PosterArguments, workdir: Path, report: Report) -> PosterResult:
    """Choose a frame and write its pictures; report {"progress": share of the work done}.

    Raises `DamagedMediaError` where no frame can be decoded.
    """
    plan, rows = asked.plan, np.load(asked.index_file, mmap_mode="r")
    top = plan.rungs[0]
    sizes = [fit_size(box, top.width, top.height) for box in BOXES[1:]]
    rungs = [replace(top, width=width, height=height) for width, height in sizes]
    with media_errors():
        reader = StillReader(asked.source, rows, plan, rungs, limits=asked.limits, report=report)
        stills, looks = _look(reader, on_keyframes=True)
        if all(look.plain for look in looks):
            # Scenes that fade in start, and so have their keyframe, in the black.
            stills, looks = _look(reader, on_keyframes=False)
        if not stills:
            raise DamagedMediaError("no picture of the video stream can be decoded")
        ratings = rate(looks)
        chosen = pick(ratings)
        files = list(_write_pictures(stills[chosen].pictures, workdir))
    report({"progress": 1.0})
    number = stills[chosen].number
    return PosterResult(files, number * plan.fps.den / plan.fps.num, number, _explain(looks, ratings, chosen))


def _look(reader: StillReader, *, on_keyframes: bool) -> tuple[list[Still], list[Look]]:
    stills = reader.read(on_keyframes=on_keyframes)
    return stills, [measure(still.luma, still.later) for still in stills]


def _explain(looks: Sequence[Look], ratings: Sequence[float], chosen: int) -> str:
    look, median = looks[chosen], float(np.median([each.sharpness for each in looks])) or 1.0
    return (
        f"candidate {chosen + 1} of {len(looks)}: rated {ratings[chosen]:.2f} of at most {max(ratings):.2f}, "
        f"sharpness {look.sharpness / median:.2f} of the median, exposure {look.exposure:.2f}, "
        f"steadiness {look.steadiness:.2f}"
    )


def _write_pictures(pictures: Sequence[VideoFrame], workdir: Path) -> Iterator[PosterFile]:
    for picture, name in zip(pictures, _NAMES, strict=True):
        for kind, suffix in _SUFFIXES.items():
            data = encode_still(picture, kind)
            path = workdir / f"{name}.{suffix}"
            path.write_bytes(data)
            yield PosterFile(path.name, kind, picture.width, picture.height, len(data))


def encode_still(picture: VideoFrame, kind: PosterFormat) -> bytes:
    """Encode a picture as a file of its own, with nothing in it but the picture.

    Neither format says its colours: JFIF means BT.601 at full range (ITU-T T.871, 7), WebP BT.601 at limited range
    (RFC 9649, 2.5).
    """
    full = kind == "jpeg"
    frame = VideoReformatter().reformat(
        picture,
        format="yuvj420p" if full else "yuv420p",
        dst_colorspace=Colorspace.ITU601,
        dst_color_range=ColorRange.JPEG if full else ColorRange.MPEG,
        interpolation=_EXACT,
        threads=1,
    )
    frame.pts, frame.time_base, frame.pict_type = 0, Fraction(1, 25), PictureType.NONE
    context = av.CodecContext.create(_ENCODERS[kind], "w")
    assert isinstance(context, VideoCodecContext)
    context.width, context.height, context.pix_fmt = frame.width, frame.height, frame.format.name
    context.time_base, context.sample_aspect_ratio = Fraction(1, 25), Fraction(1)
    context.thread_count = 1
    # Without this the encoder writes its name into the file.
    context.flags |= Flags.bitexact
    context.color_range = int(ColorRange.JPEG if full else ColorRange.MPEG)
    context.options = _OPTIONS[kind]
    return b"".join(bytes(packet) for packet in [*context.encode(frame), *context.encode(None)])
