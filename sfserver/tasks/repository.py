"""All SQL about jobs' stages and tasks.

One order of locks everywhere: the job first (`lock_job`), then its task. On SQLite a writing transaction is alone
anyway (`BEGIN IMMEDIATE`), and the locks cost nothing.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import ColumnElement, and_, delete, exists, func, or_, select, tuple_, update
from sqlalchemy.orm import Session, aliased, defer

from sfserver.infra.clock import db_now
from sfserver.infra.queue.contract import Queue
from sfserver.models import Garbage, Job, JobStage, Task, TaskPart, WorkerNode
from sfserver.tasks.states import ACTIVE_JOBS, OWNED
from sfserver.wire.jobs import JobStatus, StageState


@dataclass(frozen=True)
class Candidate:
    """A task somebody may try to claim, with the token it had when it was found."""

    job_id: str
    task_id: str
    token: int


def lock_job(session: Session, job_id: str) -> Job | None:
    """Load a job and hold its lock until the transaction ends; None if there is none (any more)."""
    query = select(Job).where(Job.id == job_id).with_for_update().execution_options(populate_existing=True)
    return session.scalars(query).one_or_none()


def jobs_of(session: Session, video_id: str) -> Sequence[Job]:
    """Return all jobs of a video, oldest first."""
    return session.scalars(select(Job).where(Job.video_id == video_id).order_by(Job.id)).all()


def lock_task(session: Session, task_id: str) -> Task | None:
    """Load a task for changing it; its job is locked already."""
    query = select(Task).where(Task.id == task_id).with_for_update().execution_options(populate_existing=True)
    return session.scalars(query).one_or_none()


def find_stage(session: Session, job_id: str, kind: str) -> JobStage | None:
    """Return the stage of a job, or None."""
    return session.get(JobStage, (job_id, kind))


def stages_of(session: Session, job_id: str) -> dict[str, JobStage]:
    """Return all stages of a job by kind."""
    return {row.kind: row for row in session.scalars(select(JobStage).where(JobStage.job_id == job_id))}


def tasks_of(session: Session, job_id: str, kind: str | None = None) -> Sequence[Task]:
    """Return a job's tasks by kind and index."""
    query = select(Task).where(Task.job_id == job_id).order_by(Task.kind, Task.index)
    return session.scalars(query if kind is None else query.where(Task.kind == kind)).all()


def light_tasks(session: Session, job_id: str, kind: str | None = None) -> Sequence[Task]:
    """Return a job's tasks without their results, which can be large."""
    query = select(Task).where(Task.job_id == job_id).options(defer(Task.result)).order_by(Task.kind, Task.index)
    return session.scalars(query if kind is None else query.where(Task.kind == kind)).all()


def parts_of(session: Session, task_id: str) -> Sequence[TaskPart]:
    """Return the recorded parts of a task in order."""
    return session.scalars(select(TaskPart).where(TaskPart.task_id == task_id).order_by(TaskPart.index)).all()


def part_keys(session: Session, job_id: str) -> Sequence[tuple[str, str]]:
    """Return the task and the key of every recorded part of a job's tasks, in one query."""
    mine = select(TaskPart.task_id, TaskPart.key).join(Task, Task.id == TaskPart.task_id).where(Task.job_id == job_id)
    return [(task_id, key) for task_id, key in session.execute(mine.order_by(TaskPart.task_id, TaskPart.index))]


def delete_parts(session: Session, task_id: str) -> None:
    """Forget the recorded parts of a task."""
    session.execute(delete(TaskPart).where(TaskPart.task_id == task_id))


def running_progress(session: Session, job_id: str) -> Sequence[tuple[str, int, dict[str, Any]]]:
    """Return `(kind, size, progress)` of a job's running tasks: as many as there are slots, however long the video."""
    query = select(Task.kind, Task.size, Task.progress).where(
        Task.job_id == job_id, Task.kind.in_(_kinds_of(job_id)), Task.state == StageState.RUNNING
    )
    return [(kind, size, progress) for kind, size, progress in session.execute(query)]


def losses_beside(session: Session, worker: str) -> Sequence[int]:
    """Return the losses of each task this worker runs."""
    query = select(Task.losses).where(Task.state == StageState.RUNNING, Task.worker == worker)
    return session.scalars(query).all()


