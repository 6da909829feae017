"""A runtime on a temporary directory whose clock can be moved and whose bell only counts."""

import shutil
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from datetime import timedelta
from pathlib import Path

import pytest

from sfserver.deps import Runtime
from sfserver.infra.db import Database, db_now
from sfserver.infra.events import InProcessBus, Message
from sfserver.infra.queue import Queue
from sfserver.infra.storage import DirectoryStore
from sfserver.jobs import recording, service
from sfserver.jobs.claims import Claim
from sfserver.media.contract import (
    AudioPlan,
    ChunkSpec,
    EncodePlan,
    ProbeResult,
    Rational,
    Rung,
    SourceFacts,
    VideoFacts,
)
from sfserver.media.sandbox.parent import StageRun
from sfserver.models import Job, User, Video
from sfserver.settings import Settings


@dataclass
class House:
    """What a test drives: the runtime, the rings it heard, the events it published."""

    runtime: Runtime
    rings: Counter[Queue] = field(default_factory=Counter)
    events: list[Message] = field(default_factory=list)

    def new_job(self, title: str = "clip") -> str:
        with self.runtime.database.write() as session:
            owner = session.query(User).one()
            video = Video(
                owner_id=owner.id,
                title=title,
                source_key="source/v/u",
                source_name="clip.mp4",
                source_size_bytes=1000,
                source_sha256="0" * 64,
                created_at=db_now(session),
            )
            session.add(video)
            session.flush()
            return service.create_job(session, self.runtime, video, "mp4").id

    def claim(self, queue: Queue = Queue.ENCODE, worker: str = "w1") -> Claim | None:
        return recording.claim_task(self.runtime, queue, worker)

    def must_claim(self, queue: Queue = Queue.ENCODE, worker: str = "w1") -> Claim:
        claim = self.claim(queue, worker)
        assert claim is not None
        return claim

    def job(self, job_id: str) -> Job:
        with self.runtime.database.read() as session:
            return session.get_one(Job, job_id)

    def probed(self, *, chunks: int = 2, audio: bool = True, title: str = "clip") -> str:
        """Return a job whose probe is recorded, with `chunks` encode tasks of 60 frames."""
        job_id = self.new_job(title)
        claim = self.must_claim(Queue.IO)
        assert claim.job_id == job_id
        assert recording.record_success(self.runtime, claim, RUN, probe_result(chunks, audio=audio))
        return job_id

    def shift_clock(self, seconds: float) -> None:
        """Go on with a database whose clock is `seconds` ahead of the last one's."""
        self._offset = getattr(self, "_offset", timedelta(0)) + timedelta(seconds=seconds)
        url = self.runtime.settings.database_url
        self.runtime.database.close()
        self.runtime = replace(self.runtime, database=Database(url, clock_offset=self._offset))


RUN = StageRun(result={}, cpu_s=1.0, wall_s=1.0, peak_rss_bytes=1 << 20)


def probe_result(chunks: int, *, audio: bool) -> dict[str, object]:
    """Return what a probe task records, for a 30 fps clip of `chunks` chunks of 60 frames."""
    from dataclasses import asdict

    video = VideoFacts("h264", 640, 360, 640, 360, Rational(1, 1), 0, "yuv420p", 60 * chunks, 0.0, 30.0, 10**6, 1)
    facts = SourceFacts("mp4", 1000, 2.0 * chunks, 2.0 * chunks, video, None, 1)
    plan = EncodePlan(
        fps=Rational(30, 1),
        timescale=90000,
        frame_ticks=3000,
        gop_frames=60,
        frames=60 * chunks,
        video_stream_index=0,
        rungs=[Rung("360p", 640, 360, 10**6, "libx264", {}, "source size")],
        chunks=[ChunkSpec(i, 60 * i, 60 * (i + 1)) for i in range(chunks)],
        audio=AudioPlan(1, 128_000, 48_000, 2, 94 * chunks, [chunks]) if audio else None,
        reasons=[],
    )
    return {"probe": asdict(ProbeResult(facts, plan, "index")), "index_key": "chunks/x/index"}


def encode_result(concealed: int = 0) -> dict[str, object]:
    part = {"file": "360p", "size_bytes": 10, "samples": 60, "first_gop": 0, "fragment_sizes": [10], "codec_config": ""}
    chunk = {
        "parts": {"360p": part},
        "fingerprint": "f",
        "decoded_frames": 60,
        "duplicated_frames": 0,
        "concealed_frames": concealed,
    }
    return {"chunk": chunk, "prefix": "chunks/x"}


@pytest.fixture
def house(tmp_path: Path, empty_database: Path) -> Iterator[House]:
    settings = Settings(data_dir=tmp_path)
    shutil.copy(empty_database, tmp_path / "streamforge.db")
    database = Database(settings.database_url)
    bus = InProcessBus()
    made: list[House] = []

    def ring(queue: Queue, times: int) -> None:
        made[0].rings[queue] += times

    runtime = Runtime(settings, database, DirectoryStore(tmp_path), bus, ring, b"key", "0")
    made.append(House(runtime))
    with database.write() as session:
        user = User(name="local", created_at=db_now(session))
        session.add(user)
        session.flush()
        bus.subscribe(f"user:{user.id}", made[0].events.append)
    yield made[0]
    made[0].runtime.database.close()


@pytest.fixture
def finish(house: House) -> Callable[[Claim, int], bool]:
    """Record an encode claim as done, with some frames concealed."""

    def record(claim: Claim, concealed: int = 0) -> bool:
        return recording.record_success(house.runtime, claim, RUN, encode_result(concealed))

    return record
