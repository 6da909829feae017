"""`/api/jobs` and what is asked of jobs elsewhere: what is being processed, live, and once more."""

from typing import Annotated

from fastapi import APIRouter, Header, Query, Response
from fastapi.responses import StreamingResponse
from pydantic import AwareDatetime

from sfserver.accounts.access import Caller, SignedIn
from sfserver.accounts.service import user_id_of
from sfserver.deps import ReadSession, RuntimeDep, WriteSession
from sfserver.infra.paging import Limit, decode_cursor, encode_cursor
from sfserver.jobs import reading, service
from sfserver.jobs.reading import JobReader, job_links
from sfserver.jobs.repository import JobFilter
from sfserver.jobs.stream import SSE_HEADERS, JobFeed, UserFeed
from sfserver.models import Job
from sfserver.videos.service import get_own_video, trash_video
from sfserver.wire.jobs import JobExplain, JobRead, JobStatus, JobStatusRead, UploadAccepted
from sfserver.wire.page import Page

router = APIRouter(tags=["jobs"])
# Longer numbers do not fit a database's integer.
LastSeq = Annotated[int | None, Header(alias="Last-Event-ID", ge=0, lt=2**31)]
TimeCursor = Annotated[str | None, Header(alias="Last-Event-ID", max_length=64)]


class EventStream(StreamingResponse):
    """An endless `text/event-stream` answer."""

    media_type = "text/event-stream"


@router.get("/api/jobs")
def list_jobs(  # noqa: PLR0913 - each is a query parameter
    principal: SignedIn,
    session: ReadSession,
    runtime: RuntimeDep,
    *,
    limit: Limit = 50,
    cursor: str | None = None,
    status: Annotated[JobStatus | None, Query()] = None,
    video: str | None = None,
    since: AwareDatetime | None = None,
    prefix: Annotated[str | None, Query(max_length=36, description="The beginning of an id.")] = None,
) -> Page[JobRead]:
    """List my jobs, newest first."""
    wanted = JobFilter(status, video, since, prefix)
    reader = JobReader(session, runtime)
    jobs, last = reader.page(principal.user_id, wanted, limit=limit, after=decode_cursor(cursor))
    return Page(items=jobs, next_cursor=encode_cursor(last) if last else None)


@router.get("/api/jobs/{job_id}")
def read_job(job_id: str, caller: Caller, session: ReadSession, runtime: RuntimeDep) -> JobRead:
    """Return the whole job."""
    return JobReader(session, runtime).one(reading.get_job(session, caller, job_id))


@router.get("/api/jobs/{job_id}/status")
def read_job_status(job_id: str, caller: Caller, session: ReadSession, runtime: RuntimeDep) -> JobStatusRead:
    """Return the small poll answer."""
    return JobReader(session, runtime).status(reading.get_job(session, caller, job_id))


@router.get("/api/jobs/{job_id}/explain")
def explain_job(job_id: str, caller: Caller, session: ReadSession, runtime: RuntimeDep) -> JobExplain:
    """Return the ladder with its reasons, and what ran where, how often, with which settings."""
    return reading.explain_job(session, runtime.stages, reading.get_job(session, caller, job_id))


@router.delete("/api/jobs/{job_id}", status_code=204)
def cancel_or_delete_job(job_id: str, caller: Caller, session: WriteSession, runtime: RuntimeDep) -> None:
    """Cancel a running job; move the video of a finished one to the trash."""
    job = reading.get_job(session, caller, job_id)
    if JobStatus(job.status).is_final:
        trash_video(session, runtime, job.video_id)
    else:
        service.cancel(session, runtime, job)


@router.post("/api/jobs/{job_id}/cancel", status_code=204)
def cancel_job(job_id: str, caller: Caller, session: WriteSession, runtime: RuntimeDep) -> None:
    """Cancel a running job; one that has ended is left as it is (409 `job_finished`)."""
    service.cancel(session, runtime, reading.get_job(session, caller, job_id))


@router.post("/api/jobs/{job_id}/retry", status_code=202)
def retry_job(job_id: str, caller: Caller, session: WriteSession, runtime: RuntimeDep) -> JobRead:
    """Try a failed job again with what it recorded, or a cancelled one from the start."""
    job = reading.get_job(session, caller, job_id)
    service.retry(session, runtime, job)
    session.flush()
    return JobReader(session, runtime).one(job)


@router.post("/api/videos/{video_id}/reprocess", status_code=202)
def reprocess_video(
    video_id: str, caller: Caller, session: WriteSession, runtime: RuntimeDep, response: Response
) -> UploadAccepted:
    """Process a video again from its source; what is published stays until the new generation replaces it."""
    video = get_own_video(session, user_id_of(caller), video_id)
    job = service.reprocess(session, runtime, video)
    return _accepted(job, response)


@router.post("/api/videos/{video_id}/stages/{kind}/redo", status_code=202)
def redo_stage(
    video_id: str, kind: str, *, caller: Caller, session: WriteSession, runtime: RuntimeDep, response: Response
) -> UploadAccepted:
    """Do one stage that no job waits for once more (409 for the others)."""
    video = get_own_video(session, user_id_of(caller), video_id)
    return _accepted(service.redo_stage(session, runtime, video, kind), response)


@router.get("/api/jobs/{job_id}/events", response_class=EventStream)
def stream_job_events(job_id: str, caller: Caller, runtime: RuntimeDep, last_event_id: LastSeq = None) -> EventStream:
    """Stream one job's events; ends after `done`. The id of an event is its number."""
    with runtime.database.read() as session:
        job = reading.get_job(session, caller, job_id)
    return EventStream(aiter(JobFeed(runtime, job.id, last_event_id)), headers=SSE_HEADERS)


@router.get("/api/events", response_class=EventStream)
def stream_my_events(principal: SignedIn, runtime: RuntimeDep, last_event_id: TimeCursor = None) -> EventStream:
    """Stream the events of all my jobs over one connection. The id of an event is an opaque time."""
    return EventStream(aiter(UserFeed(runtime, principal.user_id, last_event_id)), headers=SSE_HEADERS)


def _accepted(job: Job, response: Response) -> UploadAccepted:
    links = job_links(job.id, job.video_id)
    response.headers["Location"] = links.self_
    return UploadAccepted(job_id=job.id, video_id=job.video_id, status=JobStatus(job.status), links=links)
