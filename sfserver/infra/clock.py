"""The database's own clock: the one clock that all hosts share."""

from datetime import UTC, datetime, timedelta

from sqlalchemy import func, select
from sqlalchemy.orm import Session

CLOCK_OFFSET = "clock_offset"  # the key in `Session.info` by which tests move the clock


def db_now(session: Session) -> datetime:
    """Return the database's own time as an aware UTC time."""
    offset: timedelta = session.info.get(CLOCK_OFFSET, timedelta(0))
    if session.get_bind().dialect.name == "sqlite":
        stamp = session.execute(select(func.strftime("%Y-%m-%dT%H:%M:%f", "now"))).scalar_one()
        return datetime.fromisoformat(stamp).replace(tzinfo=UTC) + offset
    moment: datetime = session.execute(select(func.clock_timestamp())).scalar_one()
    return moment.astimezone(UTC) + offset
