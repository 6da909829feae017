"""The short transactions in which an attempt says how it goes and how it ended.

Each is fenced by the claim's token. RECORDED: it counts. ALREADY_RECORDED: this very attempt ended before, and its
acknowledgement was lost. LOST: somebody else owns the task now, or nobody. Whatever the answer, nothing in the store
is touched here: what is not wanted has become garbage in the transaction that stopped wanting it.
"""

from enum import StrEnum
from typing import Any

import structlog
from sqlalchemy.orm import Session

from sfserver.errors import StreamForgeError
from sfserver.infra.clock import db_now
from sfserver.media.sandbox.parent import StageRun
from sfserver.models import Job, Task, TaskPart
from sfserver.tasks import lifecycle, pipeline, repository
from sfserver.tasks.announce import emit_progress
from sfserver.tasks.progress import JobProgress, StageProgress, TaskProgress, estimate_eta_s, rung_speed, summarise
from sfserver.tasks.stage import Claim, StageContext
from sfserver.tasks.states import OWNED, Happening
from sfserver.tasks.work import Work
from sfserver.wire.events import ProgressEvent
from sfserver.wire.jobs import JobError, StageState

log = structlog.get_logger(__name__)


class Recorded(StrEnum):
    """What became of a recording."""

    RECORDED = "recorded"
    ALREADY_RECORDED = "already_recorded"
    LOST = "lost"


class Beat(StrEnum):
    """Whose task it is: ours, ours again after a sweep had put it back, or somebody else's."""

    OWNED = "owned"
    PUT_BACK = "put_back"
    LOST = "lost"


def beat(work: Work, claim: Claim) -> Beat:
    """Extend the claim's lease."""
    with work.database.write() as session:
        state = repository.extend_lease(session, claim.task_id, claim.token, work.settings.worker.lease_s)
    if state is None:
        return Beat.LOST
    return Beat.OWNED if state is StageState.RUNNING else Beat.PUT_BACK


def record_progress(work: Work, claim: Claim, progress: dict[str, Any]) -> None:
    """Write how far the task is and tell the clients."""
    with work.database.write() as session:
        job = repository.lock_job(session, claim.job_id)
        if job is not None and repository.write_progress(session, claim.task_id, claim.token, progress):
            tell_progress(session, work, job)


def record_part(work: Work, claim: Claim, index: int, key: str, result: dict[str, Any]) -> bool:
    """Record a finished part of a running task; a later attempt will not make it again."""
    with work.database.write() as session:
        job, task, standing = _own(session, claim)
        if standing is not Recorded.RECORDED or job is None or task is None:
            return False
        row = repository.find_stage(session, job.id, task.kind)
        assert row is not None
        context = StageContext(session, work.settings, work.stages, job, row, task)
        kept = work.stages[task.kind].part(context, index, key, result)
        session.add(TaskPart(task_id=claim.task_id, index=index, key=key, result=kept))
        return True


def record_success(work: Work, claim: Claim, run: StageRun) -> Recorded:
    """Record a task's result and queue what became possible, in one transaction.

    Raises what the stage's hooks raise: a permanent error means that the result itself is refused.
    """
    stage = work.stages[claim.kind]
    with work.database.write() as session:
        job, task, standing = _own(session, claim)
        if standing is not Recorded.RECORDED or job is None or task is None:
            return standing
        _is_back(session, task)
        lifecycle.move(task, Happening.SUCCEEDED, work.retry_policy, db_now(session))
        task.result, task.progress = stage.result_json(run.result), {}
        task.cpu_s, task.wall_s, task.peak_rss_bytes = run.cpu_s, run.wall_s, run.peak_rss_bytes
        session.flush()
        row = repository.find_stage(session, job.id, task.kind)
        assert row is not None
        stage.after(StageContext(session, work.settings, work.stages, job, row, task), run.result)
        if task.state == StageState.DONE:
            pipeline.record_done(session, work, job, task)
        tell_progress(session, work, job)
    log.info("task.done", job_id=claim.job_id, kind=claim.kind, index=claim.index, duration_ms=int(run.wall_s * 1000))
    return standing


def record_failure(work: Work, claim: Claim, error: StreamForgeError) -> Recorded:
    """Fail the task for good: the same input would fail again."""
    with work.database.write() as session:
        job, task, standing = _own(session, claim)
        if standing is Recorded.RECORDED and job is not None and task is not None:
            _is_back(session, task)
            lifecycle.move(task, Happening.REFUSED, work.retry_policy, db_now(session))
            pipeline.fail_stage(session, work, job, task, error)
    return standing


