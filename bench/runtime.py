"""A runtime on a folder for what is measured without a server: a real database and store, a bell nobody answers."""

from collections.abc import Callable
from pathlib import Path

from sqlalchemy import select

from sfserver.deps import Runtime
from sfserver.infra.clock import db_now
from sfserver.infra.db import Database
from sfserver.infra.events.memory import InProcessBus
from sfserver.infra.queue.contract import Queue
from sfserver.infra.schema import upgrade_schema
from sfserver.infra.storage.directory import DirectoryStore
from sfserver.models import User, Video, new_id
from sfserver.roots.runtime import make_runtime
from sfserver.settings import Settings
from sfserver.tasks.pipeline import create_job


class CountingBell:
    """A doorbell nobody answers."""

    def __init__(self) -> None:
        self.rings = 0

    def ring(self, queue: Queue) -> None:
        self.rings += 1

    def answer(self, on_ring: Callable[[Queue], None]) -> None:
        pass

    def close(self) -> None:
        pass


def open_runtime(folder: Path, bell: CountingBell) -> Runtime:
    """Open what lies in a folder, or begin anew; what is claimed here never comes back by itself."""
    settings = Settings(data_dir=folder)
    settings.worker.lease_s = 1e5
    database = Database(settings.database_url)
    upgrade_schema(database)
    return make_runtime(
        settings,
        database=database,
        doorbell=bell,
        store=DirectoryStore(folder),
        bus=InProcessBus(),
        signing_key=b"k" * 32,
        version="bench",
    )


def add_job(runtime: Runtime, source_size_bytes: int) -> str:
    """Queue the processing of a video that everybody may watch, and return the job; there is no source."""
    with runtime.database.write() as session:
        user_id = session.scalar(select(User.id).limit(1))
        if user_id is None:
            user_id = new_id()
            session.add(User(id=user_id, name="local", created_at=db_now(session)))
            session.flush()
        video = Video(
            owner_id=user_id,
            title="film",
            visibility="public",
            source_key="source/v/u",
            source_name="film.mp4",
            source_size_bytes=source_size_bytes,
            source_sha256="0" * 64,
            generation=0,
            created_at=db_now(session),
        )
        session.add(video)
        session.flush()
        return create_job(session, runtime, video, "mp4").id
