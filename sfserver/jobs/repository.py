"""All SQL about jobs and tasks. Every write to a running task is fenced by its token."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import and_, delete, func, or_, select, update
from sqlalchemy.orm import Session, aliased, defer

from sfserver.infra.db import db_now
from sfserver.infra.queue import Queue
from sfserver.models import Job, JobEvent, Task, TaskPart, Video, WorkerNode
from sfserver.wire.jobs import JobStatus, StageState

_ACTIVE_JOBS = (JobStatus.QUEUED, JobStatus.PROCESSING)
# A sweep may have put a task back while its worker slept; as long as nobody claimed it since, it is still its own.
_OWNED = (StageState.RUNNING, StageState.WAITING)


def find_job(session: Session, job_id: str) -> Job | None:
    """Return the job or None."""
    return session.get(Job, job_id)


@dataclass(frozen=True)
class JobFilter:
    """Which of an owner's jobs; `since` is the earliest time of their making."""

    status: str | None = None
    video_id: str | None = None
    since: datetime | None = None


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
    return session.scalars(query).all()


def unfinished_jobs(session: Session, owner_id: str) -> Sequence[Job]:
    """Return all jobs of an owner that are not final, oldest first."""
    query = select(Job).where(Job.owner_id == owner_id, Job.finished_at.is_(None)).order_by(Job.id)
    return session.scalars(query).all()


def light_tasks(session: Session, job_ids: Sequence[str]) -> Sequence[Task]:
    """Return the tasks of some jobs without their specs and results, which can be large."""
    query = select(Task).where(Task.job_id.in_(job_ids)).options(defer(Task.result), defer(Task.spec))
    return session.scalars(query.order_by(Task.index)).all()


def titles_of(session: Session, video_ids: Sequence[str]) -> dict[str, str]:
    """Return the titles of some videos by id."""
    rows = session.execute(select(Video.id, Video.title).where(Video.id.in_(video_ids)))
    return {video_id: title for video_id, title in rows}  # noqa: C416 - mypy knows no row as a pair


def events_after(
    session: Session, *, owner_id: str, job_id: str | None, after: int | None, limit: int
) -> tuple[Sequence[JobEvent], int]:
    """Return the state events after the id `after` (None: none), of a job or all of an owner, and the newest id."""
    mine = JobEvent.owner_id == owner_id if job_id is None else JobEvent.job_id == job_id
    newest = session.scalar(select(func.max(JobEvent.id)).where(mine)) or 0
    if after is None:
        return [], newest
    query = select(JobEvent).where(mine, JobEvent.id > after).order_by(JobEvent.id).limit(limit)
    return session.scalars(query).all(), newest


def tasks_of(session: Session, job_id: str, kind: str | None = None) -> Sequence[Task]:
    """Return a job's tasks by kind and index."""
    query = select(Task).where(Task.job_id == job_id).order_by(Task.kind, Task.index)
    if kind is not None:
        query = query.where(Task.kind == kind)
    return session.scalars(query).all()


def progress_rows(session: Session, job_id: str) -> Sequence[tuple[str, str, dict[str, Any]]]:
    """Return `(kind, state, progress)` of a job's tasks without loading their results."""
    rows = session.execute(select(Task.kind, Task.state, Task.progress).where(Task.job_id == job_id))
    return [(kind, state, progress) for kind, state, progress in rows]


def _eligible(now: datetime) -> Any:  # noqa: ANN401 (SQLAlchemy's expression types are private)
    return and_(
        Task.state == StageState.WAITING,
        Task.needs == 0,
        or_(Task.not_before.is_(None), Task.not_before <= now),
        Job.status.in_(_ACTIVE_JOBS),
    )


def claim_next(session: Session, queue: Queue, worker: str, *, lease_s: float, lonely_after: int) -> Task | None:
    """Claim the best eligible task of `queue`, or None.

    Best: priority, then the job with the fewest running tasks (so that short clips pass long films), then index.
    The loss is charged now and refunded by whatever end gets recorded, so that a worker that vanishes has paid.
    A task that lost its worker `lonely_after` times runs with nothing beside it on this worker.
    """
    now = db_now(session)
    mine = session.scalars(select(Task.losses).where(Task.worker == worker, Task.state == StageState.RUNNING)).all()
    if any(losses > lonely_after for losses in mine):
        return None
    other = aliased(Task)
    running = (
        select(func.count())
        .where(other.job_id == Task.job_id, other.state == StageState.RUNNING)
        .correlate(Task)
        .scalar_subquery()
    )
    query = select(Task).join(Job, Job.id == Task.job_id).where(Task.queue == queue, _eligible(now))
    if mine:
        query = query.where(Task.losses < lonely_after)
    query = query.order_by(Task.priority, running, Task.index, Task.id).limit(1)
    task = session.scalars(query.with_for_update(skip_locked=True, of=Task)).first()
    if task is None:
        return None
    task.state, task.worker, task.error = StageState.RUNNING, worker, None
    task.token, task.attempts, task.losses = task.token + 1, task.attempts + 1, task.losses + 1
    task.lease_until, task.started_at, task.not_before = now + timedelta(seconds=lease_s), now, None
    return task


