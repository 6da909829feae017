"""The API's root: every router, every middleware, over a runtime that is passed in."""

from fastapi import FastAPI

from sfserver import health
from sfserver.accounts import endpoints as accounts
from sfserver.deps import Runtime
from sfserver.jobs import endpoints as jobs
from sfserver.middleware import CrossOriginReads, EveryMethod, KnownHost, RequestScope, UnreadBody
from sfserver.playback import endpoints as playback
from sfserver.playback import posters
from sfserver.playback.endpoints import Playback
from sfserver.problems import install_error_handlers
from sfserver.uploads import endpoints as uploads
from sfserver.videos import endpoints as videos
from sfserver.web import endpoints as web
from sfserver.wire.problem import Problem

# Routes are tried in order: what players ask for many times a second comes first.
_PARTS = (playback, posters, jobs, uploads, videos, accounts, health, web)


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
    app.state.playback = Playback.of(runtime)
    install_error_handlers(app)
    for part in _PARTS:
        app.include_router(part.router)
    http = runtime.settings.http
    # The last one added is the outermost.
    app.add_middleware(EveryMethod)
    app.add_middleware(CrossOriginReads, origins=http.cors_origins)
    app.add_middleware(KnownHost, allowed_hosts=[*http.allowed_hosts, http.host])
    app.add_middleware(UnreadBody)
    app.add_middleware(RequestScope)
    return app
