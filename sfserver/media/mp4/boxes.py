"""Boxes of the ISO base media file format (ISO/IEC 14496-12, 4.2): building them and reading them within bounds."""

import struct
from collections.abc import Iterator
from dataclasses import dataclass


@dataclass(frozen=True)
class Box:
    """One box found in a buffer: its four-character `kind` and where its body lies."""

    kind: str
    start: int
    body: int
    end: int


def build_box(kind: str, *parts: bytes) -> bytes:
    """Build a box of the joined `parts`. Raises struct.error beyond 4 GiB."""
    body = b"".join(parts)
    return struct.pack(">I4s", 8 + len(body), kind.encode("ascii")) + body


def build_full_box(kind: str, version: int, flags: int, *parts: bytes) -> bytes:
    """Build a box that begins with a version byte and 24 bits of flags."""
    return build_box(kind, struct.pack(">I", version << 24 | flags), *parts)


def iter_boxes(data: bytes | bytearray | memoryview, start: int = 0, end: int | None = None) -> Iterator[Box]:
    """Walk the sibling boxes of `data[start:end]`.

    Raises ValueError where a box is shorter than its header or reaches beyond `end`.
    """
    end = len(data) if end is None else end
    while start < end:
        box = _read_header(data, start, end)
        yield box
        start = box.end


def find_box(data: bytes | bytearray | memoryview, path: str, start: int = 0, end: int | None = None) -> Box:
    """Get the first box along a path such as `moof/traf/trun`. Raises ValueError where there is none."""
    kind, _, rest = path.partition("/")
    for box in iter_boxes(data, start, end):
        if box.kind == kind:
            return find_box(data, rest, box.body, box.end) if rest else box
    raise ValueError(f"no {kind} box")


def _read_header(data: bytes | bytearray | memoryview, start: int, end: int) -> Box:
    if end - start < 8:
        raise ValueError(f"{end - start} bytes at {start} are no box")
    size, kind = struct.unpack_from(">I4s", data, start)
    body = start + 8
    if size == 1 and end - start >= 16:
        size, body = struct.unpack_from(">Q", data, start + 8)[0], start + 16
    if not body - start <= size <= end - start:
        raise ValueError(f"box at {start} claims {size} of {end - start} bytes")
    return Box(kind.decode("latin-1"), start, body, start + size)
