"""Claiming: how a task becomes one worker's."""

from datetime import timedelta

from sqlalchemy.orm import Session

from sfserver.infra.clock import db_now
from sfserver.infra.queue.contract import Queue
from sfserver.models import Video
from sfserver.tasks import announce, lifecycle, repository
from sfserver.tasks.repository import Candidate
from sfserver.tasks.stage import Claim, StageContext
from sfserver.tasks.states import Happening, is_lonely
from sfserver.tasks.work import Work
from sfserver.wire.jobs import StageState

_CANDIDATES = 5


def claim_task(work: Work, queue: Queue, worker: str) -> Claim | None:
    """Claim the best task of `queue` for `worker`, or None if there is nothing to do.

    Candidates are looked up without a lock; then the job is locked, and after it the task, in the order that all
    transactions keep. Who was faster in between shows in the compare-and-set.
    """
    for _ in range(_CANDIDATES):
        with work.database.read() as session:
            found = _find_candidate(session, work, queue, worker)
        if found is None:
            return None
        with work.database.write() as session:
            claim = _take(session, work, found, worker)
        if claim is not None:
            return claim
    return None


def _find_candidate(session: Session, work: Work, queue: Queue, worker: str) -> Candidate | None:
    most = _most_losses(session, work, worker)
    return repository.find_candidate(
        session, queue, below_losses=most, longest_wait_s=work.settings.worker.backoff_max_s
    )


def _most_losses(session: Session, work: Work, worker: str) -> int:
    """Return below how many past losses a task may run on this worker now: a lonely one has nothing beside it."""
    policy = work.retry_policy
    beside = repository.losses_beside(session, worker)
    # What this worker runs has its present attempt charged already.
    if any(is_lonely(losses - 1, policy) for losses in beside):
        return 0
    return policy.lonely_after_losses if beside else policy.max_losses


def _take(session: Session, work: Work, found: Candidate, worker: str) -> Claim | None:
    job = repository.lock_job(session, found.job_id)
    task = repository.lock_task(session, found.task_id)
    if job is None or task is None or task.token != found.token or task.state != StageState.WAITING:
        return None
    row = repository.find_stage(session, job.id, task.kind)
    if row is None or not lifecycle.may_run(job, row) or task.losses >= _most_losses(session, work, worker):
        return None
    video = session.get_one(Video, job.video_id)
    lifecycle.discard_attempt(session, work.stages, task, job, video)
    now = db_now(session)
    lifecycle.move(task, Happening.CLAIMED, work.retry_policy, now)
    task.token, task.worker, task.error, task.started_at = task.token + 1, worker, None, now
    task.lease_until = now + timedelta(seconds=work.settings.worker.lease_s)
    row.attempts += 1
    lifecycle.start_job(session, job)
    if row.state == StageState.WAITING:
        row.state, row.started_at = StageState.RUNNING, now
        announce.stage_changed(session, job, row)
    task.spec = work.stages[task.kind].settle(StageContext(session, work.settings, work.stages, job, row, task))
    return lifecycle.claim_of(task, job, video)
