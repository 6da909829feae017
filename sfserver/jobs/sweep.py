"""The sweeper: finds what was left behind and rings for it. Everything here is harmless when done twice."""

from datetime import timedelta

import structlog
from sqlalchemy.orm import Session

from sfserver.deps import Runtime
from sfserver.errors import WorkerCrashedError
from sfserver.infra.db import db_now
from sfserver.jobs import recording, repository, service
from sfserver.models import Job, Task
from sfserver.wire.jobs import JobStatus, StageState

log = structlog.get_logger(__name__)
_ORPHAN_AGE = timedelta(hours=1)


def sweep(runtime: Runtime) -> None:
    """Put expired tasks back, ring for unclaimed work, remove orphans."""
    with runtime.database.write() as session:
        for task in repository.expired_tasks(session):
            _put_back(session, runtime, task)
    ring_waiting(runtime)
    remove_orphans(runtime, older_than=_ORPHAN_AGE)


def resume_after_boot(runtime: Runtime) -> None:
    """Put every running task back at once; for the owner of the data directory's lock alone.

    The lock proves that whoever held these leases is dead. The loss is refunded: a power cut is nobody's fault, and
    media that eats the machine kills its own process first (docs/adr/0007-losses-at-boot.md).
    """
    with runtime.database.write() as session:
        for task in repository.running_tasks(session):
            log.info("task.resumed", job_id=task.job_id, kind=task.kind, index=task.index)
            task.losses -= 1
            _make_claimable(session, task)
    remove_orphans(runtime, older_than=None)


def ring_waiting(runtime: Runtime) -> None:
    """Ring once for every task that could be claimed now."""
    with runtime.database.read() as session:
        counts = repository.eligible_counts(session)
    for queue, count in counts.items():
        runtime.ring(queue, min(count, 16))


def remove_orphans(runtime: Runtime, *, older_than: timedelta | None) -> None:
    """Remove what finished jobs left: intermediate objects, and what failed attempts at packaging stored.

    Orphans are found from rows, never by listing the store. `older_than` keeps off attempts that may still write;
    None says that there are none.
    """
    with runtime.database.read() as session:
        before = None if older_than is None else db_now(session) - older_than
        jobs = [(job.id, _orphan_prefixes(session, job)) for job in repository.unswept_jobs(session, before)]
    for _, prefixes in jobs:
        for prefix in prefixes:
            runtime.store.delete_prefix(prefix)
    with runtime.database.write() as session:
        for job_id, _ in jobs:
            job = session.get(Job, job_id)
            if job is not None:
                job.swept_at = db_now(session)


def _put_back(session: Session, runtime: Runtime, task: Task) -> None:
    """Make a task claimable again after its worker vanished; the loss was charged at the claim."""
    if task.losses >= runtime.settings.worker.max_losses:
        detail = f"{task.losses} workers in a row vanished while they ran this {task.kind} task"
        recording.fail_task(session, runtime, task, WorkerCrashedError(detail))
        return
    _make_claimable(session, task)


def _make_claimable(session: Session, task: Task) -> None:
    task.state, task.lease_until, task.ready_at = StageState.WAITING, None, db_now(session)


def _orphan_prefixes(session: Session, job: Job) -> list[str]:
    packages = repository.tasks_of(session, job.id, "package")
    attempts = [service.publish_prefix(job, token) for task in packages for token in range(1, task.token + 1)]
    if job.status == JobStatus.READY and packages:
        attempts.remove(service.publish_prefix(job, packages[0].token))
    return [service.work_prefix(job.id), *attempts]
