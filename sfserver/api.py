"""All routes, imports only."""

from fastapi import APIRouter

from sfserver.accounts.endpoints import router as accounts
from sfserver.health import router as health
from sfserver.jobs.endpoints import router as jobs
from sfserver.playback.endpoints import router as playback
from sfserver.uploads.endpoints import router as uploads
from sfserver.videos.endpoints import router as videos
from sfserver.web.endpoints import router as web

router = APIRouter()
# Routes are tried in order: what players ask for many times a second comes first.
for part in (playback, jobs, uploads, videos, accounts, health, web):
    router.include_router(part)
