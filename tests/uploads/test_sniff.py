"""First bytes: every container we open passes, text and pictures do not."""

from pathlib import Path

import av
import numpy as np
import pytest

from sfserver.uploads.service import base_name, default_title
from sfserver.uploads.sniff import SNIFF_BYTES, may_be_video

CONTAINERS = {"mp4": "mpeg4", "mov": "mpeg4", "matroska": "mpeg4", "webm": "libvpx", "avi": "mpeg4", "mpegts": "mpeg4"}
CONTAINERS |= {"flv": "flv", "ogg": "libvpx"}


@pytest.mark.parametrize(("container", "codec"), CONTAINERS.items())
def test_containers_pass(tmp_path: Path, container: str, codec: str) -> None:
    path = tmp_path / "clip"
    with av.open(str(path), "w", format=container) as out:
        stream = out.add_stream(codec, rate=25)
        stream.width, stream.height, stream.pix_fmt = 64, 64, "yuv420p"
        for _ in range(5):
            frame = av.VideoFrame.from_ndarray(np.zeros((64, 64, 3), np.uint8), format="rgb24")
            out.mux(stream.encode(frame))
        out.mux(stream.encode(None))
    assert may_be_video(path.read_bytes()[:SNIFF_BYTES])


@pytest.mark.parametrize(
    "head",
    [
        b"",
        b"#EXTM3U\n#EXT-X-VERSION:3\n",
        b"ffconcat version 1.0\nfile 'a.mp4'\n",
        b"v=0\r\no=- 0 0 IN IP4 127.0.0.1\r\n",
        b"<?xml version='1.0'?><MPD/>",
        b"\x89PNG\r\n\x1a\n" + bytes(100),
        b"RIFF\x00\x00\x00\x00WAVEfmt ",
        b"%PDF-1.7",
        b"MZ" + bytes(400),
        b"GIF89a" + bytes(400),
        bytes(4096),
    ],
)
def test_what_is_no_video_is_refused(head: bytes) -> None:
    assert not may_be_video(head)


@pytest.mark.parametrize(
    ("given", "name", "title"),
    [
        ("holiday.mp4", "holiday.mp4", "holiday"),
        ("C:\\Users\\me\\a.b.mov", "a.b.mov", "a.b"),
        ("../../etc/passwd", "passwd", "passwd"),
        ("", "video", "video"),
        (".mp4", ".mp4", ".mp4"),
    ],
)
def test_file_names_lose_their_folders(given: str, name: str, title: str) -> None:
    assert (base_name(given), default_title(base_name(given))) == (name, title)
