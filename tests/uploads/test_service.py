"""One upload at the function level: an accepted one cannot be aborted away."""

import random
import shutil
from pathlib import Path

import pytest

from sfserver.infra.clock import db_now
from sfserver.infra.db import Database
from sfserver.infra.events.memory import InProcessBus
from sfserver.infra.queue.dramatiq import in_memory_doorbell
from sfserver.infra.storage.directory import DirectoryStore
from sfserver.models import Upload, User
from sfserver.roots.runtime import make_runtime
from sfserver.settings import Settings
from sfserver.tasks import garbage
from sfserver.uploads.service import IncomingFile, UploadFields, sweep_expired

DATA = b"\x1a\x45\xdf\xa3" + random.Random(3).randbytes(9000)


@pytest.fixture
def incoming(tmp_path: Path, empty_database: Path) -> IncomingFile:
    settings = Settings(data_dir=tmp_path)
    shutil.copy(empty_database, tmp_path / "streamforge.db")
    database = Database(settings.database_url)
    store = DirectoryStore(tmp_path)
    runtime = make_runtime(
        settings,
        database=database,
        doorbell=in_memory_doorbell(),
        store=store,
        bus=InProcessBus(),
        signing_key=b"k" * 32,
        version="0",
    )
    with database.write() as session:
        session.add(User(id="me", name="local", created_at=db_now(session)))
    incoming = IncomingFile(runtime, "me")
    incoming.write(DATA)
    return incoming


def test_an_upload_cut_off_leaves_neither_bytes_nor_note(incoming: IncomingFile) -> None:
    incoming.abort()
    runtime = incoming.runtime
    with runtime.database.read() as session:
        assert session.query(Upload).all() == []
    assert garbage.collect(runtime.database, runtime.store) == 1
    assert not [path for path in (runtime.settings.data_dir / "objects").rglob("*") if path.is_file()]
    assert list((runtime.settings.data_dir / "tmp").iterdir()) == []


def test_an_accepted_upload_survives_a_client_that_went_away(incoming: IncomingFile) -> None:
    incoming.seal()
    with incoming.runtime.database.write() as session:
        incoming.accept(session, "a.mkv", UploadFields())
    incoming.is_accepted = True
    incoming.abort()
    sweep_expired(incoming.runtime, all_unfinished=True)
    reader = incoming.runtime.store.open(incoming.key)
    assert reader.read(0, len(DATA) + 1) == DATA
    reader.close()
