"""A text that only grows, ready to be sent as it is or packed, for what is new in it and no more."""

import zlib

_GZIP = 31  # zlib's window bits for a gzip wrapper (RFC 1952)


class GrowingText:
    """`parts` is how many were appended; whoever appends is alone."""

    def __init__(self, head: str) -> None:
        self.parts = -1
        self._plain = bytearray()
        self._packer = zlib.compressobj(wbits=_GZIP)
        self._packed = bytearray()
        self.append(head)

    def append(self, text: str) -> None:
        """Add a part."""
        data = text.encode()
        self._plain += data
        self._packed += self._packer.compress(data)
        self.parts += 1

    def whole(self, end: str, *, packed: bool) -> bytes:
        """Return all of it with `end` behind it, which is not kept."""
        if not packed:
            return bytes(self._plain) + end.encode()
        packer = self._packer.copy()
        return bytes(self._packed) + packer.compress(end.encode()) + packer.flush()