def find_candidate(session: Session, queue: Queue, *, below_losses: int, longest_wait_s: float) -> Candidate | None:
    """Return the best task of a queue that could be claimed now.

    Best: priority, then the job with the fewest running tasks (so that short clips pass long films), then index. Found
    by way of the stages, so that it costs the same however many tasks wait in each.
    """
    due = and_(_is_due(db_now(session), longest_wait_s), Task.losses < below_losses)
    query = _stages_with(queue, due).order_by(JobStage.priority, _running_beside(), JobStage.job_id).limit(1)
    stage = session.execute(query).first()
    if stage is None:
        return None
    job_id, kind = stage
    first = select(Task.id, Task.token).where(Task.job_id == job_id, Task.kind == kind, due)
    task_id, token = session.execute(first.order_by(Task.index).limit(1)).one()
    return Candidate(job_id, task_id, token)


def queues_with_work(session: Session, longest_wait_s: float) -> Sequence[Queue]:
    """Return the queues in which something could be claimed now."""
    due = _is_due(db_now(session), longest_wait_s)
    return [queue for queue in Queue if session.execute(_stages_with(queue, due).limit(1)).first() is not None]


def count_waiting(session: Session, longest_wait_s: float) -> dict[str, int]:
    """Return how many tasks of each queue could be claimed now, for people who look."""
    due = _is_due(db_now(session), longest_wait_s)
    query = select(JobStage.queue, func.count()).join(Task, _of_stage()).join(Job, Job.id == JobStage.job_id)
    rows = session.execute(query.where(due, _wanted()).group_by(JobStage.queue))
    found = {queue: count for queue, count in rows}  # noqa: C416 - mypy knows no row as a pair
    return {queue.value: found.get(queue.value, 0) for queue in Queue}


def troubled_tasks(session: Session) -> tuple[int, dict[str, Any] | None]:
    """Return how many tasks wait because something went wrong, and what went wrong with one of them."""
    wanted = select(JobStage.job_id, JobStage.kind).join(Job, Job.id == JobStage.job_id).where(_wanted())
    waits = and_(Task.state == StageState.WAITING, Task.not_before.is_not(None), Task.error.is_not(None))
    mine = and_(tuple_(Task.job_id, Task.kind).in_(wanted), waits)
    count = session.scalar(select(func.count()).where(mine)) or 0
    return count, session.scalar(select(Task.error).where(mine).limit(1)) if count else None


def oldest_waiting(session: Session, longest_wait_s: float) -> datetime | None:
    """Return since when the task that has waited longest could have been claimed."""
    due = _is_due(db_now(session), longest_wait_s)
    query = select(func.min(Task.ready_at)).select_from(JobStage).join(Task, _of_stage())
    return session.scalar(query.join(Job, Job.id == JobStage.job_id).where(due, _wanted()))


def extend_lease(session: Session, task_id: str, token: int, lease_s: float) -> StageState | None:
    """Extend the lease while the token is unchanged; return the state the task was in, None if it is another's now.

    One that a sweep has put back is taken again, but not one that its worker has let go: a beat that was under way
    when the attempt's end was recorded must not bring it back. Takes no job lock: it reads nothing that it writes.
    """
    until = db_now(session) + timedelta(seconds=lease_s)
    for state in OWNED:
        owned = update(Task).where(
            Task.id == task_id, Task.token == token, Task.state == state, Task.worker.is_not(None)
        )
        if _rows(session, owned.values(state=StageState.RUNNING, lease_until=until)):
            if state is StageState.WAITING:
                take_loss_back(session, task_id)
            return state
    return None


def take_loss_back(session: Session, task_id: str) -> None:
    """Uncount the loss of a worker that was given up and lives."""
    stage = select(Task.job_id, Task.kind).where(Task.id == task_id)
    mine = tuple_(JobStage.job_id, JobStage.kind).in_(stage)
    session.execute(update(JobStage).where(mine).values(losses=JobStage.losses - 1))


def write_progress(session: Session, task_id: str, token: int, progress: dict[str, Any]) -> bool:
    """Write a running task's progress; False if it is somebody else's."""
    owned = update(Task).where(Task.id == task_id, Task.token == token, Task.state.in_(OWNED))
    return _rows(session, owned.values(progress=progress)) == 1


