"""What happens to a job as a whole: made, started, failed, cancelled, published."""

from dataclasses import asdict
from typing import Any

from sqlalchemy.orm import Session

from sfserver.deps import Runtime
from sfserver.errors import StreamForgeError
from sfserver.infra.db import db_now, on_commit
from sfserver.infra.queue import Queue
from sfserver.jobs import repository
from sfserver.jobs.notify import emit, emit_progress, stop_running
from sfserver.jobs.progress import TaskProgress, estimate_eta_s, rung_speed, summarise
from sfserver.media.contract import MediaWarning
from sfserver.models import Job, Task, Video
from sfserver.wire.events import (
    DoneEvent,
    ErrorEvent,
    EventKind,
    PlayableEvent,
    ProgressEvent,
    StageEvent,
    StateEvent,
)
from sfserver.wire.jobs import JobError, JobStatus, StageState


def find_job(session: Session, job_id: str) -> Job | None:
    """Return the job or None."""
    return repository.find_job(session, job_id)


def create_job(session: Session, runtime: Runtime, video: Video, formats: str) -> Job:
    """Queue the processing of a video's source; workers are woken once this transaction is committed."""
    job = Job(
        video_id=video.id,
        owner_id=video.owner_id,
        status=JobStatus.QUEUED,
        formats=formats,
        generation=video.generation + 1,
        warnings=[],
        created_at=db_now(session),
    )
    if "webm" in formats:
        add_warnings(job, [MediaWarning("webm_not_made", "this version makes MP4 alone; WebM was asked for too")])
    session.add(job)
    session.flush()
    emit(session, runtime.bus, job, EventKind.STATE, StateEvent(job_id=job.id, status=JobStatus.QUEUED))
    add_task(session, runtime, Task(job_id=job.id, kind="probe", queue=Queue.IO, priority=0))
    return job


def add_task(session: Session, runtime: Runtime, task: Task) -> None:
    """Add a task; a ready one rings its queue after the commit."""
    task.state = StageState.WAITING
    task.ready_at = db_now(session)
    session.add(task)
    if not task.needs:
        queue = Queue(task.queue)
        on_commit(session, lambda: runtime.ring(queue, 1))


def start_job(session: Session, runtime: Runtime, job: Job) -> None:
    """Mark a queued job as being processed; nothing if it already is."""
    if job.status != JobStatus.QUEUED:
        return
    job.status, job.started_at = JobStatus.PROCESSING, db_now(session)
    emit(session, runtime.bus, job, EventKind.STATE, StateEvent(job_id=job.id, status=JobStatus.PROCESSING))


def emit_stage(session: Session, runtime: Runtime, job: Job, stage: str, state: StageState) -> None:
    """Announce that a stage of the job changed its state."""
    emit(session, runtime.bus, job, EventKind.STAGE, StageEvent(job_id=job.id, stage=stage, state=state))


def add_warnings(job: Job, warnings: list[MediaWarning]) -> None:
    """Append warnings a user should see."""
    job.warnings = [*job.warnings, *(asdict(warning) for warning in warnings)]


def update_progress(session: Session, runtime: Runtime, job: Job) -> None:
    """Raise the job's high-water mark from its tasks and publish a progress event after the commit."""
    rows = [TaskProgress.from_row(*row) for row in repository.progress_rows(session, job.id)]
    now = summarise(job.plan, rows)
    job.progress = max(job.progress, round(now.progress, 4))
    elapsed_s = (db_now(session) - job.started_at).total_seconds() if job.started_at else 0.0
    event = ProgressEvent(
        job_id=job.id,
        progress=job.progress,
        stage=now.stage,
        rungs=now.rungs,
        eta_s=estimate_eta_s(job.progress, elapsed_s),
        speed=rung_speed(job.plan, now.rungs, elapsed_s),
    )
    emit_progress(session, runtime.bus, job, event)


def publish_job(session: Session, runtime: Runtime, job: Job, prefix: str, published: dict[str, Any]) -> None:
    """Make the packaged files the video's one visible generation."""
    video = session.get_one(Video, job.video_id)
    now = db_now(session)
    video.generation, video.published_prefix, video.published = job.generation, prefix, published
    video.published_at = job.finished_at = now
    job.status, job.progress = JobStatus.READY, 1.0
    if job.playable_at is None:
        job.playable_at = now
        emit(session, runtime.bus, job, EventKind.PLAYABLE, PlayableEvent(job_id=job.id, video_id=video.id))
    emit(session, runtime.bus, job, EventKind.STATE, StateEvent(job_id=job.id, status=JobStatus.READY))
    emit(session, runtime.bus, job, EventKind.DONE, DoneEvent(job_id=job.id, status=JobStatus.READY))
    _remove_work(session, runtime, job)


def fail_job(session: Session, runtime: Runtime, job: Job, error: StreamForgeError) -> None:
    """End a job with an error its owner can read; its other tasks stop."""
    shown = describe(error)
    job.error = shown.model_dump(mode="json")
    emit(session, runtime.bus, job, EventKind.ERROR, ErrorEvent(job_id=job.id, error=shown))
    _end(session, runtime, job, JobStatus.FAILED)


def cancel_job(session: Session, runtime: Runtime, job: Job) -> None:
    """Cancel an unfinished job: its processes stop, what it produced is removed. A final job stays as it is."""
    if not JobStatus(job.status).is_final:
        _end(session, runtime, job, JobStatus.CANCELLED)


def describe(error: StreamForgeError) -> JobError:
    """Return an error as its owner sees it."""
    return JobError(code=error.code, detail=error.detail, hint=error.hint)


def _end(session: Session, runtime: Runtime, job: Job, status: JobStatus) -> None:
    job.status, job.finished_at = status, db_now(session)
    repository.cancel_unfinished(session, job.id)
    stop_running(session, runtime.bus, job)
    emit(session, runtime.bus, job, EventKind.STATE, StateEvent(job_id=job.id, status=status))
    emit(session, runtime.bus, job, EventKind.DONE, DoneEvent(job_id=job.id, status=status))
    _remove_work(session, runtime, job)


def _remove_work(session: Session, runtime: Runtime, job: Job) -> None:
    """Remove what only the running job needed, after the commit; a crash in between leaves it to the sweeper."""
    prefix = work_prefix(job.id)
    on_commit(session, lambda: runtime.store.delete_prefix(prefix))


def work_prefix(job_id: str) -> str:
    """Return the key prefix of everything a job makes before it is published."""
    return f"chunks/{job_id}"


def publish_prefix(job: Job, token: int) -> str:
    """Return the key prefix under which one attempt at packaging publishes."""
    return f"video/{job.video_id}/{job.generation}/{token}"
