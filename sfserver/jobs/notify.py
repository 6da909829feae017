"""Telling clients what changed: state events are rows that can be replayed, progress is not kept."""

from pydantic import BaseModel
from sqlalchemy.orm import Session

from sfserver.infra.db import db_now, on_commit
from sfserver.infra.events import EventBus
from sfserver.models import Job, JobEvent
from sfserver.wire.events import EventKind

CANCEL_TOPIC = "cancel"


def job_topic(job_id: str) -> str:
    """Return the topic of one job's events."""
    return f"job:{job_id}"


def user_topic(user_id: str) -> str:
    """Return the topic of all events of one user's jobs."""
    return f"user:{user_id}"


def emit(session: Session, bus: EventBus, job: Job, kind: EventKind, event: BaseModel) -> None:
    """Record a state event with this transaction and publish it after the commit."""
    data = event.model_dump(mode="json")
    row = JobEvent(job_id=job.id, owner_id=job.owner_id, kind=kind, data=data, created_at=db_now(session))
    session.add(row)
    session.flush()
    _publish_after_commit(session, bus, job, {"id": row.id, "kind": kind, "job_id": job.id, "data": data})


def emit_progress(session: Session, bus: EventBus, job: Job, event: BaseModel) -> None:
    """Publish a progress event after the commit; nobody will replay it."""
    data = event.model_dump(mode="json")
    _publish_after_commit(session, bus, job, {"id": None, "kind": EventKind.PROGRESS, "job_id": job.id, "data": data})


def _publish_after_commit(session: Session, bus: EventBus, job: Job, message: dict[str, object]) -> None:
    def publish() -> None:
        bus.publish(job_topic(job.id), message)
        bus.publish(user_topic(job.owner_id), message)

    on_commit(session, publish)


def stop_running(session: Session, bus: EventBus, job: Job) -> None:
    """Tell workers after the commit that this job's running tasks are not wanted any more."""
    on_commit(session, lambda: bus.publish(CANCEL_TOPIC, {"job_id": job.id}))
