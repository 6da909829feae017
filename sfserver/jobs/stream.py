"""Server-Sent Events of jobs (WHATWG HTML, 9.2): a snapshot, what was missed, then everything as it happens."""

import asyncio
import json
from collections import deque
from collections.abc import AsyncIterator
from contextlib import suppress
from datetime import UTC, datetime, timedelta

from starlette.concurrency import run_in_threadpool

from sfserver.deps import Runtime
from sfserver.infra.clock import db_now
from sfserver.infra.events.contract import Message
from sfserver.jobs import repository
from sfserver.jobs.reading import JobReader
from sfserver.tasks.announce import cursor_of, event_message, job_topic, user_topic
from sfserver.tasks.lifecycle import find_job
from sfserver.wire.events import EventKind, SnapshotEvent
from sfserver.wire.jobs import JobRead, JobStatus

SSE_HEADERS = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
_COMMENT_EVERY_S = 15.0
_PROGRESS_EVERY_S = 0.25
_MAX_QUEUED = 1000
_MAX_REPLAYED = 10_000
_OVERLAP = timedelta(seconds=60)
_CURSOR_DIGITS = 15
_LATEST_MS = 253_402_300_800_000  # the year 10000, which no datetime reaches
_COMMENT = b": still here\n\n"


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


class JobFeed:
    """The stream of one job: its ids are the numbers of its events, and it ends after `done`."""

    def __init__(self, runtime: Runtime, job_id: str, last_seq: int | None) -> None:
        self._runtime, self._job_id, self._last_seq = runtime, job_id, last_seq

    async def __aiter__(self) -> AsyncIterator[bytes]:
        """Yield the stream's bytes. Listens before it reads, so that nothing falls between snapshot and live events."""
        mailbox = Mailbox()
        leave = self._runtime.bus.subscribe(job_topic(self._job_id), mailbox.deliver)
        try:
            job, missed, newest = await run_in_threadpool(self._read)
            if job is None:
                return
            # With the newest id on the snapshot, a connection lost before the replay is over would skip the rest.
            snapshot = SnapshotEvent(jobs=[job]).model_dump_json()
            yield _format(EventKind.SNAPSHOT, snapshot, None if missed else newest)
            for event in missed:
                yield _event(event, "seq")
            if job.status.is_final:
                if not any(message["kind"] == EventKind.DONE for message in missed[-1:]):
                    done = json.dumps({"job_id": self._job_id, "seq": newest, "status": job.status})
                    yield _format(EventKind.DONE, done, newest)
                return
            async for message in _live(mailbox, {self._job_id: newest}, {self._job_id: job.progress}):
                yield _COMMENT if message is None else _event(message, "seq")
                if message is not None and message["kind"] == EventKind.DONE:
                    return
        finally:
            leave()

    def _read(self) -> tuple[JobRead | None, list[Message], int]:
        """Return the snapshot, the state events after the last one heard, and the newest one's number."""
        with self._runtime.database.read() as session:
            job = find_job(session, self._job_id)
            if job is None:
                return None, [], 0
            rows = [] if self._last_seq is None else repository.events_of_job(session, job.id, self._last_seq)
            # A job that was tried again has ended before; that end must not end this stream.
            rows = [row for row in rows if row.kind != EventKind.DONE or row.seq == job.seq]
            return JobReader(session, self._runtime).one(job), [event_message(row) for row in rows], job.seq


class UserFeed:
    """The stream of all jobs of a user, with times for ids.

    What a client may have missed is sent again from a minute before the last one it heard, since commits of several
    jobs overlap; a client drops what it has (`seq`).
    """

    def __init__(self, runtime: Runtime, owner_id: str, cursor: str | None) -> None:
        self._runtime, self._owner_id, self._since = runtime, owner_id, _time_of(cursor)

    async def __aiter__(self) -> AsyncIterator[bytes]:
        """Yield the stream's bytes."""
        mailbox = Mailbox()
        leave = self._runtime.bus.subscribe(user_topic(self._owner_id), mailbox.deliver)
        try:
            jobs, missed, now = await run_in_threadpool(self._read)
            cursor = None if missed else cursor_of(now)
            yield _format(EventKind.SNAPSHOT, SnapshotEvent(jobs=jobs).model_dump_json(), cursor)
            known: dict[str, int] = {}
            for event in missed:
                known[event["job_id"]] = max(known.get(event["job_id"], 0), event["seq"])
                yield _event(event, "at")
            async for message in _live(mailbox, known, {job.id: job.progress for job in jobs}):
                yield _COMMENT if message is None else _event(message, "at")
        finally:
            leave()

    def _read(self) -> tuple[list[JobRead], list[Message], datetime]:
        with self._runtime.database.read() as session:
            jobs = JobReader(session, self._runtime).active(self._owner_id)
            missed = []
            if self._since is not None:
                rows = repository.events_since(session, self._owner_id, self._since - _OVERLAP, limit=_MAX_REPLAYED)
                missed = [event_message(row) for row in rows]
            return jobs, missed, db_now(session)


async def _live(mailbox: Mailbox, known: dict[str, int], reached: dict[str, float]) -> AsyncIterator[Message | None]:
    """Yield what is newer than what was read; None in silence.

    `known` are the numbers of the newest events that were sent, `reached` keeps progress from going back.
    """
    async for message in mailbox.messages():
        if message is None:
            yield None
            continue
        job_id, seq = message["job_id"], message["seq"]
        if message["kind"] == EventKind.PROGRESS:
            share = message["data"]["progress"]
            if share < reached.get(job_id, 0.0):
                continue
            reached[job_id] = share
        elif seq is not None:
            if seq <= known.get(job_id, 0):
                continue
            known[job_id] = seq
        if message["kind"] == EventKind.STATE and message["data"]["status"] == JobStatus.QUEUED:
            reached.pop(job_id, None)  # a retry begins anew
        yield message


def _time_of(cursor: str | None) -> datetime | None:
    """Read a cursor; one that is none of ours is as good as none."""
    if cursor is None or not cursor.isdecimal() or len(cursor) > _CURSOR_DIGITS:
        return None
    milliseconds = int(cursor)
    return datetime.fromtimestamp(milliseconds / 1000, UTC) if milliseconds < _LATEST_MS else None


def _event(message: Message, id_name: str) -> bytes:
    return _format(message["kind"], json.dumps(message["data"]), message[id_name])


def _format(kind: str, data: str, event_id: int | None) -> bytes:
    head = "" if event_id is None else f"id: {event_id}\n"
    return f"{head}event: {kind}\ndata: {data}\n\n".encode()
