"""D2: rings are harmless, be they tripled or lost: the same bytes come out, and nothing is done twice."""

import hashlib
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import pytest
from sqlalchemy import select

from sfserver.accounts.service import ensure_local_user
from sfserver.deps import Runtime
from sfserver.infra.db import Database
from sfserver.infra.events.memory import InProcessBus
from sfserver.infra.queue.contract import Doorbell, Queue
from sfserver.infra.queue.dramatiq import in_memory_doorbell
from sfserver.infra.schema import upgrade_schema
from sfserver.infra.storage.directory import DirectoryStore
from sfserver.models import Job, JobStage, Task, User
from sfserver.publications.service import published_keys
from sfserver.roots.runtime import make_runtime
from sfserver.roots.worker import make_runner, make_sandbox
from sfserver.settings import Settings
from sfserver.uploads.service import IncomingFile, UploadFields
from sfserver.wire.jobs import JobStatus, StageState
from tests.promises.ledger import Proof, sizes

pytestmark = pytest.mark.promise("D2")
HOW = {"once": 1, "three times": 3, "never": 0}


class FaultyDoorbell:
    """Rings each time as often as told."""

    def __init__(self, inner: Doorbell, times: int) -> None:
        self._inner, self._times = inner, times

    def ring(self, queue: Queue) -> None:
        for _ in range(self._times):
            self._inner.ring(queue)

    def answer(self, on_ring: Callable[[Queue], None]) -> None:
        self._inner.answer(on_ring)

    def close(self) -> None:
        self._inner.close()


@dataclass(frozen=True)
class Outcome:
    """What came of some jobs: digests of the published files by path, and how often a task was claimed."""

    files: list[dict[str, str]]
    tasks: int
    attempts: int


def process(folder: Path, clips: list[Path], times: int) -> Outcome:
    """Put clips through a worker whose bell is rung so often; where it never is, a sweeper elsewhere finds the work."""
    folder.mkdir()
    settings = Settings(data_dir=folder)
    settings.worker.concurrency, settings.worker.sweep_s = 2, 1.0
    database = Database(settings.database_url)
    upgrade_schema(database)
    with database.write() as session:
        ensure_local_user(session)
    sandbox = make_sandbox(settings)
    sandbox.start()
    bell = in_memory_doorbell()
    runtime = make_runtime(
        settings,
        database=database,
        doorbell=FaultyDoorbell(bell, times),
        store=DirectoryStore(folder),
        bus=InProcessBus(),
        signing_key=bytes(32),
        version="0",
    )
    runner = make_runner(runtime, sandbox, folder / "work")
    runner.start()
    try:
        jobs = [accept(runtime, clip) for clip in clips]
        wait(runtime, bell)
        return collect(runtime, jobs)
    finally:
        runner.stop()
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


def wait(runtime: Runtime, bell: Doorbell) -> None:
    """Wait for all to be done, ringing now and then as a sweeper does whose rings do get through."""
    deadline = time.monotonic() + 180
    while True:
        with runtime.database.read() as session:
            left = [f"{job.id} {job.status}" for job in session.query(Job) if job.status != JobStatus.READY]
            left += [f"{row.kind} {row.state}" for row in session.query(JobStage) if row.state != StageState.DONE]
        if not left:
            return
        assert time.monotonic() < deadline, left
        time.sleep(0.3)
        for queue in Queue:
            bell.ring(queue)


def collect(runtime: Runtime, jobs: list[str]) -> Outcome:
    with runtime.database.read() as session:
        tasks = session.query(Task).all()
        keys = [published_keys(session, session.get_one(Job, job).video_id) for job in jobs]
    root = runtime.settings.data_dir / "objects"
    files = [
        {PurePosixPath(key).name: hashlib.sha256((root / key).read_bytes()).hexdigest() for key in published}
        for published in keys
    ]
    return Outcome(files, len(tasks), sum(task.attempts for task in tasks))


@sizes(1, 20)
def test_rings_change_nothing(proof: Proof, tmp_path: Path, tiny_clip: Path, long_clip: Path, size: int) -> None:
    for turn in range(size):
        clips = [tiny_clip, long_clip]
        made = {name: process(tmp_path / f"{turn} {name}", clips, times) for name, times in HOW.items()}
        for name, outcome in made.items():
            with proof.cell(f"rung {name}, turn {turn}"):
                assert all(outcome.files)
                assert outcome.files == made["once"].files
                assert outcome.attempts <= 1.05 * outcome.tasks
