"""The HTTP edge for errors: whatever goes wrong leaves as `application/problem+json` (RFC 9457)."""

import structlog
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

from sfserver.errors import (
    BadRequestError,
    InvalidRequestError,
    MethodNotAllowedError,
    NotFoundError,
    StreamForgeError,
)
from sfserver.wire.problem import Problem

log = structlog.get_logger(__name__)
PROBLEM_JSON = "application/problem+json"


def install_error_handlers(app: FastAPI) -> None:
    """Answer every error of this app with a problem document."""

    @app.exception_handler(StreamForgeError)
    def ours(request: Request, error: StreamForgeError) -> JSONResponse:
        return problem_response(request, error)

    @app.exception_handler(HTTPException)
    def frameworks(request: Request, error: HTTPException) -> JSONResponse:
        return problem_response(request, _from_http(error), headers=dict(error.headers or {}))

    @app.exception_handler(RequestValidationError)
    def invalid(request: Request, error: RequestValidationError) -> JSONResponse:
        found = "; ".join(f"{'.'.join(map(str, item['loc']))}: {item['msg']}" for item in error.errors())
        return problem_response(request, InvalidRequestError(found))

    @app.exception_handler(Exception)
    def bug(request: Request, error: Exception) -> JSONResponse:
        log.error("http.bug", route=getattr(request.scope.get("route"), "path", None), exc_info=error)
        # This answer is made outside of `RequestScope`; the path itself may hold a secret.
        headers = {"X-Request-Id": getattr(request.state, "request_id", "")}
        return problem_response(request, StreamForgeError("this is a bug; the server's log names it"), headers)


def problem_response(request: Request, error: StreamForgeError, headers: dict[str, str] | None = None) -> JSONResponse:
    """Return the problem document for an error."""
    body = Problem(
        title=error.title,
        status=error.status,
        detail=error.detail,
        code=error.code,
        request_id=getattr(request.state, "request_id", ""),
        hint=error.hint,
    )
    extra = dict(headers or {})
    if error.status == 401:
        extra["WWW-Authenticate"] = "Bearer"
    return JSONResponse(
        body.model_dump(mode="json", exclude_none=True), error.status, headers=extra, media_type=PROBLEM_JSON
    )


def _from_http(error: HTTPException) -> StreamForgeError:
    if error.status_code == 404:
        return NotFoundError()
    if error.status_code == 405:
        return MethodNotAllowedError()
    return BadRequestError(str(error.detail))
