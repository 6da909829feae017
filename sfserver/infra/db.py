"""The database seam: SQLite for one machine, PostgreSQL for many, one unit of work for both.

A session is one transaction. Services never commit; `Database.write()` and `Database.read()` do at the edge, and
callbacks registered with `on_commit` run after a commit and are dropped by a rollback.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from sqlite3 import Connection as SqliteConnection

from sqlalchemy import Connection, Engine, create_engine, event, func, select, text
from sqlalchemy.exc import DBAPIError, OperationalError
from sqlalchemy.orm import Session, sessionmaker

from sfserver.errors import DatabaseUnavailableError

_ON_COMMIT = "on_commit"
_CLOCK_OFFSET = "clock_offset"


class Database:
    """An engine and its two kinds of transaction; `clock_offset` moves the database's clock in tests."""

    def __init__(self, url: str, *, busy_timeout_s: float = 10.0, clock_offset: timedelta = timedelta(0)) -> None:
        self.engine = _create_engine(url, busy_timeout_s)
        info = {_CLOCK_OFFSET: clock_offset}
        self._writers = sessionmaker(self.engine, expire_on_commit=False, info=info)
        readers = self.engine.execution_options(sf_read_only=True)
        self._readers = sessionmaker(readers, expire_on_commit=False, info=info)

    @contextmanager
    def write(self) -> Iterator[Session]:
        """Yield a session whose work is committed at the end, or rolled back when an error leaves the block."""
        yield from self._transaction(self._writers)

    @contextmanager
    def read(self) -> Iterator[Session]:
        """Yield a session for reading: it never waits for writers and its snapshot does not change."""
        yield from self._transaction(self._readers)

    def _transaction(self, factory: sessionmaker[Session]) -> Iterator[Session]:
        try:
            with factory() as session:
                yield session
                session.commit()
                callbacks: list[Callable[[], None]] = session.info.pop(_ON_COMMIT, [])
        except OperationalError as error:
            raise DatabaseUnavailableError(str(error.orig)) from error
        except DBAPIError as error:
            if error.connection_invalidated:
                raise DatabaseUnavailableError(str(error.orig)) from error
            raise
        for callback in callbacks:
            callback()

    def ping(self) -> None:
        """Raise `DatabaseUnavailableError` if the database does not answer."""
        with self.read() as session:
            session.execute(text("SELECT 1"))

    def close(self) -> None:
        """Close all connections."""
        self.engine.dispose()


def on_commit(session: Session, callback: Callable[[], None]) -> None:
    """Run `callback` once this session's transaction is committed; drop it if it is rolled back."""
    session.info.setdefault(_ON_COMMIT, []).append(callback)


def db_now(session: Session) -> datetime:
    """Return the database's own clock as an aware UTC time: the one clock all hosts share."""
    offset: timedelta = session.info.get(_CLOCK_OFFSET, timedelta(0))
    if session.get_bind().dialect.name == "sqlite":
        stamp = session.execute(select(func.strftime("%Y-%m-%dT%H:%M:%f", "now"))).scalar_one()
        return datetime.fromisoformat(stamp).replace(tzinfo=UTC) + offset
    moment: datetime = session.execute(select(func.clock_timestamp())).scalar_one()
    return moment.astimezone(UTC) + offset


def _create_engine(url: str, busy_timeout_s: float) -> Engine:
    if not url.startswith("sqlite"):
        return create_engine(url, pool_pre_ping=True)
    engine = create_engine(url, connect_args={"timeout": busy_timeout_s, "check_same_thread": False})

    @event.listens_for(engine, "connect")
    def configure(connection: SqliteConnection, _record: object) -> None:
        # The driver's own implicit BEGIN is deferred and comes too late; `begin` below opens transactions instead.
        connection.isolation_level = None
        for pragma in ("journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON"):
            connection.execute(f"PRAGMA {pragma}")

    @event.listens_for(engine, "begin")
    def begin(connection: Connection) -> None:
        # A deferred transaction that turns into a writer fails at once instead of waiting for its turn.
        read_only = connection.get_execution_options().get("sf_read_only", False)
        connection.exec_driver_sql("BEGIN" if read_only else "BEGIN IMMEDIATE")

    return engine
