"""`/`, `/watch/{id}` and what they load. The pages hold no data; what they show is fetched with the viewer's cookie."""

from functools import cache
from importlib.resources import files

from fastapi import APIRouter, Response

from sfserver.errors import NotFoundError

router = APIRouter(include_in_schema=False)
_TYPES = {
    "index.html": "text/html",
    "watch.html": "text/html",
    "page.css": "text/css",
    "page.js": "text/javascript",
    "library.js": "text/javascript",
    "watch.js": "text/javascript",
    "live.js": "text/javascript",
    "playlists.js": "text/javascript",
    "icon.svg": "image/svg+xml",
}
# Everything comes from this server, nothing is inline, and nobody may frame the pages.
_HEADERS = {
    "Cache-Control": "no-cache",
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; media-src 'self' blob:; "
        "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "Referrer-Policy": "no-referrer",
}


@router.get("/")
def show_library() -> Response:
    """Return the page of the library."""
    return _page("index.html")


@router.get("/watch/{video_id}")
def show_video(video_id: str) -> Response:
    """Return the page of one video; the page itself is the same for all."""
    return _page("watch.html")


@router.get("/static/{name}")
def send_asset(name: str) -> Response:
    """Return a script, a style sheet or the icon."""
    if name not in _TYPES:
        raise NotFoundError
    return _page(name)


def _page(name: str) -> Response:
    return Response(_read(name), media_type=_TYPES[name], headers=_HEADERS)


@cache
def _read(name: str) -> bytes:
    return (files("sfserver.web") / "static" / name).read_bytes()
