"""Boxes are found where they were put, and nothing outside its bounds is believed."""

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sfserver.media.mp4.boxes import build_box, build_full_box, find_box, iter_boxes

KINDS = st.text("abcdefghijklmnopqrstuvwxyz0123456789", min_size=4, max_size=4)


@given(st.lists(st.tuples(KINDS, st.binary(max_size=50)), max_size=8))
def test_siblings_are_walked_in_order(boxes: list[tuple[str, bytes]]) -> None:
    data = b"".join(build_box(kind, body) for kind, body in boxes)
    assert [(box.kind, data[box.body : box.end]) for box in iter_boxes(data)] == boxes


@given(st.binary(max_size=200))
def test_any_bytes_give_boxes_within_them_or_an_error(data: bytes) -> None:
    end = 0
    try:
        for box in iter_boxes(data):
            assert box.start == end
            assert box.start + 8 <= box.body <= box.end <= len(data)
            end = box.end
    except ValueError:
        return
    assert end == len(data)


def test_a_path_leads_into_nested_boxes() -> None:
    data = build_box("free") + build_box(
        "moof", build_box("mfhd"), build_box("traf", build_full_box("trun", 1, 5, b"x"))
    )
    trun = find_box(data, "moof/traf/trun")
    assert data[trun.body : trun.end] == b"\x01\x00\x00\x05x"


def test_a_large_size_takes_64_bits() -> None:
    data = struct.pack(">I4sQ", 1, b"mdat", 20) + b"body" + build_box("free")
    assert [(box.kind, box.body, box.end) for box in iter_boxes(data)] == [("mdat", 16, 20), ("free", 28, 28)]


@pytest.mark.parametrize(
    ("data", "complaint"),
    [
        (b"\0\0\0", "no box"),
        (struct.pack(">I4s", 0, b"mdat"), "claims 0"),
        (struct.pack(">I4s", 7, b"mdat"), "claims 7"),
        (struct.pack(">I4s", 9, b"mdat"), "claims 9"),
        (struct.pack(">I4s", 1, b"mdat"), "claims 1"),
        (struct.pack(">I4sQ", 1, b"mdat", 15), "claims 15"),
        (struct.pack(">I4sQ", 1, b"mdat", 2**63), "of 16 bytes"),
    ],
)
def test_a_size_that_cannot_be_is_refused(data: bytes, complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint):
        list(iter_boxes(data))


def test_a_missing_box_is_named() -> None:
    with pytest.raises(ValueError, match="no trun box"):
        find_box(build_box("moof", build_box("traf")), "moof/traf/trun")
