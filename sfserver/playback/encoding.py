"""Texts sent as they are, or packed where that is asked for in so many words (RFC 9110, 12.5.3).

Apple's players require packed playlists, Chromium's own HLS fails on them and says so: what is not named is not wanted.
"""

import gzip
import re

from fastapi import Request, Response

_CODING = re.compile(r"(?:x-)?gzip(?:\s*;\s*q=(0(?:\.\d{0,3})?|1(?:\.0{0,3})?))?", re.IGNORECASE)


def wants_gzip(request: Request) -> bool:
    """Whether the client names gzip among the codings it takes, and not with a weight of nothing."""
    for coding in request.headers.get("accept-encoding", "").split(","):
        found = _CODING.fullmatch(coding.strip())
        if found:
            return found[1] is None or float(found[1]) > 0
    return False


def text_response(request: Request, text: str | bytes, *, media_type: str, cache_control: str) -> Response:
    """Answer with a text; bytes are in the coding that `wants_gzip` names already."""
    packed = wants_gzip(request)
    headers = {"Cache-Control": cache_control, "Vary": "Accept-Encoding"}
    if packed:
        headers["Content-Encoding"] = "gzip"
    if isinstance(text, str):
        text = gzip.compress(text.encode(), mtime=0) if packed else text.encode()
    return Response(text, media_type=media_type, headers=headers)
