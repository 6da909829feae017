"""Server-Sent Events of jobs (WHATWG HTML, 9.2): a snapshot, what was missed, then everything as it happens."""

import asyncio
import json
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field

from sqlalchemy.orm import Session
from starlette.concurrency import run_in_threadpool

from sfserver.deps import Runtime
from sfserver.infra.events import Message
from sfserver.jobs import repository
from sfserver.wire.events import EventKind, SnapshotEvent
from sfserver.wire.jobs import JobRead

SSE_HEADERS = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
_COMMENT_EVERY_S = 15.0
_PROGRESS_EVERY_S = 0.25
_MAX_QUEUED = 1000


@dataclass
class EventFeed:
    """What one connection needs: the topic it listens to, how to read the state, and when it is over.

    `job_id` is set for the stream of one job, which ends after its `done`.
    """

    runtime: Runtime
    topic: str
    owner_id: str
    job_id: str | None
    snapshot: Callable[[Session], list[JobRead]]
    last_event_id: int | None
    _sent_progress: dict[str, float] = field(default_factory=dict)

    async def __aiter__(self) -> AsyncIterator[bytes]:
        """Yield the stream's bytes. Listens before it reads, so that nothing falls between snapshot and live events."""
        loop, queue = asyncio.get_running_loop(), asyncio.Queue[Message](_MAX_QUEUED)
        leave = self.runtime.bus.subscribe(self.topic, lambda message: _offer(loop, queue, message))
        try:
            jobs, missed, latest = await run_in_threadpool(self._read)
            yield _format(EventKind.SNAPSHOT, SnapshotEvent(jobs=jobs).model_dump_json(), latest)
            for message in missed:
                yield _format(message["kind"], json.dumps(message["data"]), message["id"])
            if self.job_id is not None and jobs[0].status.is_final:
                if not any(message["kind"] == EventKind.DONE for message in missed):
                    done = json.dumps({"job_id": self.job_id, "status": jobs[0].status})
                    yield _format(EventKind.DONE, done, latest)
                return
            async for chunk in self._live(queue, latest):
                yield chunk
        finally:
            leave()

    async def _live(self, queue: asyncio.Queue[Message], latest: int) -> AsyncIterator[bytes]:
        while True:
            try:
                message = await asyncio.wait_for(queue.get(), _COMMENT_EVERY_S)
            except TimeoutError:
                yield b": still here\n\n"
                continue
            if message["id"] is not None and message["id"] <= latest:
                continue
            if message["kind"] == EventKind.PROGRESS and self._is_too_soon(message["job_id"]):
                continue
            yield _format(message["kind"], json.dumps(message["data"]), message["id"])
            if message["kind"] == EventKind.DONE and self.job_id is not None:
                return

    def _is_too_soon(self, job_id: str) -> bool:
        now = time.monotonic()
        if now - self._sent_progress.get(job_id, 0.0) < _PROGRESS_EVERY_S:
            return True
        self._sent_progress[job_id] = now
        return False

    def _read(self) -> tuple[list[JobRead], list[Message], int]:
        """Return the snapshot, the state events after `last_event_id`, and the newest event id of both."""
        with self.runtime.database.read() as session:
            jobs = self.snapshot(session)
            rows, newest = repository.events_after(
                session, owner_id=self.owner_id, job_id=self.job_id, after=self.last_event_id, limit=_MAX_QUEUED
            )
        missed: list[Message] = [
            {"id": row.id, "kind": row.kind, "job_id": row.job_id, "data": row.data} for row in rows
        ]
        return jobs, missed, newest


def _offer(loop: asyncio.AbstractEventLoop, queue: asyncio.Queue[Message], message: Message) -> None:
    """Hand a message to a connection's loop; a client too slow for its queue gets a new snapshot when it reconnects."""

    def put() -> None:
        if not queue.full():
            queue.put_nowait(message)

    if not loop.is_closed():
        loop.call_soon_threadsafe(put)


def _format(kind: str, data: str, event_id: int | None) -> bytes:
    head = "" if event_id is None else f"id: {event_id}\n"
    return f"{head}event: {kind}\ndata: {data}\n\n".encode()
