"""Reading HLS playlists (RFC 8216) as far as choosing for a player needs it: the variants, and what is there of one."""

import re
from dataclasses import dataclass
from itertools import pairwise
from pathlib import PurePosixPath
from urllib.parse import urljoin, urlsplit

_SIZE = re.compile(r"[:,]RESOLUTION=(\d+)x(\d+)")
_RATE = re.compile(r"[:,]BANDWIDTH=(\d+)")


@dataclass(frozen=True)
class Variant:
    """One quality of a multivariant playlist: its place there, its size in pixels, its peak rate."""

    place: int
    quality: str
    url: str
    width: int
    height: int
    bandwidth_bps: int


def read_variants(text: str, url: str) -> list[Variant]:
    """Read the multivariant playlist found at `url`; a variant goes by the name of its playlist, `720p.m3u8`."""
    found: list[Variant] = []
    for line, after in pairwise(text.splitlines()):
        if line.startswith("#EXT-X-STREAM-INF:"):
            child, size, rate = urljoin(url, after), _SIZE.search(line), _RATE.search(line)
            width, height = (int(size[1]), int(size[2])) if size else (0, 0)
            name = PurePosixPath(urlsplit(child).path).stem
            found.append(Variant(len(found), name, child, width, height, int(rate[1]) if rate else 0))
    return found


def read_ends(text: str) -> list[float]:
    """Read at which second each segment of a media playlist ends."""
    ends: list[float] = []
    for duration_s in re.findall(r"^#EXTINF:(\d+(?:\.\d+)?)", text, re.MULTILINE):
        ends.append((ends[-1] if ends else 0.0) + float(duration_s))
    return ends
