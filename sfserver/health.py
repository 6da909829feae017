"""`/api/health`: one word for everybody, each part for a signed-in user."""

from datetime import datetime

from fastapi import APIRouter, Response
from sqlalchemy.orm import Session

from sfserver.accounts.access import Caller
from sfserver.deps import Runtime, RuntimeDep
from sfserver.errors import TransientError
from sfserver.infra.clock import db_now
from sfserver.jobs.reading import read_workers
from sfserver.tasks.repository import count_waiting, oldest_waiting, troubled_tasks
from sfserver.wire.system import HealthRead, PartHealth, WorkerHealth

router = APIRouter(tags=["system"])
_LATE_BEATS = 3


@router.get(
    "/api/health",
    response_model_exclude_unset=True,
    responses={503: {"model": HealthRead, "description": "Database or store is down."}},
)
def read_health(caller: Caller, runtime: RuntimeDep, response: Response) -> HealthRead:
    """Say how the server is: `down` without database or store, `degraded` without a worker or while work waits."""
    health = HealthRead(status="ok", version=runtime.version, database=PartHealth(ok=True), storage=_ask_store(runtime))
    health.sandbox = _ask_walls(runtime)
    try:
        with runtime.database.read() as session:
            _describe_work(health, session, runtime)
    except TransientError as error:
        health.database = PartHealth(ok=False, detail=error.detail)
    if not (health.database and health.database.ok and health.storage and health.storage.ok):
        health.status, response.status_code = "down", 503
    elif not (health.queue and health.queue.ok and health.tasks and health.tasks.ok):
        health.status = "degraded"
    response.headers["Cache-Control"] = "no-store"
    return health if caller else HealthRead(status=health.status, version=health.version)


def _ask_store(runtime: Runtime) -> PartHealth:
    try:
        runtime.store.ping()
    except TransientError as error:
        return PartHealth(ok=False, detail=error.detail)
    return PartHealth(ok=True)


def _ask_walls(runtime: Runtime) -> str:
    try:
        return runtime.walls()
    except TransientError as error:
        return error.detail


def _describe_work(health: HealthRead, session: Session, runtime: Runtime) -> None:
    now, longest_wait_s = db_now(session), runtime.settings.worker.backoff_max_s
    health.workers = read_workers(session, now)
    health.queue_depths = count_waiting(session, longest_wait_s)
    oldest = oldest_waiting(session, longest_wait_s)
    health.oldest_waiting_s = _age_s(now, oldest) if oldest else None
    health.tasks = _ask_tasks(session, runtime)
    alive = [worker for worker in health.workers if _is_alive(worker, runtime)]
    health.queue = PartHealth(ok=bool(alive), detail=None if alive else "no worker answers")


def _ask_tasks(session: Session, runtime: Runtime) -> PartHealth:
    """Say what work waits for: as recorded, or as its worker knows while the database can't be told."""
    count, error = troubled_tasks(session)
    untold = next(iter(runtime.troubles.values()), None)
    detail = error["detail"] if error else untold.detail if untold else None
    waiting = max(count, len(runtime.troubles))
    return PartHealth(ok=detail is None, detail=f"{waiting} waiting: {detail}" if detail else None)


def _is_alive(worker: WorkerHealth, runtime: Runtime) -> bool:
    return worker.heartbeat_age_s < _LATE_BEATS * runtime.settings.worker.beat_s


def _age_s(now: datetime, then: datetime) -> float:
    return round(max(0.0, (now - then).total_seconds()), 3)
