"""A runtime on a fresh copy of an empty database, for properties that need hundreds of them."""

import shutil
import tempfile
from functools import cache
from pathlib import Path

from sfserver.deps import Runtime
from sfserver.infra.db import Database, db_now
from sfserver.infra.events import InProcessBus
from sfserver.infra.queue import Queue
from sfserver.infra.schema import upgrade_schema
from sfserver.infra.storage import DirectoryStore
from sfserver.models import User
from sfserver.settings import Settings
from tests.jobs.conftest import House


@cache
def _empty_database() -> Path:
    """Return a database with the current schema and one user; made once a session."""
    path = Path(tempfile.mkdtemp(prefix="sf-empty-")) / "streamforge.db"
    database = Database(f"sqlite:///{path}")
    upgrade_schema(database)
    add_user(database)
    database.close()
    return path


def add_user(database: Database) -> None:
    """Add the local user."""
    with database.write() as session:
        session.add(User(name="local", created_at=db_now(session)))


def build_house(folder: Path) -> House:
    """Return a house whose bell only counts, and which hears its user's events."""
    shutil.copy(_empty_database(), folder / "streamforge.db")
    settings = Settings(data_dir=folder)
    database = Database(settings.database_url)
    bus = InProcessBus()
    made: list[House] = []

    def ring(queue: Queue, times: int) -> None:
        made[0].rings[queue] += times

    made.append(House(Runtime(settings, database, DirectoryStore(folder), bus, ring, b"key", "0")))
    with database.read() as session:
        bus.subscribe(f"user:{session.query(User).one().id}", made[0].events.append)
    return made[0]
