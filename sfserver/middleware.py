"""What happens to every request before routing: its id, the check of its `Host`, headers every answer carries."""

import re
from uuid import uuid4

import structlog
from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from sfserver.errors import MisdirectedRequestError, NotFoundError
from sfserver.problems import problem_response

_REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")
# One path has one spelling: whatever a proxy or a file system could read in two ways is refused before routing.
_AMBIGUOUS_PATH = re.compile(rb"%2e|%2f|%5c|%00|//|\\|/\.\.?(/|$)|\x00", re.IGNORECASE)

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
    """Refuse requests for a host this server does not go by (DNS rebinding), and paths with two readings."""

    def __init__(self, app: ASGIApp, allowed_hosts: list[str]) -> None:
        self._app = app
        self._allowed = {host.lower() for host in allowed_hosts}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, or answer 421 or 404."""
        if scope["type"] == "http":
            request = Request(scope)
            if not self._is_known(request.headers.get("host", "")):
                await problem_response(request, MisdirectedRequestError())(scope, receive, send)
                return
            if _AMBIGUOUS_PATH.search(scope.get("raw_path") or scope["path"].encode()):
                await problem_response(request, NotFoundError())(scope, receive, send)
                return
        await self._app(scope, receive, send)

    def _is_known(self, host: str) -> bool:
        name = re.sub(r":\d*$", "", host.lower())
        return "*" in self._allowed or name in self._allowed


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
