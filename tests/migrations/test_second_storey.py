"""A database of the first schema is brought forward: what was ready plays, what was under way goes on."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from sqlalchemy import select, text

from sfserver.deps import Runtime
from sfserver.infra.db import Database
from sfserver.infra.events.memory import InProcessBus
from sfserver.infra.queue.contract import Queue
from sfserver.infra.queue.dramatiq import in_memory_doorbell
from sfserver.infra.schema import upgrade_schema
from sfserver.infra.storage.directory import DirectoryStore
from sfserver.jobs import service
from sfserver.jobs.reading import JobReader, explain_job
from sfserver.models import Base, Garbage, Job, JobEvent, JobStage, Task, TaskPart, Video
from sfserver.roots.runtime import make_runtime
from sfserver.settings import Settings
from sfserver.stages.registry import STAGES
from sfserver.tasks import garbage
from sfserver.tasks.claim import claim_task
from sfserver.tasks.sweep import resume_after_boot
from sfserver.wire.jobs import StageState
from tests.migrations.first_schema import CHUNK, CHUNKS, NOW, PUBLISHED, FirstSchema


@pytest.fixture
def runtime(tmp_path: Path) -> Iterator[Runtime]:
    """Return a runtime over a migrated database: a ready, a killed, a failed, a trashed and a queued video."""
    settings = Settings(data_dir=tmp_path)
    database, store = Database(settings.database_url), DirectoryStore(tmp_path)
    old = FirstSchema(database, store)
    add_ready(old, "ready", swept_at=NOW, finished_at=NOW)
    add_ready(old, "trashed", video={"deleted_at": NOW}, finished_at=NOW)
    add_killed(old)
    add_failed(old)
    old.video("queued")
    old.job("queued", "queued", plan=None, started_at=None, progress=0.0)
    old.task("queued", "probe", "waiting", token=0, started_at=None)
    upgrade_schema(database)
    yield make_runtime(
        settings,
        database=database,
        doorbell=in_memory_doorbell(),
        store=store,
        bus=InProcessBus(),
        signing_key=b"k" * 32,
        version="0",
    )
    database.close()


def add_ready(old: FirstSchema, name: str, *, video: dict[str, object] | None = None, **job: object) -> None:
    prefix = f"video/{name}/1/1"
    published = {"generation": 1, "published_prefix": prefix, "published": PUBLISHED, "published_at": NOW}
    old.video(name, **published, **(video or {}))
    old.job(name, "ready", progress=1.0, playable_at=NOW, **job)
    old.event(name, "done", {"job_id": f"job-{name}", "status": "ready"})
    old.task(name, "probe", "done", result={"probe": {"index_file": "index.npy"}})
    for chunk in CHUNKS:
        old.task(name, "encode", "done", index=chunk["index"], result={"chunk": CHUNK})
    old.task(name, "package", "done", result={"package": PUBLISHED})
    for path in PUBLISHED["files"]:  # type: ignore[attr-defined]
        old.put(f"{prefix}/{path}")
    if not job.get("swept_at"):
        old.put(f"chunks/job-{name}/encode-0/1/720p.0.m4s")


def add_killed(old: FirstSchema) -> None:
    old.video("killed")
    old.job("killed", "processing")
    old.task("killed", "probe", "done", result={"probe": {"index_file": "index.npy"}})
    old.put("chunks/job-killed/probe-0/1/index.npy")
    old.task("killed", "encode", "done", index=0, token=2, result={"chunk": CHUNK})
    for token in (1, 2):
        old.put(f"chunks/job-killed/encode-0/{token}/720p.0.m4s")
    old.task("killed", "encode", "running", index=1, token=3, worker="w1")
    old.put("chunks/job-killed/encode-1/3/360p.1.m4s")
    old.task("killed", "audio", "running", token=2, worker="w1")
    old.part("killed", 0, "chunks/job-killed/audio-0/1/audio.0.m4s")
    old.task("killed", "package", "waiting", token=0, needs=3, started_at=None)


def add_failed(old: FirstSchema) -> None:
    old.video("failed")
    error = {"code": "damaged_media", "detail": "half is gone", "hint": None}
    old.job("failed", "failed", error=error, finished_at=NOW)
    old.task("failed", "probe", "done", result={"probe": {"index_file": "index.npy"}})
    old.task("failed", "encode", "failed", index=0, crashes=3, error=error)
    old.task("failed", "encode", "cancelled", index=1, token=0, started_at=None)
    old.put("chunks/job-failed/encode-0/1/720p.0.m4s")


def objects(runtime: Runtime) -> set[str]:
    root = runtime.settings.data_dir / "objects"
    return {path.relative_to(root).as_posix() for path in root.rglob("*") if path.is_file()}


def test_the_migrated_schema_is_what_the_models_say(runtime: Runtime) -> None:
    from alembic.autogenerate import compare_metadata
    from alembic.migration import MigrationContext

    with runtime.database.engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        assert compare_metadata(context, Base.metadata) == []
        assert connection.execute(text("PRAGMA foreign_key_check")).all() == []
        assert connection.execute(text("PRAGMA quick_check")).scalar_one() == "ok"


def test_what_was_published_stays_and_what_nobody_wants_goes(runtime: Runtime) -> None:
    garbage.collect(runtime.database, runtime.store)
    videos = ("ready", "trashed", "killed", "failed", "queued")
    published = {f"video/{name}/1/1/{path}" for name in ("ready", "trashed") for path in ("v/720p.mp4", "a/main.mp4")}
    assert objects(runtime) == published | {f"source/{name}/u" for name in videos}
    with runtime.database.read() as session:
        ready = session.get_one(Video, "ready")
        assert (ready.generation, ready.published_at) == (1, NOW)
        assert session.get_one(Video, "trashed").deleted_at == NOW
        assert session.scalars(select(TaskPart)).all() == []


def test_events_are_numbered_by_job(runtime: Runtime) -> None:
    with runtime.database.read() as session:
        for job in session.scalars(select(Job)):
            events = session.scalars(select(JobEvent).where(JobEvent.job_id == job.id).order_by(JobEvent.seq)).all()
            assert [event.seq for event in events] == list(range(1, job.seq + 1))
            assert [(event.data["job_id"], event.data["seq"]) for event in events] == [
                (job.id, event.seq) for event in events
            ]
            assert {event.created_at for event in events} == {NOW}
        assert session.get_one(Job, "job-ready").seq == 4


def test_finished_jobs_can_be_read_and_explained(runtime: Runtime) -> None:
    with runtime.database.read() as session:
        read = {job.id: job for job in JobReader(session, runtime).many(session.scalars(select(Job)).all())}
        ready = {stage.name: stage for stage in read["job-ready"].stages}
        assert {name: (stage.state, stage.tasks, stage.tasks_done) for name, stage in ready.items()} == {
            "probe": ("done", 1, 1),
            "encode": ("done", 2, 2),
            "package": ("done", 1, 1),
        }
        assert ready["encode"].cpu_s == 3.0
        failed = read["job-failed"]
        assert failed.error is not None
        assert failed.error.code == "damaged_media"
        (encode,) = (stage for stage in failed.stages if stage.name == "encode")
        assert (encode.state, encode.crashes, encode.error) == (StageState.FAILED, 3, failed.error)
        told = explain_job(session, STAGES, session.get_one(Job, "job-ready"))
        chunks = [(task.start_frame, task.end_frame, task.fingerprint) for task in told.tasks if task.kind == "encode"]
        assert chunks == [(0, 60, "x264-165"), (60, 100, "x264-165")]
        assert [rung.name for rung in told.rungs] == ["720p", "360p"]
        memory = session.scalars(select(Task.peak_rss_bytes).where(Task.job_id == "job-ready")).all()
        assert list(memory) == [123_456_789] * 4


@pytest.mark.parametrize("name", ["killed", "queued"])
def test_what_was_under_way_begins_again(runtime: Runtime, name: str) -> None:
    resume_after_boot(runtime)
    with runtime.database.read() as session:
        job = session.get_one(Job, f"job-{name}")
        assert (job.status, job.plan, job.started_at) == ("queued", None, None)
        rows = {row.kind: row for row in session.scalars(select(JobStage).where(JobStage.job_id == job.id))}
        assert set(rows) == set(runtime.stages)
        assert {row.state for row in rows.values()} == {StageState.WAITING}
        waiting = session.scalars(select(Task).where(Task.job_id == job.id, Task.state == StageState.WAITING)).all()
        assert [(task.kind, task.attempts, task.losses) for task in waiting] == [("probe", 0, 0)]
    claims = [claim_task(runtime, Queue.IO, "w2") for _ in range(3)]
    tokens = {claim.job_id: claim.token for claim in claims if claim}
    # No key of an earlier attempt is ever written again.
    assert tokens["job-killed"] > 1
    assert set(tokens) == {"job-killed", "job-queued"}


def test_a_failed_job_can_be_tried_again_from_the_start(runtime: Runtime) -> None:
    with runtime.database.write() as session:
        service.retry(session, runtime, session.get_one(Job, "job-failed"))
    with runtime.database.read() as session:
        tasks = session.scalars(select(Task).where(Task.job_id == "job-failed").order_by(Task.kind, Task.index)).all()
        assert [(task.kind, task.state) for task in tasks if task.state == StageState.WAITING] == [("probe", "waiting")]
        assert session.get_one(Job, "job-failed").plan is None


def test_a_ready_video_is_processed_again(runtime: Runtime) -> None:
    with runtime.database.write() as session:
        job = service.reprocess(session, runtime, session.get_one(Video, "ready"))
        assert job.generation == 2


def test_garbage_is_due_at_once(runtime: Runtime) -> None:
    with runtime.database.read() as session:
        rows = session.scalars(select(Garbage)).all()
        assert rows
        assert {row.due_at < datetime.now(UTC) + timedelta(seconds=1) for row in rows} == {True}
        assert {row.reprieve_job_id for row in rows} == {None}
        assert not {key for row in rows for key in row.keys if key.startswith(("source/", "video/ready"))}