def expired_tasks(session: Session, lease_s: float) -> Sequence[tuple[str, str]]:
    """Return `(job id, task id)` of running tasks whose lease is over.

    So is one that ends later than any lease given now could: the clock was set back.
    """
    now = db_now(session)
    over = or_(Task.lease_until < now, Task.lease_until > now + timedelta(seconds=2 * lease_s))
    query = select(Task.job_id, Task.id).where(Task.state == StageState.RUNNING, over)
    return [(job_id, task_id) for job_id, task_id in session.execute(query)]


def running_tasks(session: Session) -> Sequence[Task]:
    """Return all running tasks."""
    return session.scalars(select(Task).where(Task.state == StageState.RUNNING)).all()


def unfinished_jobs(session: Session) -> Sequence[Job]:
    """Return all jobs that are not final."""
    return session.scalars(select(Job).where(Job.status.in_(ACTIVE_JOBS))).all()


def worker_nodes(session: Session) -> Sequence[WorkerNode]:
    """Return all workers that ever beat and were not removed."""
    return session.scalars(select(WorkerNode).order_by(WorkerNode.id)).all()


def find_worker(session: Session, worker: str | None) -> WorkerNode | None:
    """Return a worker, or None."""
    return None if worker is None else session.get(WorkerNode, worker)


def forget_worker_nodes(session: Session) -> None:
    """Remove all workers; for the one process that knows that none runs."""
    session.execute(delete(WorkerNode))


def due_garbage(session: Session, limit: int) -> Sequence[tuple[str, list[str]]]:
    """Return `(id, keys)` of garbage that may be deleted now, the oldest first."""
    query = select(Garbage.id, Garbage.keys).where(Garbage.due_at <= db_now(session)).order_by(Garbage.due_at)
    return [(row_id, keys) for row_id, keys in session.execute(query.limit(limit))]


def delete_garbage(session: Session, *, row_id: str | None = None, reprieve_job_id: str | None = None) -> int:
    """Forget one row of garbage, or all that a job may still want; return how many."""
    wanted = Garbage.id == row_id if row_id is not None else Garbage.reprieve_job_id == reprieve_job_id
    return _rows(session, delete(Garbage).where(wanted))


def end_reprieve(session: Session, job_id: str) -> None:
    """Have a job's retry find nothing any more of what the job had recorded."""
    session.execute(update(Garbage).where(Garbage.reprieve_job_id == job_id).values(reprieve_job_id=None))


def _is_due(now: datetime, longest_wait_s: float) -> ColumnElement[bool]:
    """Whether a waiting task may be claimed; one that waits longer than any wait there is saw the clock set back."""
    never = now + timedelta(seconds=longest_wait_s)
    due = or_(Task.not_before.is_(None), Task.not_before <= now, Task.not_before > never)
    return and_(Task.state == StageState.WAITING, due)


def _wanted() -> ColumnElement[bool]:
    insight = and_(JobStage.fatal.is_(False), Job.status == JobStatus.READY)
    return or_(Job.status.in_(ACTIVE_JOBS), insight)


def _of_stage() -> ColumnElement[bool]:
    return and_(Task.job_id == JobStage.job_id, Task.kind == JobStage.kind)


def _stages_with(queue: Queue, condition: ColumnElement[bool]) -> Any:  # noqa: ANN401 (SQLAlchemy's row types)
    """Select the stages of a queue that are wanted and have a task for which `condition` holds."""
    open_states = (StageState.WAITING, StageState.RUNNING)
    return (
        select(JobStage.job_id, JobStage.kind)
        .join(Job, Job.id == JobStage.job_id)
        .where(JobStage.queue == queue, JobStage.state.in_(open_states), JobStage.opened_at.is_not(None), _wanted())
        .where(exists(select(Task.id).where(_of_stage(), condition)))
    )


def _running_beside() -> Any:  # noqa: ANN401
    """Count the running tasks of a stage's job, kind by kind as the index goes."""
    other, kind = aliased(Task), aliased(JobStage)
    return (
        select(func.count())
        .select_from(kind)
        .join(other, and_(other.job_id == kind.job_id, other.kind == kind.kind, other.state == StageState.RUNNING))
        .where(kind.job_id == JobStage.job_id)
        .correlate(JobStage)
        .scalar_subquery()
    )


def _kinds_of(job_id: str) -> Any:  # noqa: ANN401
    return select(JobStage.kind).where(JobStage.job_id == job_id)


def _rows(session: Session, statement: Any) -> int:  # noqa: ANN401
    changed: int = session.execute(statement).rowcount  # type: ignore[attr-defined]
    return changed