def extend_lease(session: Session, task_id: str, token: int, lease_s: float) -> bool:
    """Extend the lease while the token is unchanged; False says that somebody else owns the task now."""
    until = db_now(session) + timedelta(seconds=lease_s)
    return _update_owned(session, task_id, token, state=StageState.RUNNING, lease_until=until)


def write_progress(session: Session, task_id: str, token: int, progress: dict[str, Any]) -> bool:
    """Write a running task's progress; False if it is somebody else's."""
    return _update_owned(session, task_id, token, progress=progress)


def own(session: Session, task_id: str, token: int) -> Task | None:
    """Load a task for recording its end, locked; None if the token is stale."""
    query = select(Task).where(Task.id == task_id, Task.token == token, Task.state.in_(_OWNED))
    return session.scalars(query.with_for_update()).one_or_none()


def _update_owned(session: Session, task_id: str, token: int, **values: Any) -> bool:  # noqa: ANN401
    statement = update(Task).where(Task.id == task_id, Task.token == token, Task.state.in_(_OWNED)).values(**values)
    changed: int = session.execute(statement).rowcount  # type: ignore[attr-defined]
    return changed == 1


def satisfy_one_need(session: Session, job_id: str, kind: str) -> bool:
    """Count one dependency of the job's `kind` task as done; True when that was the last one."""
    statement = update(Task).where(Task.job_id == job_id, Task.kind == kind).values(needs=Task.needs - 1)
    session.execute(statement)
    query = select(func.count()).where(Task.job_id == job_id, Task.kind == kind, Task.needs == 0)
    return session.scalar(query) == 1


def cancel_unfinished(session: Session, job_id: str) -> None:
    """Put an end to all tasks that are not done; the raised token fences whoever still works on one."""
    statement = (
        update(Task)
        .where(Task.job_id == job_id, Task.state.in_(_OWNED))
        .values(state=StageState.CANCELLED, token=Task.token + 1, finished_at=db_now(session))
    )
    session.execute(statement)


def expired_tasks(session: Session) -> Sequence[Task]:
    """Return running tasks whose lease is over."""
    query = select(Task).where(Task.state == StageState.RUNNING, Task.lease_until < db_now(session))
    return session.scalars(query.with_for_update(skip_locked=True)).all()


def running_tasks(session: Session) -> Sequence[Task]:
    """Return all running tasks."""
    return session.scalars(select(Task).where(Task.state == StageState.RUNNING)).all()


def eligible_counts(session: Session) -> dict[Queue, int]:
    """Return how many tasks of each queue could be claimed now."""
    query = (
        select(Task.queue, func.count())
        .join(Job, Job.id == Task.job_id)
        .where(_eligible(db_now(session)))
        .group_by(Task.queue)
    )
    return {Queue(queue): count for queue, count in session.execute(query)}


def oldest_waiting(session: Session) -> datetime | None:
    """Return since when the task that has waited longest could have been claimed."""
    query = select(func.min(Task.ready_at)).join(Job, Job.id == Task.job_id).where(_eligible(db_now(session)))
    return session.scalar(query)


def worker_nodes(session: Session) -> Sequence[WorkerNode]:
    """Return all workers that ever beat and were not removed."""
    return session.scalars(select(WorkerNode).order_by(WorkerNode.id)).all()


def forget_worker_nodes(session: Session) -> None:
    """Remove all workers; for the one process that knows that none runs."""
    session.execute(delete(WorkerNode))


def parts_of(session: Session, task_id: str) -> Sequence[TaskPart]:
    """Return the recorded parts of a task in order."""
    return session.scalars(select(TaskPart).where(TaskPart.task_id == task_id).order_by(TaskPart.index)).all()


def unswept_jobs(session: Session, finished_before: datetime | None) -> Sequence[Job]:
    """Return final jobs whose intermediate objects may still lie about."""
    query = select(Job).where(Job.finished_at.is_not(None), Job.swept_at.is_(None)).limit(100)
    if finished_before is not None:
        query = query.where(Job.finished_at < finished_before)
    return session.scalars(query).all()
