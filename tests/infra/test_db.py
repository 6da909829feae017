"""The database seam: units of work, effects after commit, writers that queue and readers that do not."""

import sqlite3
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Semaphore, Thread

import pytest
from sqlalchemy import Connection, event, select, text
from sqlalchemy.exc import OperationalError
from structlog.testing import capture_logs

from sfserver.errors import DatabaseUnavailableError
from sfserver.infra.clock import db_now
from sfserver.infra.db import Database, after_commit
from sfserver.infra.effects import Effect, Publish, Ring
from sfserver.infra.schema import upgrade_schema
from sfserver.models import User


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    database = Database(f"sqlite:///{tmp_path / 'test.db'}", busy_timeout_s=5)
    upgrade_schema(database)
    yield database
    database.close()


def add_user(database: Database, name: str) -> None:
    with database.write() as session:
        session.add(User(name=name, created_at=db_now(session)))


class Sink:
    """Keeps what is delivered."""

    def __init__(self) -> None:
        self.delivered: list[Effect] = []

    def deliver(self, effects: Sequence[Effect]) -> None:
        self.delivered += effects


@pytest.fixture
def sink(database: Database) -> Sink:
    database.effects = Sink()
    return database.effects


def test_effects_follow_the_commit_in_their_order(database: Database, sink: Sink) -> None:
    effects = [Ring("io"), Publish("jobs", {"id": "1"}), Ring("encode")]
    with database.write() as session:
        for effect in effects:
            after_commit(session, effect)
        assert sink.delivered == []
    assert sink.delivered == effects


def test_an_error_rolls_back_and_drops_the_effects(database: Database, sink: Sink) -> None:
    def fail() -> None:
        with database.write() as session:
            session.add(User(name="lost", created_at=db_now(session)))
            after_commit(session, Ring("io"))
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()
    with database.read() as session:
        assert session.scalars(select(User)).all() == []
    assert sink.delivered == []


def test_a_rollback_in_the_middle_drops_what_it_undoes(database: Database, sink: Sink) -> None:
    with database.write() as session:
        after_commit(session, Ring("io"))
        session.execute(text("SELECT 1"))
        session.rollback()
        after_commit(session, Ring("encode"))
    assert sink.delivered == [Ring("encode")]


def ring_in_a_transaction(database: Database) -> None:
    with database.write() as session:
        session.execute(text("SELECT 1"))
        after_commit(session, Ring("io"))


def test_a_commit_that_fails_drops_the_effects(database: Database, sink: Sink) -> None:
    @event.listens_for(database.engine, "commit")
    def fail(_connection: Connection) -> None:
        raise sqlite3.OperationalError("lost")

    with pytest.raises(sqlite3.OperationalError):
        ring_in_a_transaction(database)
    assert sink.delivered == []


def test_what_a_sink_raises_reaches_nobody_whose_work_is_committed(database: Database) -> None:
    class Broken(Sink):
        def deliver(self, effects: Sequence[Effect]) -> None:
            raise OperationalError("PUBLISH", None, OSError("the broker is gone"))

    database.effects = Broken()
    with capture_logs() as logs, database.write() as session:
        session.add(User(name="kept", created_at=db_now(session)))
        after_commit(session, Ring("io"))
    with database.read() as session:
        assert [user.name for user in session.scalars(select(User))] == ["kept"]
    assert [(line["event"], line["effects"]) for line in logs] == [("effects.lost", 1)]


def test_without_a_sink_effects_are_dropped(database: Database) -> None:
    with database.write() as session:
        after_commit(session, Ring("io"))
    assert "effects" not in session.info


def test_writers_wait_for_each_other_and_lose_nothing(database: Database) -> None:
    add_user(database, "u")

    def raise_length() -> None:
        for _ in range(20):
            with database.write() as session:
                user = session.scalars(select(User)).one()
                user.name += "x"

    threads = [Thread(target=raise_length) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    with database.read() as session:
        assert len(session.scalars(select(User)).one().name) == 81


def test_readers_do_not_wait_for_writers(database: Database) -> None:
    with database.write() as writer:
        writer.add(User(name="unseen", created_at=db_now(writer)))
        writer.flush()
        with database.read() as reader:
            assert reader.scalars(select(User)).all() == []


def test_the_disk_is_synced_at_every_commit(database: Database) -> None:
    with database.read() as session:
        assert session.execute(text("PRAGMA journal_mode")).scalar_one() == "wal"
        assert session.execute(text("PRAGMA synchronous")).scalar_one() == 2


def test_readers_never_wait_for_blocked_writers(database: Database) -> None:
    """Twenty writers wait behind one that holds the write lock; fifty reads end while it is held."""
    started = Semaphore(0)

    def write(number: int) -> None:
        started.release()
        add_user(database, f"w{number}")

    def read(_number: int) -> int:
        with database.read() as session:
            return len(session.scalars(select(User)).all())

    with ThreadPoolExecutor(20) as writers, ThreadPoolExecutor(50) as readers:
        with database.write() as session:
            session.add(User(name="holder", created_at=db_now(session)))
            session.flush()
            written = [writers.submit(write, number) for number in range(20)]
            for _ in range(20):
                assert started.acquire(timeout=10)
            assert list(readers.map(read, range(50), timeout=10)) == [0] * 50
            assert not any(future.done() for future in written)
        for future in written:
            future.result(timeout=10)
    assert read(0) == 21


def test_a_writer_that_waits_too_long_met_an_outage(tmp_path: Path) -> None:
    database = Database(f"sqlite:///{tmp_path / 'test.db'}", busy_timeout_s=0.1)
    with ThreadPoolExecutor(1) as other, database.write() as session:
        session.execute(text("SELECT 1"))
        waiting = other.submit(ring_in_a_transaction, database)
        with pytest.raises(DatabaseUnavailableError, match="in use"):
            waiting.result(timeout=10)
    ring_in_a_transaction(database)
    database.close()
