"""Telling clients what changed: state events are numbered rows that can be replayed, progress is not kept.

Whoever numbers an event holds its job's lock, so that numbers follow the order of commits and none is used twice.
"""

from datetime import datetime

from pydantic import BaseModel
from sqlalchemy.orm import Session

from sfserver.infra.clock import db_now
from sfserver.infra.db import after_commit
from sfserver.infra.effects import Publish
from sfserver.models import Job, JobEvent, JobStage
from sfserver.wire.events import EventKind, StageEvent
from sfserver.wire.jobs import StageState

CANCEL_TOPIC = "cancel"


def job_topic(job_id: str) -> str:
    """Return the topic of one job's events."""
    return f"job:{job_id}"


def user_topic(user_id: str) -> str:
    """Return the topic of all events of one user's jobs."""
    return f"user:{user_id}"


def emit(session: Session, job: Job, kind: EventKind, event: BaseModel) -> None:
    """Record a state event with this transaction and publish it after the commit; the job must be locked."""
    job.seq += 1
    now = db_now(session)
    data = event.model_dump(mode="json") | {"job_id": job.id, "seq": job.seq}
    row = JobEvent(job_id=job.id, seq=job.seq, owner_id=job.owner_id, kind=kind, data=data, created_at=now)
    session.add(row)
    _publish(session, job, event_message(row))


def emit_progress(session: Session, job: Job, event: BaseModel) -> None:
    """Publish a progress event after the commit; nobody will replay it."""
    data = event.model_dump(mode="json")
    _publish(session, job, {"seq": None, "at": None, "kind": EventKind.PROGRESS, "job_id": job.id, "data": data})


def stage_changed(session: Session, job: Job, row: JobStage) -> None:
    """Announce that a stage of the job changed its state."""
    event = StageEvent(job_id=job.id, stage=row.kind, state=StageState(row.state))
    emit(session, job, EventKind.STAGE, event)


def stop_running(session: Session, job: Job) -> None:
    """Tell workers after the commit that this job's running tasks are not wanted any more."""
    after_commit(session, Publish(CANCEL_TOPIC, {"job_id": job.id}))


def event_message(row: JobEvent) -> dict[str, object]:
    """Return an event as it travels: `at` is its time cursor in ms since 1970."""
    return {"seq": row.seq, "at": cursor_of(row.created_at), "kind": row.kind, "job_id": row.job_id, "data": row.data}


def cursor_of(moment: datetime) -> int:
    """Return a time as the cursor of a stream over many jobs."""
    return int(moment.timestamp() * 1000)


def _publish(session: Session, job: Job, message: dict[str, object]) -> None:
    after_commit(session, Publish(job_topic(job.id), message))
    after_commit(session, Publish(user_topic(job.owner_id), message))
