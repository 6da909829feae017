import pytest
from av.packet import Packet

from sfserver.media.source.index import count_pictures


@pytest.mark.parametrize(
    ("codec", "data", "pictures"),
    [
        ("vp9", b"\x82\x49\x83", 1),
        ("vp9", b"\x82\x49\xc1\x01\x01\xc1", 2),
        ("libvpx-vp9", b"\x82" + b"\xc7" + bytes(8) + b"\xc7", 8),
        ("h264", b"\x82\xc7", 1),
    ],
)
def test_a_packet_may_hold_more_pictures_than_it_shows(codec: str, data: bytes, pictures: int) -> None:
    assert count_pictures(Packet(data), codec) == pictures
