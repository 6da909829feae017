"""Small files that would cost a careless server hours, gigabytes or a crash."""

import struct
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import av

from tests.media.clips import Clip, box, make_clip
from tests.promises.hostile_containers import text_avi

FAST = {"preset": "ultrafast"}


@dataclass(frozen=True)
class Bomb:
    """How to write it, and the error codes that are right for it."""

    write: Callable[[Path], object]
    codes: frozenset[str]


def _clip(path: Path, clip: Clip, container: str = "matroska") -> None:
    make_clip(path, clip, format=container)


def _sparse(step: int, frames: int) -> Callable[[Path], None]:
    """Frames `step` seconds apart."""
    times = [step * number for number in range(frames)]
    return lambda path: _clip(path, Clip("mpeg4", frames, Fraction(1), (64, 48), times=times))


def _many_streams(path: Path, count: int) -> None:
    """Write the Matroska headers of `count` video tracks and one block of the first."""
    entry = _element(b"\x83", b"\x01") + _element(b"\x86", b"V_MJPEG")
    entry += _element(b"\xe0", _element(b"\xb0", b"\x40") + _element(b"\xba", b"\x30"))
    numbered = (
        _element(b"\xd7", struct.pack(">H", n)) + _element(b"\x73\xc5", struct.pack(">H", n)) + entry
        for n in range(1, count + 1)
    )
    tracks = _element(b"\x16\x54\xae\x6b", b"".join(_element(b"\xae", track) for track in numbered))
    header = _element(b"\x1a\x45\xdf\xa3", _element(b"\x42\x82", b"matroska"))
    block = _element(b"\xa3", b"\x40\x01\0\0\x80" + b"\xff\xd8\xff\xd9" * 50)
    cluster = _element(b"\x1f\x43\xb6\x75", _element(b"\xe7", b"\0") + block)
    path.write_bytes(header + _element(b"\x18\x53\x80\x67", tracks + cluster))


def _element(name: bytes, data: bytes) -> bytes:
    """Build an EBML element with an eight-byte size (RFC 8794, 4)."""
    return name + struct.pack(">Q", 1 << 56 | len(data)) + data


def _lying_header(path: Path) -> None:
    """Claim 12,000 × 12,000 raw pixels in the header of pictures of 32 × 32."""
    data = bytearray(text_avi("1\n", picture=True))
    struct.pack_into("<ii", data, data.index(b"strf") + 12, 12_000, 12_000)
    path.write_bytes(data)


def _lying_picture(path: Path) -> None:
    """Claim 60,000 × 60,000 in the JPEG pictures (SOF0) alone: only decoding shows it."""
    _clip(path, Clip("mjpeg", 3, size=(64, 48), pix_fmt="yuvj420p"), "avi")
    data = path.read_bytes()
    path.write_bytes(data.replace(b"\xff\xc0\x00\x11\x08" + struct.pack(">HH", 48, 64), _START_OF_FRAME))


_START_OF_FRAME = b"\xff\xc0\x00\x11\x08" + struct.pack(">HH", 60_000, 60_000)


def _patched_movie(path: Path, kind: bytes, change: Callable[[bytearray, int], None]) -> None:
    """Write a small MP4 and change the first box of a kind in place; `change` gets the offset of its payload."""
    _clip(path, Clip("mpeg4", 10, size=(64, 48)), "mp4")
    data = bytearray(path.read_bytes())
    change(data, data.index(kind) + 4)
    path.write_bytes(data)


def _billion_samples(path: Path) -> None:
    """Say that the table of equal samples has 2^30 entries of 1 byte."""

    def change(data: bytearray, at: int) -> None:
        struct.pack_into(">III", data, at, 0, 1, 1 << 30)

    _patched_movie(path, b"stsz", change)


def _endless_header(path: Path) -> None:
    """Say that a clip of ten frames lasts 13 years."""

    def change(data: bytearray, at: int) -> None:
        struct.pack_into(">I", data, at + 16, 0xFFFF_FFF0)

    _patched_movie(path, b"mdhd", change)


