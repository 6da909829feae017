"""All SQL about jobs as people look at them."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import select, tuple_
from sqlalchemy.orm import Session, defer

from sfserver.models import Job, JobEvent, JobStage, Task, Video
from sfserver.wire.jobs import StageState


@dataclass(frozen=True)
class JobFilter:
    """Which of an owner's jobs; `since` is the earliest time of their making, `prefix` the beginning of their id."""

    status: str | None = None
    video_id: str | None = None
    since: datetime | None = None
    prefix: str | None = None


def page_of_jobs(session: Session, owner_id: str, wanted: JobFilter, *, limit: int, after: str | None) -> Sequence[Job]:
    """Return up to `limit` jobs of an owner, newest first, that come after the id `after`."""
    query = select(Job).where(Job.owner_id == owner_id).order_by(Job.id.desc()).limit(limit)
    if after is not None:
        query = query.where(Job.id < after)
    if wanted.status is not None:
        query = query.where(Job.status == wanted.status)
    if wanted.video_id is not None:
        query = query.where(Job.video_id == wanted.video_id)
    if wanted.since is not None:
        query = query.where(Job.created_at >= wanted.since)
    if wanted.prefix is not None:
        query = query.where(Job.id.startswith(wanted.prefix, autoescape=True))
    return session.scalars(query).all()


def unfinished_jobs(session: Session, owner_id: str) -> Sequence[Job]:
    """Return all jobs of an owner that are not final, oldest first."""
    query = select(Job).where(Job.owner_id == owner_id, Job.finished_at.is_(None)).order_by(Job.id)
    return session.scalars(query).all()


def stages_of_jobs(session: Session, job_ids: Sequence[str]) -> Sequence[JobStage]:
    """Return the stages of some jobs."""
    return session.scalars(select(JobStage).where(JobStage.job_id.in_(job_ids))).all()


def busy_tasks(session: Session, job_ids: Sequence[str]) -> Sequence[Task]:
    """Return what runs of some jobs, and what waits because something went wrong; without specs and results."""
    light = (defer(Task.result), defer(Task.spec))
    stages = select(JobStage.job_id, JobStage.kind).where(JobStage.job_id.in_(job_ids))
    mine = tuple_(Task.job_id, Task.kind).in_(stages)
    running = select(Task).where(mine, Task.state == StageState.RUNNING)
    waiting = select(Task).where(mine, Task.state == StageState.WAITING, Task.not_before.is_not(None))
    found = [*session.scalars(running.options(*light)), *session.scalars(waiting.options(*light))]
    return sorted(found, key=lambda task: task.index)


def workers_of(session: Session, job_id: str) -> dict[str, list[str]]:
    """Return who worked on each stage of a job."""
    query = select(Task.kind, Task.worker).where(Task.job_id == job_id, Task.worker.is_not(None)).distinct()
    found: dict[str, list[str]] = {}
    for kind, worker in session.execute(query.order_by(Task.worker)):
        found.setdefault(kind, []).append(str(worker))
    return found


def titles_of(session: Session, video_ids: Sequence[str]) -> dict[str, str]:
    """Return the titles of some videos by id."""
    rows = session.execute(select(Video.id, Video.title).where(Video.id.in_(video_ids)))
    return {video_id: title for video_id, title in rows}  # noqa: C416 - mypy knows no row as a pair


def events_of_job(session: Session, job_id: str, after: int) -> list[JobEvent]:
    """Return the state events of a job after number `after`."""
    query = select(JobEvent).where(JobEvent.job_id == job_id, JobEvent.seq > after).order_by(JobEvent.seq)
    return list(session.scalars(query))


def events_since(session: Session, owner_id: str, since: datetime, *, limit: int) -> Sequence[JobEvent]:
    """Return the last `limit` state events of all jobs of an owner from `since` on, in the order they happened."""
    query = select(JobEvent).where(JobEvent.owner_id == owner_id, JobEvent.created_at >= since)
    newest = session.scalars(query.order_by(JobEvent.created_at.desc(), JobEvent.seq.desc()).limit(limit)).all()
    return list(reversed(newest))
