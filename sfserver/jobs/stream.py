"""Server-Sent Events of jobs (WHATWG HTML, 9.2): a snapshot, what was missed, then everything as it happens."""

import asyncio
import json
from collections import deque
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from dataclasses import dataclass

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


class Mailbox:
    """The live messages of one connection: every state event in order, of progress the newest of each job."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._filled = asyncio.Event()
        self._events: deque[Message] = deque()
        self._progress: dict[str, Message] = {}
        self._next_progress = 0.0

    def deliver(self, message: Message) -> None:
        """Take a message from any thread."""
        with suppress(RuntimeError):  # the loop is closed: the server stops
            self._loop.call_soon_threadsafe(self._put, message)

    async def messages(self) -> AsyncIterator[Message | None]:
        """Yield messages as they come, progress at most every 0.25 s, and None after 15 s of silence.

        Ends when the client is so slow that messages would be lost: it connects again and gets them replayed.
        """
        while len(self._events) < _MAX_QUEUED:
            taken = self._take()
            for message in taken:
                yield message
            if taken:
                continue
            self._filled.clear()
            pause_s = self._next_progress - self._loop.time() if self._progress else _COMMENT_EVERY_S
            try:
                async with asyncio.timeout(pause_s):
                    await self._filled.wait()
            except TimeoutError:
                if not self._progress:
                    yield None

    def _put(self, message: Message) -> None:
        if message["kind"] == EventKind.PROGRESS:
            self._progress[message["job_id"]] = message
        elif len(self._events) < _MAX_QUEUED:
            self._events.append(message)
        if message["kind"] == EventKind.DONE:
            self._progress.pop(message["job_id"], None)
        self._filled.set()

    def _take(self) -> list[Message]:
        taken = list(self._events)
        self._events.clear()
        if self._progress and self._loop.time() >= self._next_progress:
            taken += self._progress.values()
            self._progress.clear()
            self._next_progress = self._loop.time() + _PROGRESS_EVERY_S
        return taken


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

    async def __aiter__(self) -> AsyncIterator[bytes]:
        """Yield the stream's bytes. Listens before it reads, so that nothing falls between snapshot and live events."""
        mailbox = Mailbox()
        leave = self.runtime.bus.subscribe(self.topic, mailbox.deliver)
        try:
            jobs, missed, latest = await run_in_threadpool(self._read)
            # With the newest id on the snapshot, a connection lost before the replay is over would skip the rest.
            yield _format(EventKind.SNAPSHOT, SnapshotEvent(jobs=jobs).model_dump_json(), None if missed else latest)
            for message in missed:
                yield _format(message["kind"], json.dumps(message["data"]), message["id"])
            if self.job_id is not None and jobs[0].status.is_final:
                if not any(message["kind"] == EventKind.DONE for message in missed):
                    done = json.dumps({"job_id": self.job_id, "status": jobs[0].status})
                    yield _format(EventKind.DONE, done, latest)
                return
            async for chunk in self._live(mailbox, latest, {job.id: job.progress for job in jobs}):
                yield chunk
        finally:
            leave()

    async def _live(self, mailbox: Mailbox, latest: int, reached: dict[str, float]) -> AsyncIterator[bytes]:
        """Yield what is newer than the snapshot; `reached` keeps progress from going back."""
        async for message in mailbox.messages():
            if message is None:
                yield b": still here\n\n"
                continue
            job_id, data = message["job_id"], message["data"]
            if message["kind"] == EventKind.PROGRESS:
                if data["progress"] < reached.get(job_id, 0.0):
                    continue
                reached[job_id] = data["progress"]
            elif message["id"] <= latest:
                continue
            yield _format(message["kind"], json.dumps(data), message["id"])
            if message["kind"] == EventKind.DONE and self.job_id is not None:
                return

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


def _format(kind: str, data: str, event_id: int | None) -> bytes:
    head = "" if event_id is None else f"id: {event_id}\n"
    return f"{head}event: {kind}\ndata: {data}\n\n".encode()