def _nested_boxes(path: Path) -> None:
    depth = 60_000
    headers = b"".join(struct.pack(">I4s", 8 * (depth - level), b"moov") for level in range(depth))
    path.write_bytes(box(b"ftyp", b"isom\0\0\2\0isom") + headers)


def _empty_chunks(path: Path) -> None:
    """Follow three pictures of an AVI with a million chunks of no bytes, each of which lasts a frame."""
    _clip(path, Clip("mjpeg", 3, size=(64, 48), pix_fmt="yuvj420p"), "avi")
    data = path.read_bytes()
    at = data.index(b"idx1")
    path.write_bytes(data[:at] + b"00dc\0\0\0\0" * 500_000)


def _repeated_picture(path: Path, size: tuple[int, int], frames: int) -> None:
    """Write one VP9 keyframe over and over, 120 times a second."""
    context = av.CodecContext.create("libvpx-vp9", "w")
    assert isinstance(context, av.VideoCodecContext)
    context.width, context.height, context.pix_fmt = *size, "yuv420p"
    context.time_base, context.options = Fraction(1, 120), {"deadline": "realtime", "cpu-used": "8"}
    (picture,) = (bytes(packet) for packet in [*context.encode(av.VideoFrame(*size, "yuv420p")), *context.encode(None)])
    with av.open(str(path), "w", format="webm") as out:
        stream = out.add_stream("libvpx-vp9", rate=120)
        stream.width, stream.height, stream.pix_fmt = *size, "yuv420p"
        for number in range(frames):
            packet = av.Packet(picture)
            packet.stream, packet.pts, packet.dts, packet.time_base = stream, number, number, Fraction(1, 120)
            packet.is_keyframe = True
            out.mux(packet)


def _codes(*codes: str) -> frozenset[str]:
    return frozenset(codes)


BOMBS = {
    "header of 12000x12000": Bomb(_lying_header, _codes("limit_pixels")),
    "picture of 60000x60000": Bomb(_lying_picture, _codes("limit_pixels")),
    "two frames ten hours apart": Bomb(_sparse(36_000, 2), _codes("limit_gap")),
    "gaps below the limit": Bomb(_sparse(590, 60), _codes("limit_fill")),
    "thirteen hours": Bomb(_sparse(300, 157), _codes("limit_duration")),
    "40 streams": Bomb(lambda path: _many_streams(path, 40), _codes("limit_streams")),
    "3000 streams": Bomb(lambda path: _many_streams(path, 3000), _codes("limit_streams")),
    "240 frames a second": Bomb(
        lambda path: _clip(path, Clip("mpeg4", 480, Fraction(240), (64, 48))), _codes("limit_fps")
    ),
    "8192x4320 at 120 frames a second": Bomb(
        lambda path: _repeated_picture(path, (8192, 4320), 300), _codes("limit_pixel_rate")
    ),
    "a billion samples": Bomb(_billion_samples, _codes("unsupported_media", "damaged_media", "limit_fps")),
    "13 years by its header": Bomb(_endless_header, _codes("damaged_media", "ready")),
    "boxes in boxes": Bomb(_nested_boxes, _codes("unsupported_media", "limit_video_streams")),
    "half a million empty chunks": Bomb(_empty_chunks, _codes("damaged_media", "limit_fill", "ready")),
}
# What only the walls stop: each with the setting that makes it cheap to try.
WALLED = {
    "stills that fill 40 minutes": ("SF_SANDBOX__OUTPUT_SLACK_BYTES", "1000", _sparse(20, 120), "limit_output_bytes"),
    "a large picture in little memory": (
        "SF_SANDBOX__MEMORY_BYTES",
        str(250 << 20),
        lambda path: _clip(path, Clip(frames=3, size=(4096, 2160), options=FAST)),
        "limit_memory",
    ),
}
