"""The rendition ladder: boxes, rates and encoder settings as data, and the pure rules that pick rungs from them."""

from dataclasses import dataclass
from fractions import Fraction

from sfserver.media.contract import ChunkSpec, Rung


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
CRF = "23.5"
# B-frames without a pyramid: composition lags decoding by exactly one frame, the most that players which ignore
# edit lists may show sound early by.
REORDER_FRAMES = 1
# stitchable: parameter sets must not depend on rate control, or the joints of chunks don't decode.
# annexb=0: length-prefixed NAL units and an avcC, as MP4 stores them.
_COMMON = (
    "annexb=0:stitchable=1:b-adapt=0:bframes=2:b-pyramid=none:scenecut=0:vbv-init=0.5:threads=1:lookahead-threads=1"
)

_MIN_RATE_BPS = 32_000
_VBV_S = 1.0
_VBV_INIT = 0.5

# H.264 table A-1: level × 10, macroblocks a second, macroblocks a frame.
_LEVELS = (
    (21, 19_800, 792), (22, 20_250, 1_620), (30, 40_500, 1_620), (31, 108_000, 3_600), (32, 216_000, 5_120),
    (40, 245_760, 8_192), (42, 522_240, 8_704), (50, 589_824, 22_080), (51, 983_040, 36_864),
)  # fmt: skip


def build_ladder(
    width: int, height: int, fps: Fraction, gop_frames: int, source_bps: int
) -> tuple[list[Rung], list[str]]:
    """Pick the rungs, best first, for a source shown at `width` × `height`, and say why each box is in or out.

    Never upscales: the smallest box that holds the source gets it at its own size, smaller boxes get it scaled.
    No rung gets more bits a second than the source's video has (`source_bps`).
    """
    holding = [box for box in BOXES if _holds(box, width, height)]
    rungs, reasons = [], []
    for box in BOXES:
        if box in holding[:-1]:
            reasons.append(f"{box.name} left out: the source is {width}x{height}, filling this box would upscale it")
            continue
        rung = _make_rung(box, _fit(box, width, height), (width, height), fps, (gop_frames, source_bps))
        rungs.append(rung)
        reasons.append(f"{box.name}: {rung.reason}")
    return rungs, reasons


def chunk_options(rung: Rung, chunk: ChunkSpec, fps: Fraction) -> dict[str, str]:
    """Return the rung's codec options with the chunk's rate cap.

    Each chunk starts with half a buffer to spend on top of its rate; the cap is lowered so that rate × time holds
    for every chunk, and so for the whole file.
    """
    length_s = float((chunk.end_frame - chunk.start_frame) / fps)
    buffer_s = min(_VBV_S, length_s / 2)
    maxrate = rung.maxrate_bps * (1 - _VBV_INIT * buffer_s / length_s)
    return {**rung.options, "maxrate": str(int(maxrate)), "bufsize": str(max(1, int(maxrate * buffer_s)))}


def _holds(box: Box, width: int, height: int) -> bool:
    return max(width, height) <= box.long_side and min(width, height) <= box.short_side


def _fit(box: Box, width: int, height: int) -> tuple[int, int]:
    long, short = max(width, height), min(width, height)
    scale = min(Fraction(1), Fraction(box.long_side, long), Fraction(box.short_side, short))
    if scale == 1:
        return max(2, width - width % 2), max(2, height - height % 2)
    return max(2, round(width * scale / 2) * 2), max(2, round(height * scale / 2) * 2)


def _make_rung(
    box: Box, size: tuple[int, int], source: tuple[int, int], fps: Fraction, limits: tuple[int, int]
) -> Rung:
    gop_frames, source_bps = limits
    maxrate = max(_MIN_RATE_BPS, min(box.rate_bps, source_bps))
    options = {
        "preset": box.preset,
        "profile": "high",
        "crf": CRF,
        "g": str(gop_frames),
        "keyint_min": str(gop_frames),
        "a53cc": "0",
        "x264-params": f"{_COMMON}:level={h264_level(*size, fps) / 10:g}:{box.tuning}",
    }
    return Rung(box.name, *size, maxrate, "libx264", options, _reason(box, size, source, maxrate))


def _reason(box: Box, size: tuple[int, int], source: tuple[int, int], maxrate: int) -> str:
    shape = f"{size[0]}x{size[1]}"
    if _holds(box, *source):
        why = f"{shape}, the source's own size, in the smallest box that holds it"
    else:
        why = f"{shape}, the source's {source[0]}x{source[1]} scaled into {box.long_side}x{box.short_side}"
    cap = "the rung's rate" if maxrate == box.rate_bps else "the source's own video rate"
    return f"{why}; at most {maxrate // 1000} kb/s ({cap})"


def h264_level(width: int, height: int, fps: Fraction) -> int:
    """Return the lowest H.264 level × 10 that allows this size and rate (ITU-T H.264, table A-1)."""
    across, down = -(-width // 16), -(-height // 16)
    for level, per_second, per_frame in _LEVELS:
        fits = across * down <= per_frame and max(across, down) ** 2 <= 8 * per_frame
        if fits and across * down * fps <= per_second:
            return level
    return _LEVELS[-1][0]
