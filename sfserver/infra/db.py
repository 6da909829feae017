"""The database seam: SQLite for one machine, PostgreSQL for many, one unit of work for both.

A session is one transaction. Services never commit; `Database.write()` and `Database.read()` do at the edge. What
`after_commit` was given is handed to the effect sink after the commit, and dropped by a rollback.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from sqlite3 import Connection as SqliteConnection
from typing import Any

import structlog
from sqlalchemy import Connection, Engine, QueuePool, create_engine, event, text
from sqlalchemy.orm import Session, sessionmaker

from sfserver.infra.clock import CLOCK_OFFSET
from sfserver.infra.database_errors import database_errors
from sfserver.infra.effects import Effect, EffectSink, deliver

log = structlog.get_logger(__name__)
_EFFECTS = "effects"
# Readers are as many as the threads that answer requests (anyio has 40).
_READERS = {"pool_size": 10, "max_overflow": 30}
# SQLite has one writer at a time. With one connection for writers they queue in the pool, which is fair and wakes the
# next at once, where SQLite's own wait polls. PostgreSQL's writers wait for rows, not for each other.
_SQLITE_WRITERS = {"pool_size": 1, "max_overflow": 0}
_POSTGRESQL_WRITERS = {"pool_size": 10, "max_overflow": 10}


class Database:
    """Two pools of connections, one a kind of transaction: readers never wait for writers.

    A connection that is not to be had in `busy_timeout_s` is an outage. `clock_offset` moves the database's clock in
    tests. The composition root sets `effects`; without a sink effects are dropped.
    """

    effects: EffectSink | None = None

    def __init__(self, url: str, *, busy_timeout_s: float = 10.0, clock_offset: timedelta = timedelta(0)) -> None:
        self.engine = _create_engine(url, busy_timeout_s, read_only=False)
        self.read_engine = _create_engine(url, busy_timeout_s, read_only=True)
        info = {CLOCK_OFFSET: clock_offset}
        self._writers = sessionmaker(self.engine, expire_on_commit=False, info=info)
        self._readers = sessionmaker(self.read_engine, expire_on_commit=False, info=info)

    @contextmanager
    def write(self) -> Iterator[Session]:
        """Yield a session whose work is committed at the end, or rolled back when an error leaves the block."""
        yield from self._transaction(self._writers, read_only=False)

    @contextmanager
    def read(self) -> Iterator[Session]:
        """Yield a session for reading: it never waits for writers and its snapshot does not change."""
        yield from self._transaction(self._readers, read_only=True)

    def _transaction(self, factory: sessionmaker[Session], *, read_only: bool) -> Iterator[Session]:
        with database_errors(read_only=read_only), factory() as session:
            yield session
            session.commit()
        deliver(self.effects, session.info.pop(_EFFECTS, []))

    def ping(self) -> None:
        """Raise `DatabaseUnavailableError` if the database does not answer."""
        with self.read() as session:
            session.execute(text("SELECT 1"))

    def close(self) -> None:
        """Close all connections."""
        self.engine.dispose()
        self.read_engine.dispose()


def after_commit(session: Session, effect: Effect) -> None:
    """Deliver `effect` once this session's transaction is committed; drop it if it is rolled back."""
    session.info.setdefault(_EFFECTS, []).append(effect)


@event.listens_for(Session, "after_rollback")
def _drop_effects(session: Session) -> None:
    session.info.pop(_EFFECTS, None)


def _create_engine(url: str, busy_timeout_s: float, *, read_only: bool) -> Engine:
    options: dict[str, Any] = {"pool_timeout": busy_timeout_s, "execution_options": {"sf_read_only": read_only}}
    if not url.startswith("sqlite"):
        return _create_postgresql(url, options, read_only=read_only)
    connect_args = {"timeout": busy_timeout_s, "check_same_thread": False}
    sizes = _READERS if read_only else _SQLITE_WRITERS
    engine = create_engine(url, poolclass=QueuePool, connect_args=connect_args, **options, **sizes)

    @event.listens_for(engine, "connect")
    def configure(connection: SqliteConnection, _record: object) -> None:
        # The driver's own implicit BEGIN is deferred and comes too late; `begin` below opens transactions instead.
        connection.isolation_level = None
        for pragma in ("journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON", f"query_only={read_only}"):
            connection.execute(f"PRAGMA {pragma}")

    @event.listens_for(engine, "begin")
    def begin(connection: Connection) -> None:
        # A deferred transaction that turns into a writer fails at once instead of waiting for its turn.
        connection.exec_driver_sql("BEGIN" if read_only else "BEGIN IMMEDIATE")

    return engine


def _create_postgresql(url: str, options: dict[str, Any], *, read_only: bool) -> Engine:
    if not read_only:
        return create_engine(url, pool_pre_ping=True, **options, **_POSTGRESQL_WRITERS)
    # Repeatable read is what a SQLite reader has: one snapshot. Read-only, it never fails to serialize.
    connect_args = {"options": "-c default_transaction_read_only=on"}
    return create_engine(
        url, pool_pre_ping=True, isolation_level="REPEATABLE READ", connect_args=connect_args, **options, **_READERS
    )
