"""An API on a temporary directory without workers: videos are published by hand."""

import random
import shutil
import socket
import time
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from threading import Thread
from typing import Any

import pytest
import structlog
import uvicorn
from httpx import Response
from sqlalchemy.orm import Session

from sfserver.accounts.service import CredentialKind, ensure_local_user, issue
from sfserver.deps import Runtime
from sfserver.infra.clock import db_now
from sfserver.infra.db import Database
from sfserver.infra.events.memory import InProcessBus
from sfserver.infra.queue.contract import Queue
from sfserver.infra.storage.directory import DirectoryStore
from sfserver.media.encode.poster import POSTER_FILES
from sfserver.models import JobStage, Task, User, Video, new_id
from sfserver.roots.api import create_app
from sfserver.roots.listener import listener_config
from sfserver.roots.runtime import make_runtime
from sfserver.settings import Settings
from sfserver.tasks import garbage, lifecycle, pipeline, repository
from sfserver.tasks.stage import StageContext, video_folder
from sfserver.videos.assets import NewAsset, replace_assets
from sfserver.videos.publish import publish
from sfserver.wire.jobs import StageState
from tests.api.generations import QUALITIES, Generation

with warnings.catch_warnings():
    # Starlette wants httpx's successor, which nothing else here needs.
    warnings.simplefilter("ignore")
    from starlette.testclient import TestClient

MKV = b"\x1a\x45\xdf\xa3" + random.Random(1).randbytes(20_000)


@dataclass(frozen=True)
class Made:
    """A video made by hand; `files` are the progressive files' bytes by quality."""

    video_id: str
    job_id: str
    source: bytes
    files: dict[str, bytes] = field(default_factory=dict)
    folder: str = ""


class CountingDoorbell:
    """Counts rings; nobody answers them."""

    def __init__(self) -> None:
        self.rings: Counter[Queue] = Counter()

    def ring(self, queue: Queue) -> None:
        self.rings[queue] += 1

    def answer(self, on_ring: Callable[[Queue], None]) -> None:
        raise AssertionError(f"no worker belongs here: {on_ring}")

    def close(self) -> None:
        pass


@dataclass
class Api:
    """What a test drives: an API, its runtime and the local user's token."""

    runtime: Runtime
    client: TestClient
    token: str
    rings: Counter[Queue]

    @property
    def signed_in(self) -> dict[str, str]:
        return bearer(self.token)

    def get(
        self, path: str, token: str | None = None, *, params: dict[str, str] | None = None, **headers: str
    ) -> Response:
        """GET as the local user, or with another token, with headers given as keywords."""
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return self.client.get(path, headers=bearer(token or self.token) | named, params=params)

    def upload(self, data: bytes = MKV, *, name: str = "clip.mkv", fields: dict[str, str] | None = None) -> Response:
        files = {"file": (name, data, "video/x-matroska")}
        return self.client.post("/api/upload", files=files, data=fields or {}, headers=self.signed_in)

    def new_user(self, name: str) -> str:
        """Return the token of a new user."""
        with self.runtime.database.write() as session:
            user = User(name=name, created_at=db_now(session))
            session.add(user)
            session.flush()
            return issue(session, user.id, CredentialKind.API_TOKEN).secret

    def new_video(self, *, visibility: str = "private", title: str = "A clip", owner: str = "local") -> Made:
        """Return an uploaded video with a queued job."""
        source = random.Random(title).randbytes(5000)
        with self.runtime.database.write() as session:
            user = session.query(User).filter_by(name=owner).one()
            video_id = new_id()
            video = Video(
                id=video_id,
                owner_id=user.id,
                title=title,
                visibility=visibility,
                source_key=f"source/{video_id}/{new_id()}",
                source_name="clip.mkv",
                source_size_bytes=len(source),
                source_sha256="0" * 64,
                source_facts={"container": "matroska,webm", "duration_s": 4.0, "video": {}, "audio": None},
                generation=0,
                created_at=db_now(session),
            )
            session.add(video)
            session.flush()
            self.put(video.source_key, source)
            return Made(video_id, pipeline.create_job(session, self.runtime, video, "mp4").id, source)

    def publish(self, *, visibility: str = "private", title: str = "A clip", owner: str = "local") -> Made:
        """Return a video whose renditions are random bytes, laid out as the packager would."""
        made = self.new_video(visibility=visibility, title=title, owner=owner)
        return replace(made, **self.publish_again(made.video_id, made.job_id))

    def publish_again(self, video_id: str, job_id: str) -> dict[str, Any]:
        """Bring a job to its end, and publish what its stages would have stored; return `files` and `folder`."""
        generation = self.grow(video_id, job_id)
        with self.runtime.database.write() as session:
            job = repository.lock_job(session, job_id)
            assert job is not None
            generation.show_all(session, job)
            tasks = {kind: end_stage(session, job_id, kind) for kind in ("encode", "audio", "package")}
            row = session.get_one(JobStage, (job_id, "package"))
            context = StageContext(session, self.runtime.settings, self.runtime.stages, job, row, tasks["package"])
            heads = {quality: generation.head_key(quality) for quality in QUALITIES}
            publish(context, generation.package(), heads)
        return {"files": generation.files, "folder": generation.folder}

    def grow(self, video_id: str, job_id: str) -> Generation:
        """Have a job be at work, nothing of it shown yet; all it will ever store is stored."""
        generation = Generation(f"video/{video_id}/{job_id}/encode-0/1", job_id)
        with self.runtime.database.write() as session:
            job = repository.lock_job(session, job_id)
            assert job is not None
            lifecycle.start_job(session, job)
            claim = lifecycle.claim_of(end_stage(session, job_id, "probe"), job, session.get_one(Video, video_id))
            generation.begin(session, job)
            self.put(f"{video_folder(claim)}/index.npy", b"index")
        for key, data in generation.objects.items():
            self.put(key, data)
        return generation

    def add_poster(self, made: Made) -> dict[str, bytes]:
        """Give a video a poster, as its stage would; return the files by name."""
        files = {name: random.Random(name + made.job_id).randbytes(3000) for name in POSTER_FILES}
        with self.runtime.database.write() as session:
            job = repository.lock_job(session, made.job_id)
            assert job is not None
            video = session.get_one(Video, made.video_id)
            claim = lifecycle.claim_of(end_stage(session, made.job_id, "poster"), job, video)
            assets = [
                NewAsset(
                    name=name,
                    media_type="image/webp" if name.endswith(".webp") else "image/jpeg",
                    key=f"{video_folder(claim)}/{name}",
                    size_bytes=len(data),
                )
                for name, data in files.items()
            ]
            for asset in assets:
                self.put(asset.key, files[asset.name])
            replace_assets(session, video, "poster", assets)
        return files

    def collect_garbage(self) -> int:
        """Delete what is due, as the sweeper does; return how many keys."""
        return garbage.collect(self.runtime.database, self.runtime.store)

    def post(self, path: str, token: str | None = None, **body: object) -> Response:
        """POST as the local user, or with another token; keywords are a JSON body."""
        sent = {"json": body} if body else {}
        return self.client.post(path, headers=bearer(token or self.token), **sent)  # type: ignore[arg-type]

    def objects(self) -> set[str]:
        """Return the keys of everything stored."""
        root = self.runtime.settings.data_dir / "objects"
        return {path.relative_to(root).as_posix() for path in root.rglob("*") if path.is_file()}

    def put(self, key: str, data: bytes) -> None:
        writer = self.runtime.store.create(key)
        writer.write(data)
        writer.commit()


def bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


def end_stage(session: Session, job_id: str, kind: str) -> Task:
    """Bring a stage of one task to its end; return the task."""
    row = session.get_one(JobStage, (job_id, kind))
    row.state, row.tasks, row.done, row.units, row.done_units = StageState.DONE, 1, 1, 1, 1
    row.opened_at = row.started_at = row.finished_at = db_now(session)
    task = next(iter(repository.tasks_of(session, job_id, kind)), None)
    if task is None:
        session.add(task := Task(job_id=job_id, kind=kind, state=StageState.DONE, token=0))
    task.state, task.token, task.attempts, task.finished_at = StageState.DONE, task.token + 1, 1, db_now(session)
    task.spec = {}
    session.flush()
    return task


@pytest.fixture(scope="session", autouse=True)
def plain_log() -> None:
    """Keep structlog from drawing tracebacks with all their variables, which takes seconds."""
    structlog.configure(processors=[structlog.processors.format_exc_info, structlog.processors.KeyValueRenderer()])


@pytest.fixture
def data_dir(tmp_path: Path) -> Iterator[Path]:
    """Return a directory in memory where there is one: nothing here tests what a power cut leaves."""
    memory = Path("/dev/shm")
    with TemporaryDirectory(dir=memory if memory.is_dir() else tmp_path) as folder:
        yield Path(folder)


@pytest.fixture
def runtime(data_dir: Path, empty_database: Path) -> Iterator[Runtime]:
    settings = Settings(data_dir=data_dir)
    shutil.copy(empty_database, data_dir / "streamforge.db")
    database = Database(settings.database_url)
    yield make_runtime(
        settings,
        database=database,
        doorbell=CountingDoorbell(),
        store=DirectoryStore(data_dir),
        bus=InProcessBus(),
        signing_key=b"0" * 32,
        version="1.2.3",
    )
    database.close()


@pytest.fixture
def api(runtime: Runtime) -> Iterator[Api]:
    with runtime.database.write() as session:
        token = ensure_local_user(session)
    assert token is not None
    assert isinstance(runtime.doorbell, CountingDoorbell)
    with TestClient(create_app(runtime), base_url="http://localhost", follow_redirects=False) as client:
        yield Api(runtime, client, token, runtime.doorbell.rings)


@dataclass
class LiveServer:
    """The same API behind a real listener; `process` and memory are the test's own."""

    runtime: Runtime
    token: str
    port: int

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def connect(self) -> socket.socket:
        """Return a bare connection, for what no client library would send."""
        return socket.create_connection(("127.0.0.1", self.port), timeout=10)


@pytest.fixture
def live(api: Api) -> Iterator[LiveServer]:
    server = uvicorn.Server(listener_config(create_app(api.runtime), grace_s=1))
    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = Thread(target=server.run, kwargs={"sockets": [listener]}, daemon=True)
        thread.start()
        while not server.started:
            time.sleep(0.01)
        yield LiveServer(api.runtime, api.token, listener.getsockname()[1])
        server.should_exit = True
        thread.join(timeout=10)
