"""What happens to every request before routing: its id, the check of its `Host`, headers every answer carries."""

import asyncio
import re
from collections.abc import Callable
from contextlib import suppress
from urllib.parse import parse_qsl
from uuid import uuid4

import structlog
from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from sfserver.errors import BadRequestError, MisdirectedRequestError, NotFoundError, StreamForgeError
from sfserver.problems import problem_response

_REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")
# One path has one spelling: whatever a proxy or a file system could read in two ways is refused before routing. No path
# of ours holds a character of ASCII that must be escaped.
_AMBIGUOUS_PATH = re.compile(rb"%[0-7]|%(?![0-9a-f]{2})|//|\\|/\.\.?(/|$)|[\x00-\x20]", re.IGNORECASE)
_MAX_PARAMETERS = 32
_DRAIN_BYTES, _DRAIN_S = 1 << 20, 2.0
_EXPOSED_HEADERS = "Accept-Ranges, Content-Length, Content-Range, ETag, Last-Modified, X-Request-Id"
_PREFLIGHT_HEADERS = {
    "Access-Control-Allow-Methods": "GET, HEAD",
    "Access-Control-Allow-Headers": "Authorization, If-None-Match, If-Range, Last-Event-ID, Range",
    "Access-Control-Max-Age": "600",
}


class RequestScope:
    """Give each request an id that logs, answers and problem documents carry."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Bind the id and pass the request on."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        sent = Headers(scope=scope).get("x-request-id", "")
        request_id = sent if _REQUEST_ID.fullmatch(sent) else uuid4().hex
        scope.setdefault("state", {})["request_id"] = request_id
        structlog.contextvars.clear_contextvars()
        structlog.contextvars.bind_contextvars(request_id=request_id)

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                headers["X-Request-Id"] = request_id
                headers.setdefault("X-Content-Type-Options", "nosniff")
            await send(message)

        await self._app(scope, receive, send_with_headers)


class KnownHost:
    """Refuse requests for a host this server does not go by (DNS rebinding), and addresses with two readings."""

    def __init__(self, app: ASGIApp, allowed_hosts: list[str]) -> None:
        self._app = app
        self._allowed = {host.lower() for host in allowed_hosts}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, or answer 421, 404 or 400."""
        error = self._judge(scope) if scope["type"] == "http" else None
        if error is None:
            await self._app(scope, receive, send)
        else:
            await problem_response(Request(scope), error)(scope, receive, send)

    def _judge(self, scope: Scope) -> StreamForgeError | None:
        if not self._is_known(Headers(scope=scope).get("host", "")):
            return MisdirectedRequestError()
        if _AMBIGUOUS_PATH.search(scope.get("raw_path") or scope["path"].encode()):
            return NotFoundError()
        if _is_ambiguous_query(scope["query_string"]):
            return BadRequestError("a query parameter is given twice, or holds what no text does")
        return None

    def _is_known(self, host: str) -> bool:
        name = re.sub(r":\d*$", "", host.lower())
        return "*" in self._allowed or name in self._allowed


def _is_ambiguous_query(query: bytes) -> bool:
    """Whether two readers could take the query differently: a name twice, or a NUL that ends a string for some."""
    if b"&" not in query and b"%00" not in query:
        return False
    try:
        pairs = parse_qsl(query.decode("latin-1"), keep_blank_values=True, max_num_fields=_MAX_PARAMETERS)
    except ValueError:
        return True
    names = [name for name, _ in pairs]
    return len(names) != len(set(names)) or any("\0" in text for pair in pairs for text in pair)


class UnreadBody:
    """Close the line after a refusal whose request is still being sent.

    The answer goes first; then a little of what is still coming is taken, as a line closed over unread bytes is reset
    and many clients then never read the answer (RFC 9112, 9.6).
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, watching how much of it is read."""
        if scope["type"] != "http" or not _has_body(Headers(scope=scope)):
            await self._app(scope, receive, send)
            return
        is_over = is_refused = False

        async def watched_receive() -> Message:
            nonlocal is_over
            message = await receive()
            is_over = not message.get("more_body", False)
            return message

        async def lingering_send(message: Message) -> None:
            nonlocal is_refused
            if message["type"] == "http.response.start":
                is_refused = message["status"] >= 400 and not is_over
                if is_refused:
                    MutableHeaders(scope=message)["Connection"] = "close"
            elif is_refused and not message.get("more_body", False):
                await send({**message, "more_body": True})
                await _drain(watched_receive, lambda: is_over)
                message = {"type": "http.response.body", "body": b""}
            await send(message)

        await self._app(scope, watched_receive, lingering_send)


def _has_body(headers: Headers) -> bool:
    return headers.get("content-length", "0") != "0" or "transfer-encoding" in headers


async def _drain(receive: Receive, is_over: Callable[[], bool]) -> None:
    drained = 0
    with suppress(TimeoutError):
        async with asyncio.timeout(_DRAIN_S):
            while not is_over() and drained < _DRAIN_BYTES:
                drained += len((await receive()).get("body", b""))


class CrossOriginReads:
    """Let pages of other origins read with GET and HEAD, never with cookies (Fetch standard, 3.2)."""

    def __init__(self, app: ASGIApp, origins: list[str]) -> None:
        self._app, self._origins = app, frozenset(origins)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer preflights; name the origin in answers to reads."""
        asked = Headers(scope=scope) if scope["type"] == "http" else Headers()
        origin = asked.get("origin")
        if origin is None or not ({"*", origin} & self._origins):
            await self._app(scope, receive, send)
            return
        allowed = "*" if "*" in self._origins else origin
        if scope["method"] == "OPTIONS" and "access-control-request-method" in asked:
            headers = {"Access-Control-Allow-Origin": allowed, "Vary": "Origin", **_PREFLIGHT_HEADERS}
            await Response(status_code=204, headers=headers)(scope, receive, send)
            return

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start" and scope["method"] in {"GET", "HEAD"}:
                headers = MutableHeaders(scope=message)
                headers["Access-Control-Allow-Origin"] = allowed
                headers["Access-Control-Expose-Headers"] = _EXPOSED_HEADERS
                headers.add_vary_header("Origin")
            await send(message)

        await self._app(scope, receive, send_with_headers)
