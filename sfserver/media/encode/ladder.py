"""The rendition ladder: boxes, rates and encoder settings as data, and the pure rules that pick rungs from them."""

from dataclasses import dataclass
from fractions import Fraction

from sfserver.media.contract import ChunkSpec, Rung
from sfserver.media.encode.chunks import GOP_S


@dataclass(frozen=True)
class Box:
    """A quality: the largest picture it holds (in either orientation), its rate, and the x264 settings it gets."""

    name: str
    long_side: int
    short_side: int
    rate_bps: int
    preset: str
    tuning: str


# Why these (docs/adr/0006-encoder-settings.md, measured by bench/transcode): superfast with the tools it lacks most
# switched back on (macroblock tree over 20 frames of lookahead, quarter-pixel refinement, 8x8 partitions) costs two
# thirds of veryfast on big pictures and looks as good at the same size; on the small one a slower preset is cheap.
_BIG = "mbtree=1:rc-lookahead=20:weightp=1:aq-mode=1:subme=2:partitions=i4x4,i8x8,p8x8"
_SMALL = "rc-lookahead=20:aq-mode=1"

BOXES = (
    Box("1080p", 1920, 1080, 5_000_000, "superfast", _BIG),
    Box("720p", 1280, 720, 2_500_000, "superfast", _BIG),
    Box("360p", 640, 360, 1_000_000, "veryfast", _SMALL),
)

# As many bytes as plain veryfast spends at its well-known 23.
BASE_CRF = 23.5
# B-frames without a pyramid: composition lags decoding by exactly one frame, the most that players which ignore
# edit lists may show sound early by.
REORDER_FRAMES = 1
# stitchable: parameter sets must not depend on rate control, or the joints of chunks don't decode.
# annexb=0: length-prefixed NAL units and an avcC, as MP4 stores them.
_COMMON = (
    "annexb=0:stitchable=1:b-adapt=0:bframes=2:b-pyramid=none:scenecut=0:vbv-init=0.9:threads=1:lookahead-threads=1"
)

# x264 plans to hold half of the buffer, so one that is half full at first leaves nothing for the first picture: slides
# lost a hundredth of SSIM by it (docs/adr/0010-storage-budget-instead-of-source-rate.md).
_VBV_S = 1.0
_VBV_INIT = 0.9

# H.264 table A-1: level × 10, macroblocks a second, macroblocks a frame.
_LEVELS = (
    (21, 19_800, 792), (22, 20_250, 1_620), (30, 40_500, 1_620), (31, 108_000, 3_600), (32, 216_000, 5_120),
    (40, 245_760, 8_192), (42, 522_240, 8_704), (50, 589_824, 22_080), (51, 983_040, 36_864),
)  # fmt: skip


def build_ladder(width: int, height: int, fps: Fraction, gop_frames: int) -> tuple[list[Rung], list[str]]:
    """Pick the rungs, best first, for a source shown at `width` × `height`, and say why each box is in or out.

    Never upscales: the smallest box that holds the source gets it at its own size, smaller boxes get it scaled.
    The source's own rate caps nothing: it was earned with another codec or with longer GOPs than ours.
    """
    holding = [box for box in BOXES if _holds(box, width, height)]
    rungs, reasons = [], []
    for box in BOXES:
        if box in holding[:-1]:
            reasons.append(f"{box.name} left out: the source is {width}x{height}, filling this box would upscale it")
            continue
        rung = _make_rung(box, fit_size(box, width, height), (width, height), fps, gop_frames)
        rungs.append(rung)
        reasons.append(f"{box.name}: {rung.reason}")
    return rungs, reasons


def chunk_options(rung: Rung, chunk: ChunkSpec, fps: Fraction, crf: float = BASE_CRF) -> dict[str, str]:
    """Return the rung's codec options with the chunk's quality and rate cap.

    Each chunk starts with most of a second's rate to spend at once; the cap is lowered so that rate × time holds for
    every chunk, and so for the whole file. A video shorter than a GOP gets what a GOP may spend.
    """
    length_s = max(float(GOP_S), float((chunk.end_frame - chunk.start_frame) / fps))
    buffer = rung.maxrate_bps * _VBV_S
    maxrate = rung.maxrate_bps - _VBV_INIT * buffer / length_s
    return {**rung.options, "crf": f"{crf:g}", "maxrate": str(int(maxrate)), "bufsize": str(int(buffer))}


def _holds(box: Box, width: int, height: int) -> bool:
    return max(width, height) <= box.long_side and min(width, height) <= box.short_side


def fit_size(box: Box, width: int, height: int) -> tuple[int, int]:
    """Return the even size at which a `width` × `height` picture fills the box, never larger than it is."""
    long, short = max(width, height), min(width, height)
    scale = min(Fraction(1), Fraction(box.long_side, long), Fraction(box.short_side, short))
    if scale == 1:
        return max(2, width - width % 2), max(2, height - height % 2)
    return max(2, round(width * scale / 2) * 2), max(2, round(height * scale / 2) * 2)


def _make_rung(box: Box, size: tuple[int, int], source: tuple[int, int], fps: Fraction, gop_frames: int) -> Rung:
    options = {
        "preset": box.preset,
        "profile": "high",
        "crf": f"{BASE_CRF:g}",
        "g": str(gop_frames),
        "keyint_min": str(gop_frames),
        "a53cc": "0",
        "x264-params": f"{_COMMON}:level={h264_level(*size, fps) / 10:g}:{box.tuning}",
    }
    return Rung(box.name, *size, box.rate_bps, "libx264", options, _reason(box, size, source))


def _reason(box: Box, size: tuple[int, int], source: tuple[int, int]) -> str:
    shape = f"{size[0]}x{size[1]}"
    if _holds(box, *source):
        why = f"{shape}, the source's own size, in the smallest box that holds it"
    else:
        why = f"{shape}, the source's {source[0]}x{source[1]} scaled into {box.long_side}x{box.short_side}"
    return f"{why}; at most {box.rate_bps // 1000} kb/s"


def h264_level(width: int, height: int, fps: Fraction) -> int:
    """Return the lowest H.264 level × 10 that allows this size and rate (ITU-T H.264, table A-1)."""
    across, down = -(-width // 16), -(-height // 16)
    for level, per_second, per_frame in _LEVELS:
        fits = across * down <= per_frame and max(across, down) ** 2 <= 8 * per_frame
        if fits and across * down * fps <= per_second:
            return level
    return _LEVELS[-1][0]
