"""D2: rings are harmless, be they tripled or lost: the same bytes come out, and nothing is done twice."""

import hashlib
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
from sqlalchemy import select

from sfserver.deps import Runtime
from sfserver.infra.db import Database
from sfserver.infra.events import InProcessBus
from sfserver.infra.queue import Queue, embedded_brokers
from sfserver.infra.schema import upgrade_schema
from sfserver.infra.storage import DirectoryStore
from sfserver.media.sandbox.parent import Sandbox, SandboxLimits
from sfserver.models import Job, Task, User, Video
from sfserver.settings import Settings
from sfserver.uploads.service import IncomingFile, UploadFields
from sfserver.worker import WorkerThreads
from tests.promises.house import add_user
from tests.promises.ledger import Proof, sizes

pytestmark = pytest.mark.promise("D2")
Ring = Callable[[Queue, int], None]
HOW: dict[str, Callable[[Ring], Ring]] = {
    "once": lambda ring: ring,
    "three times": lambda ring: lambda queue, times: ring(queue, 3 * times),
    "never": lambda ring: lambda queue, times: None,
}


@dataclass(frozen=True)
class Outcome:
    """What came of some jobs: digests of the published files by path, and how often a task was claimed."""

    files: list[dict[str, str]]
    tasks: int
    attempts: int


def process(folder: Path, clips: list[Path], how: Callable[[Ring], Ring]) -> Outcome:
    """Put clips through workers whose bell is rung in some way; the sweeper alone finds what nobody rang for."""
    folder.mkdir()
    settings = Settings(data_dir=folder)
    settings.worker.concurrency, settings.worker.sweep_s = 2, 1.0
    database = Database(settings.database_url)
    upgrade_schema(database)
    add_user(database)
    sandbox = Sandbox(SandboxLimits())
    sandbox.start()
    workers = WorkerThreads(embedded_brokers(), sandbox)
    sweeping = workers.bell.ring
    runtime = Runtime(settings, database, DirectoryStore(folder), InProcessBus(), how(sweeping), b"key", "0")
    workers.start(runtime, folder / "work")
    try:
        jobs = [accept(runtime, clip) for clip in clips]
        wait(runtime, jobs, sweeping)
        return collect(runtime, jobs)
    finally:
        workers.stop()
        sandbox.close()
        database.close()


def accept(runtime: Runtime, clip: Path) -> str:
    with runtime.database.read() as session:
        owner_id = session.scalars(select(User.id)).one()
    incoming = IncomingFile(runtime, owner_id)
    incoming.write(clip.read_bytes())
    incoming.seal()
    with runtime.database.write() as session:
        return incoming.accept(session, clip.name, UploadFields()).id


def wait(runtime: Runtime, jobs: list[str], ring: Ring) -> None:
    """Wait for all to be ready, ringing now and then as a sweeper does whose rings do get through."""
    deadline = time.monotonic() + 120
    while True:
        with runtime.database.read() as session:
            left = [job.status for job in session.query(Job) if job.status != "ready"]
        if not left:
            return
        assert time.monotonic() < deadline, left
        time.sleep(0.3)
        for queue in Queue:
            ring(queue, 1)


def collect(runtime: Runtime, jobs: list[str]) -> Outcome:
    with runtime.database.read() as session:
        tasks = session.query(Task).all()
        prefixes = [session.get_one(Video, session.get_one(Job, job).video_id).published_prefix for job in jobs]
    root = runtime.settings.data_dir / "objects"
    files = [
        {
            path.relative_to(root / str(prefix)).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
            for path in (root / str(prefix)).rglob("*")
            if path.is_file()
        }
        for prefix in prefixes
    ]
    return Outcome(files, len(tasks), sum(task.attempts for task in tasks))


@sizes(1, 20)
def test_rings_change_nothing(proof: Proof, tmp_path: Path, tiny_clip: Path, long_clip: Path, size: int) -> None:
    for turn in range(size):
        made = {name: process(tmp_path / f"{turn} {name}", [tiny_clip, long_clip], how) for name, how in HOW.items()}
        for name, outcome in made.items():
            with proof.cell(f"rung {name}, turn {turn}"):
                assert all(outcome.files)
                assert outcome.files == made["once"].files
                assert outcome.attempts <= 1.05 * outcome.tasks
