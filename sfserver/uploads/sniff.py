"""Judging a file by its first bytes: cheap, early, and only ever to refuse; the probe decides."""

SNIFF_BYTES = 4096
_TS_PACKET = 188
_ISO_BOXES = {b"ftyp", b"moov", b"mdat", b"wide", b"free", b"skip", b"pnot", b"styp", b"moof"}
_MAGIC = (
    b"\x1a\x45\xdf\xa3",  # EBML: Matroska, WebM
    b"FLV\x01",
    b"OggS",
    b"\x00\x00\x01\xba",  # MPEG program stream
)


def may_be_video(head: bytes) -> bool:
    """Return whether a file that begins with `head` (4 KiB or the whole file) can be one of the containers we open."""
    if head.startswith(_MAGIC) or head[4:8] in _ISO_BOXES:
        return True
    if head.startswith(b"RIFF"):
        return head[8:12] in (b"AVI ", b"AVIX")
    return _may_be_transport_stream(head)


def _may_be_transport_stream(head: bytes) -> bool:
    """Look for three sync bytes in a row (ISO/IEC 13818-1, 2.4.3.2), also in the 192-byte packets of M2TS."""
    for size, offset in ((_TS_PACKET, 0), (_TS_PACKET + 4, 4)):
        starts = [head[offset + n * size : offset + n * size + 1] for n in range(3)]
        if starts == [b"\x47"] * 3:
            return True
    return False
