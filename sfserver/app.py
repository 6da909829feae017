"""The composition root of the API: everything is passed in, nothing is global."""

from fastapi import FastAPI

from sfserver.api import router
from sfserver.deps import Runtime
from sfserver.middleware import CrossOriginReads, KnownHost, RequestScope, UnreadBody
from sfserver.playback.service import Playback
from sfserver.problems import install_error_handlers
from sfserver.wire.problem import Problem


def create_app(runtime: Runtime) -> FastAPI:
    """Build the API of a runtime."""
    app = FastAPI(
        title="StreamForge",
        version=runtime.version,
        redirect_slashes=False,
        docs_url=None,
        redoc_url=None,
        openapi_url=None,
        responses={"default": {"model": Problem, "description": "What went wrong (RFC 9457)."}},
    )
    app.state.runtime = runtime
    app.state.playback = Playback(runtime)
    install_error_handlers(app)
    app.include_router(router)
    http = runtime.settings.http
    # The last one added is the outermost.
    app.add_middleware(CrossOriginReads, origins=http.cors_origins)
    app.add_middleware(KnownHost, allowed_hosts=[*http.allowed_hosts, http.host])
    app.add_middleware(UnreadBody)
    app.add_middleware(RequestScope)
    return app
