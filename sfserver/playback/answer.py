"""The answer that sends media: conditions, one range, HEAD, and bytes read in threads while others are sent."""

import asyncio
from collections.abc import Iterator, Mapping
from datetime import datetime
from email.utils import format_datetime
from urllib.parse import quote

import structlog
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from sfserver.errors import (
    ObjectMissingError,
    ObjectTruncatedError,
    PreconditionFailedError,
    RangeNotSatisfiableError,
    StreamForgeError,
)
from sfserver.infra.storage.contract import ObjectStore
from sfserver.playback.bodies import Body, OpenObjects, Span, cut_into_buffers
from sfserver.playback.ranges import (
    ByteRange,
    Validators,
    is_failed_precondition,
    is_not_modified,
    may_use_range,
    parse_range,
)
from sfserver.problems import problem_response

log = structlog.get_logger(__name__)
_DAMAGED_HINT = "its owner can have it made again: sfctl reprocess"
_UNSAFE_IN_FILE_NAME = str.maketrans(dict.fromkeys('/\\:*?"<>|%;', "_"))


class MediaResponse(Response):
    """Sends a body of the store: 200, 206, 304, 412 or 416, and 404 when an object has gone or is another one."""

    def __init__(
        self, store: ObjectStore, body: Body, *, media_type: str, held: Validators, headers: Mapping[str, str]
    ) -> None:
        super().__init__(headers=dict(headers), media_type=media_type)
        self._store, self._media, self._held = store, body, held
        self._has_begun = False
        self.headers["Accept-Ranges"] = "bytes"
        self.headers["ETag"] = held.etag
        self.headers["Last-Modified"] = http_date(held.modified_at)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Judge the request's conditions and send what they ask for."""
        objects = OpenObjects(self._store)
        try:
            await self._answer(scope, receive, send, objects)
        except RangeNotSatisfiableError as error:
            await self._refuse(error, {"Content-Range": f"bytes */{self._media.size}"}, scope, receive, send)
        except StreamForgeError as error:
            if not self._has_begun:
                await self._refuse(_for_viewers(error), {}, scope, receive, send)
            else:  # what is missing of the announced length says it: the line is closed
                log.warning("media.cut", code=error.code, detail=error.detail)
        finally:
            objects.close()

    async def _answer(self, scope: Scope, receive: Receive, send: Send, objects: OpenObjects) -> None:
        asked = Headers(scope=scope)
        if is_failed_precondition(asked, self._held):
            raise PreconditionFailedError
        if is_not_modified(asked, self._held):
            await self._start(send, 304, self.headers)
            await send({"type": "http.response.body", "body": b""})
            return
        chosen = None
        # RFC 9110, 14.2: Range means something for GET alone.
        if scope["method"] == "GET" and may_use_range(asked.get("if-range"), self._held):
            chosen = parse_range(asked.get("range"), self._media.size)
        part = chosen or ByteRange(0, self._media.size)
        headers = MutableHeaders(raw=list(self.raw_headers))
        headers["Content-Length"] = str(part.length)
        if chosen is not None:
            headers["Content-Range"] = f"bytes {part.start}-{part.end - 1}/{self._media.size}"
        buffers = cut_into_buffers(self._media.iter_range(part.start, part.end))
        # The first read comes before the status line: an object that has gone is still a 404.
        first = next(buffers, [])
        is_head = scope["method"] == "HEAD"
        data = await run_in_threadpool(_check if is_head else _read, objects, first)
        await self._start(send, 200 if chosen is None else 206, headers)
        if not is_head and part.length > len(data):
            data = await self._send_most(receive, send, objects, data, buffers)
        await send({"type": "http.response.body", "body": data})

    @staticmethod
    async def _send_most(
        receive: Receive, send: Send, objects: OpenObjects, data: bytes, buffers: Iterator[list[Span]]
    ) -> bytes:
        """Send all buffers but the last, which is returned; stop where the client has gone.

        A player that seeks leaves most of what it asked for unread.
        """
        gone = asyncio.ensure_future(_disconnected(receive))
        try:
            for spans in buffers:
                await send({"type": "http.response.body", "body": data, "more_body": True})
                if gone.done():
                    return b""
                data = await run_in_threadpool(objects.read, spans)
        finally:
            gone.cancel()
        return data

    async def _start(self, send: Send, status: int, headers: MutableHeaders) -> None:
        self._has_begun = True
        raw = [(name, value) for name, value in headers.raw if status != 304 or name != b"content-length"]
        await send({"type": "http.response.start", "status": status, "headers": raw})

    @staticmethod
    async def _refuse(
        error: StreamForgeError, headers: dict[str, str], scope: Scope, receive: Receive, send: Send
    ) -> None:
        await problem_response(Request(scope), error, headers)(scope, receive, send)


def _for_viewers(error: StreamForgeError) -> StreamForgeError:
    """Return what viewers are told; which object it is stands in the log."""
    if isinstance(error, ObjectMissingError | ObjectTruncatedError):
        log.warning("media.damaged", code=error.code, detail=error.detail)
        return type(error)("a part of this video is not in the store as it was", hint=_DAMAGED_HINT)
    return error


async def _disconnected(receive: Receive) -> None:
    """Return once the client has gone."""
    while (await receive())["type"] != "http.disconnect":
        pass


def _read(objects: OpenObjects, spans: list[Span]) -> bytes:
    return objects.read(spans) if spans else b""


def _check(objects: OpenObjects, spans: list[Span]) -> bytes:
    """See that the first bytes are there, for an answer without any."""
    for span in spans:
        objects.check(span)
    return b""


def http_date(moment: datetime) -> str:
    """Return an aware time as an HTTP date (RFC 9110, 5.6.7)."""
    return format_datetime(moment.replace(microsecond=0), usegmt=True)


def attachment(title: str, extension: str) -> str:
    """Return a `Content-Disposition` that saves under the title: plain ASCII for old clients, UTF-8 for all others.

    RFC 6266 with RFC 8187; whatever a file system or header could misread becomes an underscore.
    """
    cleaned = "".join(character if character.isprintable() else "_" for character in title)
    name = cleaned.translate(_UNSAFE_IN_FILE_NAME).strip(" .")[:120] or "video"
    plain = name.encode("ascii", "replace").decode().replace("?", "_")
    # A lone surrogate cannot be UTF-8.
    encoded = quote(f"{name}{extension}".encode("utf-8", "replace"), safe="")
    return f"attachment; filename=\"{plain}{extension}\"; filename*=UTF-8''{encoded}"
