"""`/api/jobs`: what is being processed, live."""

from typing import Annotated

from fastapi import APIRouter, Header, Query
from fastapi.responses import StreamingResponse
from pydantic import AwareDatetime

from sfserver.accounts.access import Caller, ReadSession, RuntimeDep, SignedIn, WriteSession
from sfserver.infra.paging import Limit, decode_cursor, encode_cursor
from sfserver.jobs import reading, service
from sfserver.jobs.notify import job_topic, user_topic
from sfserver.jobs.repository import JobFilter
from sfserver.jobs.stream import SSE_HEADERS, EventFeed
from sfserver.videos.service import trash_video
from sfserver.wire.jobs import JobExplain, JobRead, JobStatus, JobStatusRead
from sfserver.wire.page import Page

router = APIRouter(tags=["jobs"])
# Longer numbers do not fit a database's integer.
LastEventId = Annotated[int | None, Header(alias="Last-Event-ID", ge=0, lt=2**63)]


class EventStream(StreamingResponse):
    """An endless `text/event-stream` answer."""

    media_type = "text/event-stream"


@router.get("/api/jobs")
def list_jobs(
    principal: SignedIn,
    session: ReadSession,
    *,
    limit: Limit = 50,
    cursor: str | None = None,
    status: Annotated[JobStatus | None, Query()] = None,
    video: str | None = None,
    since: AwareDatetime | None = None,
) -> Page[JobRead]:
    """List my jobs, newest first."""
    wanted = JobFilter(status, video, since)
    jobs, last = reading.list_jobs(session, principal.user_id, wanted, limit=limit, after=decode_cursor(cursor))
    return Page(items=jobs, next_cursor=encode_cursor(last) if last else None)


@router.get("/api/jobs/{job_id}")
def read_job(job_id: str, caller: Caller, session: ReadSession) -> JobRead:
    """Return the whole job."""
    return reading.read_job(session, reading.get_job(session, caller, job_id))


@router.get("/api/jobs/{job_id}/status")
def read_job_status(job_id: str, caller: Caller, session: ReadSession) -> JobStatusRead:
    """Return the small poll answer."""
    return reading.read_status(session, reading.get_job(session, caller, job_id))


@router.get("/api/jobs/{job_id}/explain")
def explain_job(job_id: str, caller: Caller, session: ReadSession) -> JobExplain:
    """Return the ladder with its reasons, and what ran where, how often, with which settings."""
    return reading.explain_job(session, reading.get_job(session, caller, job_id))


@router.delete("/api/jobs/{job_id}", status_code=204)
def cancel_or_delete_job(job_id: str, caller: Caller, session: WriteSession, runtime: RuntimeDep) -> None:
    """Cancel a running job; move the video of a finished one to the trash."""
    job = reading.get_job(session, caller, job_id)
    if JobStatus(job.status).is_final:
        trash_video(session, runtime, job.video_id)
    else:
        service.cancel_job(session, runtime, job)


@router.get("/api/jobs/{job_id}/events", response_class=EventStream)
def stream_job_events(
    job_id: str, caller: Caller, runtime: RuntimeDep, last_event_id: LastEventId = None
) -> EventStream:
    """Stream one job's events; ends after `done`."""
    with runtime.database.read() as session:
        job = reading.get_job(session, caller, job_id)
    feed = EventFeed(
        runtime=runtime,
        topic=job_topic(job_id),
        owner_id=job.owner_id,
        job_id=job_id,
        snapshot=lambda session: [reading.read_job(session, reading.get_job(session, caller, job_id))],
        last_event_id=last_event_id,
    )
    return EventStream(aiter(feed), headers=SSE_HEADERS)


@router.get("/api/events", response_class=EventStream)
def stream_my_events(principal: SignedIn, runtime: RuntimeDep, last_event_id: LastEventId = None) -> EventStream:
    """Stream the events of all my jobs over one connection."""
    feed = EventFeed(
        runtime=runtime,
        topic=user_topic(principal.user_id),
        owner_id=principal.user_id,
        job_id=None,
        snapshot=lambda session: reading.active_jobs(session, principal.user_id),
        last_event_id=last_event_id,
    )
    return EventStream(aiter(feed), headers=SSE_HEADERS)
