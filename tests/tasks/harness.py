"""A runtime on a temporary directory whose clock can be moved and whose doorbell only counts."""

import shutil
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any

from sqlalchemy import delete, select

from sfserver.deps import Runtime
from sfserver.infra.clock import CLOCK_OFFSET, db_now
from sfserver.infra.db import Database
from sfserver.infra.events.contract import Message
from sfserver.infra.events.memory import InProcessBus
from sfserver.infra.queue.contract import Queue
from sfserver.infra.removal import remove_tree
from sfserver.infra.storage.directory import DirectoryStore
from sfserver.jobs import service
from sfserver.models import Base, Garbage, Job, JobStage, Task, TaskPart, User, Video, new_id
from sfserver.roots.runtime import make_runtime
from sfserver.settings import Settings
from sfserver.stages.registry import STAGES
from sfserver.tasks import garbage, pipeline, record, sweep
from sfserver.tasks.claim import claim_task
from sfserver.tasks.record import Recorded
from sfserver.tasks.stage import Claim, Stages
from sfserver.tasks.states import Happening
from sfserver.wire.jobs import JobStatus, StageState
from tests.tasks import made
from tests.tasks.keys import keys_in_the_making, live_keys

DAY_S = 24 * 3600.0
NEVER_OPENED = {StageState.WAITING, StageState.CANCELLED}


class CountingDoorbell:
    """Counts rings, and wakes whoever answers; in most tests nobody does."""

    def __init__(self) -> None:
        self.rings: Counter[Queue] = Counter()
        self._on_ring: Callable[[Queue], None] | None = None

    def ring(self, queue: Queue) -> None:
        self.rings[queue] += 1
        if self._on_ring is not None:
            self._on_ring(queue)

    def answer(self, on_ring: Callable[[Queue], None]) -> None:
        self._on_ring = on_ring

    def close(self) -> None:
        self._on_ring = None


class NotingStore(DirectoryStore):
    """Notes every key that something was stored under."""

    def __init__(self, root: Path) -> None:
        super().__init__(root)
        self.stored: set[str] = set()

    def put_file(self, key: str, path: Path, on_bytes: Callable[[int], None] | None = None) -> None:
        super().put_file(key, path, on_bytes)
        assert key not in self.stored, f"{key} was used before"
        self.stored.add(key)


