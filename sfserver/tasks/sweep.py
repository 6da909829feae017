"""The sweeper: finds what was left behind and rings for it. Everything here is harmless when done twice."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta

import structlog
from sqlalchemy.orm import Session

from sfserver.infra.clock import db_now
from sfserver.infra.queue.contract import Queue
from sfserver.models import Job, Task
from sfserver.tasks import garbage, pipeline, record, repository
from sfserver.tasks.states import Happening
from sfserver.tasks.work import Work
from sfserver.wire.jobs import StageState

log = structlog.get_logger(__name__)
_VANISHED = "vanished with its worker"
_MOST_LEASES = 10


@dataclass(frozen=True)
class Here:
    """What the sweeping process knows of itself: which queues have an idle slot, and which tasks it runs."""

    has_idle: Callable[[Queue], bool] = lambda _queue: True
    is_running: Callable[[str], bool] = lambda _task_id: False


NOWHERE = Here()


def sweep(work: Work, here: Here = NOWHERE) -> None:
    """Put expired tasks back, ring for unclaimed work that an idle slot could do, delete garbage that is due."""
    put_expired_back(work, here)
    ring_waiting(work, here)
    garbage.collect(work.database, work.store)


def put_expired_back(work: Work, here: Here = NOWHERE) -> None:
    """Make tasks claimable again whose lease is over; the loss was charged at their claim.

    What runs in this very process has not lost its worker, whatever the clock says: its next beat extends the lease.
    """
    with work.database.read() as session:
        expired = repository.expired_tasks(session, work.settings.worker.lease_s)
    for job_id, task_id in expired:
        if here.is_running(task_id):
            continue
        with work.database.write() as session:
            job = repository.lock_job(session, job_id)
            task = repository.lock_task(session, task_id)
            if job is not None and task is not None and _is_expired(session, work, task):
                record.put_back(session, work, job, task, Happening.VANISHED, reason=_VANISHED, let_go=False)


def resume_after_boot(work: Work) -> None:
    """Put every running task back at once; for the owner of the data directory's lock alone.

    The lock proves that whoever held these leases is dead. The loss is refunded: a power cut is nobody's fault, and
    media that eats the machine kills its own process first (docs/adr/0007-losses-at-boot.md).
    """
    with work.database.write() as session:
        for task in repository.running_tasks(session):
            log.info("task.resumed", job_id=task.job_id, kind=task.kind, index=task.index)
            job = session.get_one(Job, task.job_id)
            record.put_back(session, work, job, task, Happening.ABANDONED, reason="was cut off")
        for job in repository.unfinished_jobs(session):
            pipeline.lay_out_stages(session, work, job)


def ring_waiting(work: Work, here: Here = NOWHERE) -> None:
    """Ring each queue in which something could be claimed; nothing to do, or nobody idle to do it: no ring."""
    with work.database.read() as session:
        queues = repository.queues_with_work(session, work.settings.worker.backoff_max_s)
    for queue in filter(here.has_idle, queues):
        work.doorbell.ring(queue)


def _is_expired(session: Session, work: Work, task: Task) -> bool:
    again = {task_id for _, task_id in repository.expired_tasks(session, work.settings.worker.lease_s)}
    return task.state == StageState.RUNNING and task.id in again and not _lives(session, work, task)


def _lives(session: Session, work: Work, task: Task) -> bool:
    """Tell a worker that is gone from one that lives and could not reach the database to say so.

    The living one beats again in a moment, and is charged nothing. One that lives and has still not done so after ten
    leases has lost the task.
    """
    worker, now = repository.find_worker(session, task.worker), db_now(session)
    if worker is None or task.lease_until is None:
        return False
    lease = timedelta(seconds=work.settings.worker.lease_s)
    if task.lease_until > now:  # the clock was set back
        return abs(now - worker.seen_at) < lease
    return worker.seen_at >= task.lease_until and now - task.lease_until < _MOST_LEASES * lease
