"""Event streams as the server's, from a job that ends as it stands."""

import time
from collections.abc import Iterator

from pydantic import BaseModel

from sfserver.wire.events import DoneEvent, PlayableEvent, ProgressEvent, SnapshotEvent, StageEvent
from sfserver.wire.jobs import JobRead, JobStatus, RungProgress, StageState


def events_of(job: JobRead, _last_id: str) -> Iterator[bytes]:
    """The events of a job that is made in two steps and then ends as it stands."""
    start = job.model_copy(update={"status": JobStatus.PROCESSING, "progress": 0.1, "playable_at": None})
    yield sse("snapshot", SnapshotEvent(jobs=[start]), "1")
    yield sse("stage", StageEvent(job_id=job.id, seq=2, stage="encode", state=StageState.RUNNING), "2")
    for progress in (0.42, 0.84):
        rungs = {name: RungProgress(progress=progress, fps=88.2) for name in ("1080p", "720p", "360p")}
        event = ProgressEvent(job_id=job.id, progress=progress, stage="encode", rungs=rungs, eta_s=12, speed=1.8)
        yield sse("progress", event)
    yield sse("done", DoneEvent(job_id=job.id, seq=3, status=job.status), "3")


def playable_events_of(job: JobRead, _last_id: str) -> Iterator[bytes]:
    """The events of a job that can be played before it is ready."""
    start = job.model_copy(update={"status": JobStatus.PROCESSING, "progress": 0.1, "playable_at": None})
    yield sse("snapshot", SnapshotEvent(jobs=[start]), "1")
    yield sse("playable", PlayableEvent(job_id=job.id, seq=2, video_id=job.video_id), "2")
    yield sse("progress", ProgressEvent(job_id=job.id, progress=0.5, stage="encode"))
    yield sse("done", DoneEvent(job_id=job.id, seq=3, status=JobStatus.READY), "3")


def sse(kind: str, event: BaseModel, event_id: str | None = None) -> bytes:
    head = f"id: {event_id}\n" if event_id else ""
    return f"{head}event: {kind}\ndata: {event.model_dump_json(by_alias=True)}\n\n".encode()


def pause(seconds: float) -> Iterator[bytes]:
    """Let an event script wait."""
    time.sleep(seconds)
    yield b": still here\n\n"
