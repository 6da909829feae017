"""Real containers that carry or point to something else: what a demuxer would have to follow, it must not."""

import struct
from collections.abc import Callable
from pathlib import Path

import av

from tests.media.clips import Clip, box, make_clip

_PARENTS = {b"moov", b"trak", b"mdia", b"minf", b"dinf"}
_PLAYLIST = "#EXTM3U\n#EXT-X-MEDIA-SEQUENCE:0\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\n{target}\n#EXT-X-ENDLIST\n"
_CONCAT = "ffconcat version 1.0\nfile {target}\n"


def carriers(folder: Path, canary: Path, url: str) -> dict[str, bytes]:
    """Return containers with a real picture that name `canary` or `url`: reading them is fine, following is not."""
    plain = make_clip(folder / "plain.mov", Clip(frames=5, options={"preset": "ultrafast"}), format="mov").read_bytes()
    made = {}
    for target in (str(canary), canary.name, f"../in/{canary.name}", url):
        label = str(len(made))
        made[f"mov_url_{label}"] = _with_reference(plain, _url_reference(target))
        made[f"mov_alias_{label}"] = _with_reference(plain, _alias_reference(target))
        made[f"gab2_hls_{label}"] = text_avi(_PLAYLIST.format(target=target), picture=True)
        made[f"gab2_concat_{label}"] = text_avi(_CONCAT.format(target=target), picture=True)
        made[f"attachment_{label}"] = _attachment(folder, _PLAYLIST.format(target=target), target)
    return made


def text_only(canary: Path, url: str) -> dict[str, bytes]:
    """Return AVI files whose only stream is a subtitle that is a playlist, and pictures that name others."""
    made = {}
    for target in (str(canary), canary.name, url, f"subfile,,start,0,end,99,,:{canary}", "data:video/mp4;base64,AAAA"):
        label = str(len(made))
        made[f"gab2_only_{label}"] = text_avi(_PLAYLIST.format(target=target), picture=False)
        made[f"brand_then_hls_{label}"] = box(b"ftyp", b"isom\0\0\2\0isom") + _PLAYLIST.format(target=target).encode()
        made[f"riff_then_concat_{label}"] = (
            b"RIFF" + struct.pack("<I", 4) + b"AVI " + _CONCAT.format(target=target).encode()
        )
        made[f"ebml_then_hls_{label}"] = b"\x1a\x45\xdf\xa3\x80" + _PLAYLIST.format(target=target).encode()
        made[f"xbin_{label}"] = b"XBIN\x1a" + struct.pack("<HHBB", 80, 25, 16, 3) + target.encode().ljust(4096, b"\0")
    return made


def upload_names(canary: Path, port: int) -> list[str]:
    """Return file names that a careless `open` would take for a protocol, a pattern or another folder."""
    return [
        f"http://127.0.0.1:{port}/a.mp4",
        f"concat:{canary}|{canary}",
        f"subfile,,start,0,end,99,,:{canary}",
        "data:video/mp4;base64,AAAA",
        "canary%03d.png",
        "%d.mp4",
        "*.mp4",
        str(canary),
        f"../../{canary.name}",
        f"crypto:file:{canary}",
        f"async:{canary}",
        f"tee:{canary}",
        "pipe:0",
        "-i.mp4",
        "a.m3u8",
        "a\0b.mp4",
    ]


def _with_reference(data: bytes, reference: bytes) -> bytes:
    """Replace every data reference of a movie whose `moov` stands last."""
    dref = box(b"dref", struct.pack(">II", 0, 1) + reference)
    return _rewrite(data, lambda kind, whole: dref if kind == b"dref" else whole)


def _rewrite(data: bytes, change: Callable[[bytes, bytes], bytes]) -> bytes:
    out, at = b"", 0
    while at < len(data):
        size, kind = struct.unpack_from(">I4s", data, at)
        whole = data[at : at + size]
        out += box(kind, _rewrite(whole[8:], change)) if kind in _PARENTS else change(kind, whole)
        at += size
    return out


def _url_reference(target: str) -> bytes:
    return box(b"url ", bytes(4) + target.encode() + b"\0")


def _alias_reference(target: str) -> bytes:
    """Build an alias record as QuickTime writes it: volume, file name, levels up and down, absolute path (type 2)."""
    name = Path(target).name.encode()[:63]
    path = target.replace("/", ":").encode()
    record = bytes(10) + b"\x01" + b"/".ljust(27, b"\0") + bytes(12) + bytes([len(name)]) + name.ljust(63, b"\0")
    record += bytes(16) + struct.pack(">HH", 1, 1) + bytes(16)
    path += b"\0" * (len(path) % 2)
    record += struct.pack(">HH", 2, len(path)) + path + struct.pack(">HH", 0, 2) + b"in" + struct.pack(">HH", 0xFFFF, 0)
    return box(b"alis", bytes(4) + record)


def _attachment(folder: Path, text: str, name: str) -> bytes:
    """Write a Matroska file with a picture and the playlist attached under the target's name."""
    path = folder / "attached.mkv"
    with av.open(str(path), "w", format="matroska") as out:
        video = out.add_stream("mjpeg", rate=25)
        video.width, video.height, video.pix_fmt = 64, 48, "yuvj420p"
        out.add_attachment(name, "application/vnd.apple.mpegurl", text.encode())
        frame = av.VideoFrame(64, 48, "yuvj420p")
        for number in range(5):
            frame.pts = number
            out.mux(video.encode(frame))
        out.mux(video.encode(None))
    return path.read_bytes()


def text_avi(text: str, *, picture: bool) -> bytes:
    """Build an AVI whose subtitle stream is a GAB2 packet that holds `text`, with a raw picture stream or without."""
    bitmap = struct.pack("<IiiHHIIiiII", 40, 32, 32, 1, 24, 0, 3072, 0, 0, 0, 0)
    streams = [(b"vids", b"DIB ", bitmap)] if picture else []
    streams.append((b"txts", bytes(4), b""))
    headers = b"".join(_list(b"strl", _chunk(b"strh", _stream_header(*s[:2])) + _chunk(b"strf", s[2])) for s in streams)
    main = struct.pack("<14I", 40_000, 0, 0, 0x10, 5, 0, len(streams), 0, 32, 32, 0, 0, 0, 0)
    gab2 = b"GAB2\0" + struct.pack("<HIHHI", 2, 2, 0, 4, len(text)) + text.encode()
    movie = _chunk(b"%02dtx" % (len(streams) - 1), gab2)
    if picture:
        movie = b"".join(_chunk(b"00db", bytes([40 * n]) * 3072) for n in range(5)) + movie
    body = _list(b"hdrl", _chunk(b"avih", main) + headers) + _list(b"movi", movie)
    return b"RIFF" + struct.pack("<I", len(body) + 4) + b"AVI " + body


def _stream_header(kind: bytes, handler: bytes) -> bytes:
    return struct.pack("<4s4sIHHIIIIIIII4H", kind, handler, 0, 0, 0, 0, 1, 25, 0, 5, 0, 0, 0, 0, 0, 32, 32)


def _chunk(kind: bytes, data: bytes) -> bytes:
    return kind + struct.pack("<I", len(data)) + data + b"\0" * (len(data) % 2)


def _list(kind: bytes, data: bytes) -> bytes:
    return _chunk(b"LIST", kind + data)
