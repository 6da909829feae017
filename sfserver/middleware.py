"""What happens to every request before routing: its id, the check of its host, its method, headers of every answer."""

import asyncio
import re
from collections.abc import Callable
from contextlib import suppress
from ipaddress import IPv6Address
from urllib.parse import parse_qsl
from uuid import uuid4

import structlog
from fastapi.routing import iter_route_contexts
from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Match
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from sfserver.errors import (
    BadRequestError,
    MethodNotAllowedError,
    MisdirectedRequestError,
    NotFoundError,
    StreamForgeError,
)
from sfserver.problems import problem_response

_REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")
# One path has one spelling: whatever a proxy or a file system could read in two ways is refused before routing. No path
# of ours holds a character of ASCII that must be escaped.
_AMBIGUOUS_PATH = re.compile(rb"%[0-7]|%(?![0-9a-f]{2})|//|\\|/\.\.?(/|$)|[\x00-\x20]", re.IGNORECASE)
# RFC 9112, 3.2.2; an empty host is an error (RFC 9110, 4.2.1).
_ABSOLUTE_FORM = re.compile(r"([a-z][a-z0-9+.-]*)://([^/?#]+)", re.IGNORECASE | re.ASCII)
# RFC 3986, 3.2.2 and 3.2.3: a name or an address, perhaps with a port. A user before it is an error (RFC 9110, 4.2.4).
_AUTHORITY = re.compile(r"(\[[0-9a-z:.]+\]|[a-z0-9._~%!$&'()*+,;=-]*)(?::[0-9]*)?", re.IGNORECASE | re.ASCII)
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
        self._allowed = {_one_spelling(host) for host in allowed_hosts}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, or answer 421, 404 or 400."""
        error = self._judge(scope) if scope["type"] == "http" else None
        if error is None:
            await self._app(scope, receive, send)
        else:
            await problem_response(Request(scope), error)(scope, receive, send)

    def _judge(self, scope: Scope) -> StreamForgeError | None:
        try:
            scheme, name = _origin_of(scope)
        except BadRequestError as error:
            return error
        # A scheme that this line is not secured for is misdirected like a foreign name (RFC 9110, 7.4).
        if scheme not in {"http", scope["scheme"]} or not ({"*", name} & self._allowed):
            return MisdirectedRequestError()
        if _AMBIGUOUS_PATH.search(scope.get("raw_path") or scope["path"].encode()):
            return NotFoundError()
        if _is_ambiguous_query(scope["query_string"]):
            return BadRequestError("a query parameter is given twice, or holds what no text does")
        return None


def _origin_of(scope: Scope) -> tuple[str, str]:
    """Return scheme and host name of the URI a request is for (RFC 9112, 3.3), and let `Host` say the same.

    Raises `BadRequestError` for what RFC 9112, 3.2 forbids: a `Host` that is missing, given twice, or none; a target of
    another form than its method has.
    """
    hosts = Headers(scope=scope).getlist("host")
    # HTTP/1.0 knows no `Host`.
    if len(hosts) > 1 or (not hosts and scope["http_version"] != "1.0"):
        raise BadRequestError("a request names its host once")
    name = _host_name(hosts[0]) if hosts else ""
    named = _named_in_target(scope)
    if named is None:
        return scope["scheme"], name
    scheme, authority = named
    # RFC 9112, 3.2.2: what the target names counts, whatever `Host` says; whoever reads `Host` later must see it.
    others = [header for header in scope["headers"] if header[0] != b"host"]
    scope["headers"] = [(b"host", authority.encode("latin-1")), *others]
    return scheme, _host_name(authority)


def _named_in_target(scope: Scope) -> tuple[str, str] | None:
    """Return the scheme and authority that the target itself names; None if it is a path, or `*`."""
    # The listener tells the target as it was sent; what other servers and test clients hand over is a path.
    sent: bytes = scope["state"].get("target") or scope.get("raw_path") or scope["path"].encode()
    target = sent.decode("latin-1")
    if "#" in target:
        raise BadRequestError("a fragment is not for servers")
    if scope["method"] == "CONNECT":
        return scope["scheme"], target
    absolute = _ABSOLUTE_FORM.match(target)
    if absolute:
        return absolute[1].lower(), absolute[2]
    if not target.startswith("/") and (target, scope["method"]) != ("*", "OPTIONS"):
        raise BadRequestError("the target is no address")
    return None


def _host_name(authority: str) -> str:
    """Return the name or address of an authority, without its port."""
    found = _AUTHORITY.fullmatch(authority)
    if found is None:
        raise BadRequestError("a host is a name or an address, perhaps with a port")
    return _one_spelling(found[1])


def _one_spelling(host: str) -> str:
    """Return a host name or address as all its spellings are compared: case, the root's dot, an IPv6 address' zeros."""
    if ":" in host:
        with suppress(ValueError):
            return str(IPv6Address(host.strip("[]")))
    return host.lower().removesuffix(".")


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


class _BodyNotWantedError(Exception):
    """The answer to HEAD is complete, the body it would have is not: nobody need make the rest of it."""


class EveryMethod:
    """Answer HEAD wherever there is GET (RFC 9110, 9.3.2), and `OPTIONS *`; name all methods of an address in a 405.

    A route that answers HEAD by itself is left to; of the others GET is asked, and only its head is sent.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, as GET if only that is answered."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
        elif not scope["path"].startswith("/"):
            await _answer_for_all(scope)(scope, receive, send)
        elif scope["method"] == "HEAD" and _answers(scope, "GET") and not _answers(scope, "HEAD"):
            await self._send_head(scope, receive, send)
        else:
            await self._app(scope, receive, _naming_methods(scope, send))

    async def _send_head(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Ask GET and stop with its head. Ranges are for GET alone (RFC 9110, 14.2)."""
        is_sent = False

        async def send_head(message: Message) -> None:
            nonlocal is_sent
            if not is_sent:
                is_sent = True
                await send(message)
                # What streams is told at once that nobody listens: its `receive` is over with this answer.
                await send({"type": "http.response.body", "body": b""})
            elif message.get("more_body", False):
                raise _BodyNotWantedError

        asked = [header for header in scope["headers"] if header[0] not in {b"range", b"if-range"}]
        with suppress(_BodyNotWantedError):
            await self._app({**scope, "method": "GET", "headers": asked}, receive, send_head)


def _naming_methods(scope: Scope, send: Send) -> Send:
    """Return a `send` that completes `Allow`: the router names the methods of one route, an address may have more."""

    async def send_with_methods(message: Message) -> None:
        if message["type"] == "http.response.start" and message["status"] == MethodNotAllowedError.status:
            found = {method for method in _all_methods(scope) if _answers(scope, method)}
            MutableHeaders(scope=message)["Allow"] = _listed(found)
        await send(message)

    return send_with_methods


def _answer_for_all(scope: Scope) -> Response:
    """Answer what is asked of the server, not of an address: `OPTIONS *`, and CONNECT, which is for proxies."""
    allowed = {"Allow": _listed(_all_methods(scope) | {"OPTIONS"})}
    if scope["method"] == "OPTIONS":
        return Response(status_code=204, headers=allowed)
    return problem_response(Request(scope), MethodNotAllowedError(), allowed)


def _all_methods(scope: Scope) -> set[str]:
    return {method for route in iter_route_contexts(scope["app"].routes) for method in route.methods or ()}


def _answers(scope: Scope, method: str) -> bool:
    asked = {**scope, "method": method}
    return any(route.matches(asked)[0] is Match.FULL for route in scope["app"].routes)


def _listed(methods: set[str]) -> str:
    return ", ".join(sorted(methods | {"HEAD"} if "GET" in methods else methods))
