"""Deleting objects: a row written by the transaction that makes them garbage, emptied by the sweeper.

So nothing is deleted that a rolled-back transaction still wants, nothing is forgotten when a process dies after its
commit, and nobody ever lists the store to find out what may go.
"""

from collections.abc import Iterable
from datetime import timedelta
from itertools import islice

import structlog
from sqlalchemy.orm import Session

from sfserver.errors import TransientError
from sfserver.infra.clock import db_now
from sfserver.infra.db import Database
from sfserver.infra.storage.contract import ObjectStore
from sfserver.models import Garbage
from sfserver.tasks import repository

log = structlog.get_logger(__name__)
MOST_KEYS = 1000
ZOMBIE_AFTER = timedelta(hours=24)
REPRIEVE = timedelta(hours=24)
_ROWS_A_SWEEP = 50


def discard(
    session: Session,
    keys: Iterable[str],
    *,
    after: timedelta = timedelta(0),
    zombies: bool = False,
    reprieve_job_id: str | None = None,
) -> None:
    """Have objects deleted `after` this transaction's time; with `zombies`, once more a day later.

    `reprieve_job_id` names a job whose retry may call it off (`reprieve`).
    """
    now, rest = db_now(session), iter(keys)
    while batch := list(islice(rest, MOST_KEYS)):
        for due_at in (now + after, now + after + ZOMBIE_AFTER) if zombies else (now + after,):
            session.add(Garbage(keys=batch, due_at=due_at, reprieve_job_id=reprieve_job_id))


def reprieve(session: Session, job_id: str) -> bool:
    """Call off the deletion of what a failed job recorded; False where it has happened already."""
    return repository.delete_garbage(session, reprieve_job_id=job_id) > 0


def collect(database: Database, store: ObjectStore) -> int:
    """Delete what is due; return how many keys. A store that fails leaves the rest for the next sweep.

    Rows go after their objects: a crash in between deletes nothing twice that matters.
    """
    with database.read() as session:
        rows = repository.due_garbage(session, _ROWS_A_SWEEP)
    count = 0
    for row_id, keys in rows:
        with database.write() as session:
            if not _is_final(session, row_id):
                continue
        try:
            for key in keys:
                store.delete(key)
        except TransientError as error:
            log.warning("garbage.kept", code=error.code, detail=error.detail)
            return count
        with database.write() as session:
            repository.delete_garbage(session, row_id=row_id)
        count += len(keys)
    return count


def _is_final(session: Session, row_id: str) -> bool:
    """End the reprieve of a row that is due, of its job's other rows with it: half of what was recorded is no use."""
    row = session.get(Garbage, row_id)
    if row is not None and row.reprieve_job_id is not None:
        repository.end_reprieve(session, row.reprieve_job_id)
    return row is not None
