"""The HTTP listener: uvicorn, with a parser that also tells the app which request target was sent."""

import re
from uuid import uuid4

import uvicorn
from starlette.requests import Request
from starlette.types import ASGIApp
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

from sfserver.errors import BadRequestError
from sfserver.problems import problem_response

_SCHEME_AND_AUTHORITY = re.compile(rb"[a-z][a-z0-9+.-]*://[^/?#]*", re.IGNORECASE)


def listener_config(app: ASGIApp, *, grace_s: int) -> uvicorn.Config:
    """Return how the app is served; after a signal, requests under way get `grace_s` seconds to end."""
    return uvicorn.Config(
        app,
        http=WholeTargetProtocol,
        log_config=None,
        access_log=False,
        timeout_graceful_shutdown=grace_s,
        server_header=False,
    )


class WholeTargetProtocol(HttpToolsProtocol):
    """Keeps what uvicorn cuts off a request target before an app can judge it: scheme, authority and fragment.

    The target as it was sent is `scope["state"]["target"]`; `path` and `query_string` are as ever.
    """

    def on_headers_complete(self) -> None:
        """Hand the request to the app."""
        self.scope["state"]["target"] = self.url
        self.url = _origin_form(self.url)
        super().on_headers_complete()

    def send_400_response(self, msg: str) -> None:
        """Refuse what is no HTTP, which no app is shown, with a problem document as well."""
        request_id = uuid4().hex
        request = Request({"type": "http", "state": {"request_id": request_id}})
        headers = {"Connection": "close", "X-Request-Id": request_id, "X-Content-Type-Options": "nosniff"}
        answer = problem_response(request, BadRequestError("this is no HTTP request"), headers)
        lines = [name + b": " + value for name, value in self.server_state.default_headers + answer.raw_headers]
        self.transport.write(STATUS_LINE[400] + b"\r\n".join([*lines, b"", bytes(answer.body)]))
        self.transport.close()


def _origin_form(target: bytes) -> bytes:
    """Return a target's path and query (RFC 9112, 3.2); `*` for what has none."""
    absolute = _SCHEME_AND_AUTHORITY.match(target)
    if absolute:
        rest = target[absolute.end() :]
        return rest if rest.startswith(b"/") else b"/" + rest
    return target if target.startswith(b"/") else b"*"