def record_setback(
    work: Work, claim: Claim, happening: Happening, reason: str, error: StreamForgeError | None = None
) -> Recorded:
    """Put a task back after something that may pass, or quarantine it after the last time it may happen.

    `reason` completes "the encode process …" for people; `error` is shown while the task waits.
    """
    with work.database.write() as session:
        job, task, standing = _own(session, claim)
        if task is not None and standing is Recorded.RECORDED and _is_let_go(task):
            return Recorded.ALREADY_RECORDED
        if standing is Recorded.RECORDED and job is not None and task is not None:
            _is_back(session, task)
            put_back(session, work, job, task, happening, reason=reason)
            if error is not None and task.state == StageState.WAITING:
                shown = lifecycle.describe(error)
                task.error = shown.model_dump(mode="json")
                tell_progress(session, work, job, waiting=shown)
    return standing


def put_back(
    session: Session, work: Work, job: Job, task: Task, happening: Happening, *, reason: str, let_go: bool = True
) -> None:
    """Let a setback happen to a task of this locked job; the stage counts what people are shown.

    Without `let_go` its worker may still take it back by a beat (`repository.extend_lease`).
    """
    crashes, attempts = task.crashes, task.attempts
    step = lifecycle.move(task, happening, work.retry_policy, db_now(session))
    row = repository.find_stage(session, job.id, task.kind)
    assert row is not None
    row.crashes += task.crashes - crashes
    row.attempts += task.attempts - attempts
    row.losses += happening is Happening.VANISHED
    if let_go and task.state == StageState.WAITING:
        task.worker = None
    if step.given_up:
        times = {Happening.CRASHED: task.crashes, Happening.VANISHED: task.losses, Happening.DOUBT: task.doubts}
        log.warning("task.quarantined", job_id=job.id, kind=task.kind, index=task.index, reason=reason)
        pipeline.give_up(session, work, job, task, f"{reason}, {times[happening]} times at the same place")
    elif not step.delay_s:
        pipeline.wake(session, [row.queue])


def tell_progress(session: Session, work: Work, job: Job, waiting: JobError | None = None) -> None:
    """Raise the job's high-water mark and publish a progress event after the commit."""
    now = read_progress(session, work, job)
    job.progress = max(job.progress, round(now.progress, 4))
    elapsed_s = (db_now(session) - job.started_at).total_seconds() if job.started_at else 0.0
    event = ProgressEvent(
        job_id=job.id,
        progress=job.progress,
        stage=now.stage,
        rungs=now.rungs,
        eta_s=estimate_eta_s(job.progress, elapsed_s),
        speed=rung_speed(job.plan, now.rungs, elapsed_s),
        waiting=waiting,
    )
    emit_progress(session, job, event)


def read_progress(session: Session, work: Work, job: Job) -> JobProgress:
    """Sum a job up from its stages and what runs: a handful of rows, however many tasks there are."""
    rows = repository.stages_of(session, job.id)
    running: dict[str, list[TaskProgress]] = {}
    for kind, size, progress in repository.running_progress(session, job.id):
        running.setdefault(kind, []).append(TaskProgress.from_row(size, progress))
    stages = [StageProgress.from_row(row, running.get(kind, ())) for kind, row in rows.items()]
    return summarise(job.plan, stages, work.stages.shares())


def _own(session: Session, claim: Claim) -> tuple[Job | None, Task | None, Recorded]:
    """Lock the claim's job and task; say whether the claim still owns the task."""
    job = repository.lock_job(session, claim.job_id)
    task = None if job is None else repository.lock_task(session, claim.task_id)
    if task is None or task.token != claim.token:
        return job, task, Recorded.LOST
    return job, task, Recorded.RECORDED if task.state in OWNED else Recorded.ALREADY_RECORDED


def _is_let_go(task: Task) -> bool:
    """Whether its worker has put this task back itself, and not a sweep, which leaves the worker's name."""
    return task.state == StageState.WAITING and task.worker is None


def _is_back(session: Session, task: Task) -> None:
    """Uncount the loss of a worker that a sweep gave up, and that records after all."""
    if task.state == StageState.WAITING and task.worker is not None:
        repository.take_loss_back(session, task.id)
