"""The short transactions round a task: claim, beat, progress and every way it can end.

Each is fenced by the claim's token: False, or nothing done, means that somebody else owns the task now and that
the result must be thrown away.
"""

from datetime import timedelta
from typing import Any

import structlog
from sqlalchemy.orm import Session

from sfserver.deps import Runtime
from sfserver.errors import StreamForgeError, WorkerCrashedError
from sfserver.infra.db import db_now
from sfserver.infra.queue import Queue
from sfserver.jobs import pipeline, repository, service
from sfserver.jobs.claims import Claim
from sfserver.media.sandbox.parent import StageRun
from sfserver.models import Job, Task, TaskPart, Video
from sfserver.wire.jobs import StageState

log = structlog.get_logger(__name__)
_FIRST_RETRY_S = 1.0


def claim_task(runtime: Runtime, queue: Queue, worker: str) -> Claim | None:
    """Claim the best task of `queue` for `worker`, or None if there is nothing to do."""
    settings = runtime.settings.worker
    with runtime.database.write() as session:
        task = repository.claim_next(
            session, queue, worker, lease_s=settings.lease_s, lonely_after=settings.lonely_after_losses
        )
        if task is None:
            return None
        job = session.get_one(Job, task.job_id)
        service.start_job(session, runtime, job)
        if task.attempts == 1 and task.index == 0:
            service.emit_stage(session, runtime, job, task.kind, StageState.RUNNING)
        video = session.get_one(Video, job.video_id)
        return Claim.of(task, job, video, service.publish_prefix(job, task.token))


def beat(runtime: Runtime, claim: Claim) -> bool:
    """Extend the claim's lease."""
    with runtime.database.write() as session:
        return repository.extend_lease(session, claim.task_id, claim.token, runtime.settings.worker.lease_s)


def record_progress(runtime: Runtime, claim: Claim, progress: dict[str, Any]) -> None:
    """Write how far the task is and tell the clients."""
    with runtime.database.write() as session:
        if repository.write_progress(session, claim.task_id, claim.token, progress):
            service.update_progress(session, runtime, session.get_one(Job, claim.job_id))


def record_part(runtime: Runtime, claim: Claim, index: int, key: str, result: dict[str, Any]) -> bool:
    """Record a finished part of a running task; a later attempt will not make it again."""
    with runtime.database.write() as session:
        if repository.own(session, claim.task_id, claim.token) is None:
            return False
        session.add(TaskPart(task_id=claim.task_id, index=index, key=key, result=result))
        return True


def record_success(runtime: Runtime, claim: Claim, run: StageRun, result: dict[str, Any]) -> bool:
    """Record a task's result and queue what became possible, in one transaction."""
    with runtime.database.write() as session:
        task = _finish(session, claim, StageState.DONE)
        if task is None:
            return False
        task.result = result
        task.progress = {**task.progress, "progress": 1.0, "frames": _final_frames(claim, result), "fps": {}}
        task.cpu_s, task.wall_s, task.peak_rss_bytes = run.cpu_s, run.wall_s, run.peak_rss_bytes
        session.flush()
        job = session.get_one(Job, claim.job_id)
        pipeline.advance(session, runtime, job, task)
        service.update_progress(session, runtime, job)
    log.info("task.done", job_id=claim.job_id, kind=claim.kind, index=claim.index, duration_ms=int(run.wall_s * 1000))
    return True


def record_failure(runtime: Runtime, claim: Claim, error: StreamForgeError) -> None:
    """Fail the task and its job: the same input would fail again."""
    with runtime.database.write() as session:
        task = _finish(session, claim, StageState.FAILED)
        if task is not None:
            fail_task(session, runtime, task, error)


def record_crash(runtime: Runtime, claim: Claim, reason: str) -> None:
    """Charge a crash of the media process; after the last one allowed the job fails with what the process died of."""
    limit = runtime.settings.worker.max_crashes
    with runtime.database.write() as session:
        task = repository.own(session, claim.task_id, claim.token)
        if task is None:
            return
        task.crashes += 1
        if task.crashes < limit:
            _put_back(session, task, delay_s=_FIRST_RETRY_S)
            return
        task.losses -= 1
        detail = f"the {task.kind} process {reason}, {task.crashes} times at the same place"
        fail_task(session, runtime, task, WorkerCrashedError(detail))
    log.warning("task.quarantined", job_id=claim.job_id, kind=claim.kind, index=claim.index, reason=reason)


def record_outage(runtime: Runtime, claim: Claim, error: StreamForgeError) -> None:
    """Put a task back after an error of store or database; it is tried again without end, ever more slowly."""
    with runtime.database.write() as session:
        task = repository.own(session, claim.task_id, claim.token)
        if task is not None:
            task.errors += 1
            task.error = service.describe(error).model_dump(mode="json")
            delay_s = min(runtime.settings.worker.backoff_max_s, _FIRST_RETRY_S * 2 ** (task.errors - 1))
            _put_back(session, task, delay_s=delay_s)


def release(runtime: Runtime, claim: Claim) -> None:
    """Put a task back as if it had never been claimed: the worker stops."""
    with runtime.database.write() as session:
        task = repository.own(session, claim.task_id, claim.token)
        if task is not None:
            task.attempts -= 1
            _put_back(session, task, delay_s=0.0)


def fail_task(session: Session, runtime: Runtime, task: Task, error: StreamForgeError) -> None:
    """Mark a task as failed for good and end its job."""
    task.state, task.finished_at, task.lease_until = StageState.FAILED, db_now(session), None
    task.error = service.describe(error).model_dump(mode="json")
    session.flush()
    job = session.get_one(Job, task.job_id)
    service.emit_stage(session, runtime, job, task.kind, StageState.FAILED)
    service.fail_job(session, runtime, job, error)


def _finish(session: Session, claim: Claim, state: StageState) -> Task | None:
    task = repository.own(session, claim.task_id, claim.token)
    if task is not None:
        task.state, task.finished_at, task.lease_until = state, db_now(session), None
        task.losses -= 1
    return task


def _put_back(session: Session, task: Task, *, delay_s: float) -> None:
    task.state, task.lease_until, task.progress = StageState.WAITING, None, {}
    task.not_before = db_now(session) + timedelta(seconds=delay_s)
    task.losses -= 1


def _final_frames(claim: Claim, result: dict[str, Any]) -> dict[str, int]:
    if claim.kind != "encode":
        return {}
    return {name: part["samples"] for name, part in result["chunk"]["parts"].items()}
