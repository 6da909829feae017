"""The clock all hosts share."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

from sfserver.infra.clock import db_now
from sfserver.infra.db import Database


def test_the_clock_is_utc(tmp_path: Path) -> None:
    with Database(f"sqlite:///{tmp_path / 'test.db'}").read() as session:
        now = db_now(session)
    assert now.tzinfo is UTC
    assert abs(now - datetime.now(UTC)) < timedelta(seconds=60)


def test_the_clock_can_be_moved_in_tests(tmp_path: Path) -> None:
    ahead = Database(f"sqlite:///{tmp_path / 'test.db'}", clock_offset=timedelta(hours=25))
    for transaction in (ahead.read, ahead.write):
        with transaction() as session:
            assert db_now(session) - datetime.now(UTC) > timedelta(hours=24)