@dataclass
class Harness:
    """What a test drives: the runtime, the rings it heard, the events it published, what was ever stored."""

    runtime: Runtime
    doorbell: CountingDoorbell
    store: NotingStore
    events: list[Message] = field(default_factory=list)
    offset_s: float = 0.0

    def reset(self) -> None:
        """Begin anew with nothing but the user; what the connections have compiled stays, which saves much time."""
        with self.runtime.database.write() as session:
            for table in reversed(Base.metadata.sorted_tables):
                if table.name != User.__tablename__:
                    session.execute(delete(table))
        remove_tree(self.runtime.settings.data_dir / "objects")
        (self.runtime.settings.data_dir / "objects").mkdir()
        self.store.stored.clear()
        self.doorbell.rings.clear()
        self.events.clear()
        self.shift_clock(-self.offset_s)

    # --- time ---

    def shift_clock(self, seconds: float) -> None:
        """Set the database's clock forward, or back; its connections and what they have compiled stay."""
        self.offset_s += seconds
        database = self.runtime.database
        for sessions in (database._writers, database._readers):
            sessions.configure(info={CLOCK_OFFSET: timedelta(seconds=self.offset_s)})

    def sweep(self, after_s: float = 0.0) -> None:
        """Sweep, `after_s` later."""
        if after_s:
            self.shift_clock(after_s)
        sweep.sweep(self.runtime)

    # --- jobs ---

    def new_job(self, title: str = "clip", formats: str = "mp4") -> str:
        """Return the job of a new video, its source stored."""
        with self.runtime.database.write() as session:
            video_id = new_id()
            video = Video(
                id=video_id,
                owner_id=session.scalars(select(User.id)).one(),
                title=title,
                source_key=f"source/{video_id}/upload",
                source_name="clip.mp4",
                source_size_bytes=1000,
                source_sha256="0" * 64,
                generation=0,
                created_at=db_now(session),
            )
            session.add(video)
            session.flush()
            self.put(video.source_key)
            return pipeline.create_job(session, self.runtime, video, formats).id

    def probed(self, *, chunks: int = 2, audio: bool = True, parts: int = 1, title: str = "clip") -> str:
        """Return a job whose probe is recorded."""
        job_id = self.new_job(title)
        claim = self.take(Queue.IO)
        assert claim.job_id == job_id
        assert self.done(claim, made.probe_result(chunks, audio=audio, parts=parts)) is Recorded.RECORDED
        return job_id

    def ready(self, **plan: Any) -> str:
        """Return a job that is published, its poster too."""
        job_id = self.probed(**plan)
        self.finish()
        assert self.job(job_id).status == JobStatus.READY
        return job_id

    def finish(self, *queues: Queue) -> None:
        """Do everything that can be done now in these queues, or in all."""
        while any(self.done_if_any(queue) for queue in queues or tuple(Queue)):
            pass

    def done_if_any(self, queue: Queue) -> bool:
        claim = self.claim(queue)
        return claim is not None and self.done(claim) is Recorded.RECORDED

    def cancel(self, job_id: str) -> None:
        with self.runtime.database.write() as session:
            service.cancel(session, self.runtime, session.get_one(Job, job_id))

    def retry(self, job_id: str) -> None:
        with self.runtime.database.write() as session:
            service.retry(session, self.runtime, session.get_one(Job, job_id))

    def reprocess(self, job_id: str) -> str:
        with self.runtime.database.write() as session:
            video = session.get_one(Video, session.get_one(Job, job_id).video_id)
            return service.reprocess(session, self.runtime, video).id

    def redo(self, job_id: str, kind: str) -> None:
        with self.runtime.database.write() as session:
            video = session.get_one(Video, session.get_one(Job, job_id).video_id)
            service.redo_stage(session, self.runtime, video, kind)

    # --- attempts ---

    def claim(self, queue: Queue = Queue.ENCODE, worker: str = "w1") -> Claim | None:
        return claim_task(self.runtime, queue, worker)

    def take(self, queue: Queue = Queue.ENCODE, worker: str = "w1") -> Claim:
        claim = self.claim(queue, worker)
        assert claim is not None
        return claim

    def done(self, claim: Claim, result: Any = None, **facts: Any) -> Recorded:
        """Store what the attempt made and record it; `facts` go to the result of its kind."""
        result = self.result_of(claim, **facts) if result is None else result
        stage = self.runtime.stages[claim.kind]
        for name in stage.made(result):
            self.put(stage.key(claim, name))
        if claim.kind == "audio":
            for number in range(self.count_parts(claim), result.parts):
                self.part(claim, number)
        return record.record_success(self.runtime, claim, made.run_of(result))

    def result_of(self, claim: Claim, **facts: Any) -> Any:
        match claim.kind:
            case "probe":
                return made.probe_result(facts.pop("chunks", 2), audio=facts.pop("audio", False), **facts)
            case "encode":
                return made.chunk_result(claim.index, **facts)
            case "audio":
                return made.audio_result(len(claim.plan_json["audio"]["part_ends"]) if claim.plan_json else 1)
            case "package":
                return made.package_result()
            case _:
                return made.poster_result()

    def part(self, claim: Claim, number: int) -> bool:
        """Store and record a part of the sound."""
        assert claim.plan_json is not None
        part = made.sound_part(number, claim.plan_json["audio"]["part_ends"])
        key = self.runtime.stages[claim.kind].key(claim, part.file)
        self.put(key)
        return record.record_part(self.runtime, claim, number, key, part.__dict__)

    def crash(self, claim: Claim, reason: str = "was killed by SIGSEGV") -> Recorded:
        return record.record_setback(self.runtime, claim, Happening.CRASHED, reason)

    def vanish(self, claim: Claim) -> None:
        """Let the claim's lease run out and the sweeper find it."""
        del claim
        self.sweep(after_s=31)

    # --- rows ---

    def job(self, job_id: str) -> Job:
        with self.runtime.database.read() as session:
            return session.get_one(Job, job_id)

    def video(self, job_id: str) -> Video:
        with self.runtime.database.read() as session:
            return session.get_one(Video, session.get_one(Job, job_id).video_id)

    def task(self, claim: Claim) -> Task:
        with self.runtime.database.read() as session:
            return session.get_one(Task, claim.task_id)

    def tasks(self, job_id: str, kind: str) -> list[Task]:
        return [task for task in self.rows(Task) if (task.job_id, task.kind) == (job_id, kind)]

    def stage(self, job_id: str, kind: str) -> JobStage:
        with self.runtime.database.read() as session:
            return session.get_one(JobStage, (job_id, kind))

    def rows(self, model: type[Any]) -> Sequence[Any]:
        with self.runtime.database.read() as session:
            return session.scalars(select(model)).all()

    def garbage(self, *, due_within_s: float | None = None) -> list[str]:
        """Return the keys of all garbage rows, or of those due within some seconds."""
        with self.runtime.database.read() as session:
            query = select(Garbage).order_by(Garbage.due_at)
            if due_within_s is not None:
                query = query.where(Garbage.due_at <= db_now(session) + timedelta(seconds=due_within_s))
            return [key for row in session.scalars(query) for key in row.keys]

    def parts(self, claim: Claim) -> list[TaskPart]:
        return [part for part in self.rows(TaskPart) if part.task_id == claim.task_id]

    def count_parts(self, claim: Claim) -> int:
        return len(self.parts(claim))

    def kinds_told(self, job_id: str) -> list[str]:
        """Return the kinds of the state events that were published of a job, in order."""
        return [event["kind"] for event in self.events if event["job_id"] == job_id and event["seq"] is not None]

    # --- objects ---

    def put(self, key: str) -> None:
        """Put a small object under a key; an attempt that records twice has stored once."""
        if key not in self.store.stored:
            writer = self.store.create(key)
            writer.write(b"0123456789")
            writer.commit()
            self.store.stored.add(key)

    def objects(self) -> set[str]:
        root = self.runtime.settings.data_dir / "objects"
        return {path.relative_to(root).as_posix() for path in root.rglob("*") if path.is_file()}

    def live_keys(self) -> set[str]:
        with self.runtime.database.read() as session:
            return live_keys(session, self.runtime.stages)

    def keys_in_the_making(self) -> set[str]:
        with self.runtime.database.read() as session:
            return keys_in_the_making(session, self.runtime.stages)

    # --- what must always hold ---

    def check(self) -> None:
        """Check what must hold whatever happened."""
        self.check_sums()
        self.check_events()
        due = set(self.garbage(due_within_s=0))
        assert not due & self.live_keys(), "something that is wanted is about to be deleted"

    def check_sums(self) -> None:
        """A stage's row is the sum of its tasks."""
        tasks = self.rows(Task)
        for row in self.rows(JobStage):
            mine = [task for task in tasks if (task.job_id, task.kind) == (row.job_id, row.kind)]
            done = [task for task in mine if task.state == StageState.DONE]
            counted = (
                len(done),
                sum(t.size for t in done),
                sum(t.attempts for t in mine),
                sum(t.crashes for t in mine),
            )
            told = (row.done, row.done_units, row.attempts, row.crashes)
            assert counted == told, (row.kind, row.state, counted, told)
            if row.opened_at is None:
                assert (row.tasks, row.units, row.state in NEVER_OPENED) == (0, 0, True), (row.kind, row.state)
                continue
            wanted = [task for task in mine if task.index < row.tasks]
            assert (row.tasks, row.units) == (len(wanted), sum(task.size for task in wanted)), row.kind
            assert (row.state == StageState.DONE) == (row.done == row.tasks), (row.kind, row.state, row.done, row.tasks)

    def check_events(self) -> None:
        """The events of a job are numbered from 1 on, without a gap, in the order they were told."""
        told: dict[str, list[int]] = {}
        for event in self.events:
            if event["seq"] is not None:
                told.setdefault(event["job_id"], []).append(event["seq"])
        for job in self.rows(Job):
            assert told.get(job.id) == list(range(1, job.seq + 1)), (job.id, told.get(job.id), job.seq)

    def check_nothing_leaked(self) -> None:
        """A day later, what is stored is what is wanted (D7)."""
        self.shift_clock(DAY_S + 3600)
        while garbage.collect(self.runtime.database, self.runtime.store):
            pass
        objects, live = self.objects(), self.live_keys()
        assert objects - live == set(), "what nobody wants is still stored"
        assert live & self.store.stored - objects == set(), "what is wanted was deleted"


def build_harness(folder: Path, empty_database: Path, stages: Stages = STAGES) -> Harness:
    """Return a harness on `folder` with one user, whose events it hears."""
    shutil.copy(empty_database, folder / "streamforge.db")
    settings = Settings(data_dir=folder)
    database = Database(settings.database_url)
    bus, doorbell, store = InProcessBus(), CountingDoorbell(), NotingStore(folder)
    runtime = make_runtime(
        settings,
        database=database,
        doorbell=doorbell,
        store=store,
        bus=bus,
        signing_key=bytes(32),
        version="0",
        stages=stages,
    )
    harness = Harness(runtime, doorbell, store)
    with database.write() as session:
        user = User(name="local", created_at=db_now(session))
        session.add(user)
        session.flush()
        user_id = user.id
    bus.subscribe(f"user:{user_id}", harness.events.append)
    return harness
