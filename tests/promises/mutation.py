"""A seeded mutator of media files: the kinds of damage that reach a demuxer's and a decoder's corners."""

from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from random import Random

from tests.media.clips import Clip, make_clip

SMALL = {"frames": 12, "fps": Fraction(12), "size": (96, 64), "gop": 6}
ORIGINALS = {
    "mp4": (Clip(**SMALL, audio="aac"), "mp4"),
    "fragmented": (Clip(**SMALL, muxer={"movflags": "frag_keyframe+empty_moov"}), "mp4"),
    "mov": (Clip("mjpeg", **SMALL, pix_fmt="yuvj420p", audio="pcm_s16le"), "mov"),
    "avi": (Clip("mpeg4", **SMALL, audio="libmp3lame"), "avi"),
    "mkv": (Clip("libx264", **SMALL, audio="vorbis"), "matroska"),
    "webm": (Clip("libvpx", **SMALL, audio="libopus"), "webm"),
    "vp9": (Clip("libvpx-vp9", **SMALL, options={"deadline": "realtime", "cpu-used": "8"}), "webm"),
    "ts": (Clip("libx264", **SMALL, audio="aac"), "mpegts"),
    "hevc": (Clip("libx265", **SMALL, options={"x265-params": "log-level=error"}), "matroska"),
}
_INTERESTING = (b"\0\0\0\0", b"\xff\xff\xff\xff", b"\x7f\xff\xff\xff", b"\x80\0\0\0", b"\0\0\0\1", b"\1\0\0\0")


def originals(folder: Path) -> dict[str, bytes]:
    """Make the clips that are mutated, about a second each."""
    return {
        name: make_clip(folder / name, clip, format=container).read_bytes()
        for name, (clip, container) in ORIGINALS.items()
    }


def mutate(data: bytes, random: Random) -> bytes:
    """Return the data with one to three kinds of damage."""
    hurt = bytearray(data)
    for _ in range(random.randint(1, 3)):
        if hurt:
            random.choice(_DAMAGES)(hurt, random)
    return bytes(hurt)


def _flip_bits(data: bytearray, random: Random) -> None:
    """Flip single bits all over, like zzuf."""
    ratio = 10 ** random.uniform(-4, -1.5)
    for _ in range(max(1, int(len(data) * ratio))):
        data[random.randrange(len(data))] ^= 1 << random.randrange(8)


def _flip_header(data: bytearray, random: Random) -> None:
    """Change bytes where the headers are: at the start, or in the tables at the end."""
    start = random.choice((0, max(0, len(data) - 1500)))
    for _ in range(random.randint(1, 12)):
        data[random.randrange(start, min(len(data), start + 1500))] = random.randrange(256)


def _write_extremes(data: bytearray, random: Random) -> None:
    for _ in range(random.randint(1, 6)):
        at = random.randrange(max(1, len(data) - 4))
        data[at : at + 4] = random.choice(_INTERESTING)


def _truncate(data: bytearray, random: Random) -> None:
    del data[random.randrange(len(data)) :]


def _cut_out(data: bytearray, random: Random) -> None:
    at = random.randrange(len(data))
    del data[at : at + random.randint(1, 400)]


def _repeat(data: bytearray, random: Random) -> None:
    at = random.randrange(len(data))
    data[at:at] = data[at : at + random.randint(1, 2000)] * random.randint(1, 4)


def _blank(data: bytearray, random: Random) -> None:
    at = random.randrange(len(data))
    length = min(len(data) - at, random.randint(1, 800))
    data[at : at + length] = bytes([random.choice((0, 0xFF))]) * length


_DAMAGES: tuple[Callable[[bytearray, Random], None], ...] = (
    _flip_bits,
    _flip_bits,
    _flip_header,
    _write_extremes,
    _truncate,
    _cut_out,
    _repeat,
    _blank,
)
