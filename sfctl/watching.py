"""Following jobs to their end: events in, rows for the reporter and final outcomes out."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field

from sfctl.bars import JobRow, RungRow
from sfctl.errors import ClientError
from sfctl.ids import shorten
from sfctl.live import JobEvent, LiveClient
from sfctl.progress import Reporter
from sfctl.text import describe_trouble
from sfserver.wire.events import (
    DoneEvent,
    ErrorEvent,
    PlayableEvent,
    ProgressEvent,
    SnapshotEvent,
    StageEvent,
    StateEvent,
)
from sfserver.wire.jobs import JobError, JobRead, JobStatus, RungProgress, StageState

# One connection a job, so many at once; the rest wait their turn, as their jobs mostly do as well.
_STREAMS = 16


@dataclass
class Outcome:
    """How a job ended; `status` is not final while it is watched."""

    job_id: str
    title: str
    status: JobStatus = JobStatus.QUEUED
    error: JobError | None = None
    row: JobRow = field(default_factory=lambda: JobRow(""))
    video_id: str = ""
    is_told: bool = False

    def __post_init__(self) -> None:
        self.row.job_id = self.job_id


def apply_event(outcome: Outcome, event: JobEvent) -> None:
    """Bring an outcome and its row up to date with an event."""
    row = outcome.row
    row.note = None
    match event:
        case SnapshotEvent():
            for job in (job for job in event.jobs if job.id == outcome.job_id):
                apply_job(outcome, job)
        case ProgressEvent():
            row.stage, row.speed, row.eta_s = event.stage or row.stage, event.speed, event.eta_s
            row.progress, row.waiting = max(row.progress, event.progress), _describe(event.waiting)
            _apply_rungs(row, event.rungs)
        case StateEvent() | DoneEvent():
            _apply_status(outcome, event.status)
        case StageEvent():
            row.stage = event.stage if event.state is StageState.RUNNING else row.stage
        case ErrorEvent():
            outcome.error = event.error
            row.note = event.error.detail
        case PlayableEvent():
            outcome.video_id = event.video_id


def apply_job(outcome: Outcome, job: JobRead) -> None:
    """Bring an outcome and its row up to date with a job as it stands."""
    row = outcome.row
    outcome.title = row.title = job.title
    outcome.video_id = job.video_id
    row.playable_s = (job.playable_at - job.created_at).total_seconds() if job.playable_at else None
    outcome.error = job.error
    row.stage, row.speed, row.eta_s, row.progress = job.stage, job.speed, job.eta_s, job.progress
    row.waiting = _describe(job.waiting)
    _apply_rungs(row, job.rungs)
    _apply_status(outcome, job.status)


def _describe(waiting: JobError | None) -> str | None:
    return None if waiting is None else describe_trouble(waiting.code, waiting.detail)


def _apply_status(outcome: Outcome, status: JobStatus) -> None:
    outcome.status, row = status, outcome.row
    row.state = status.value
    if status is JobStatus.READY:
        row.progress = 1.0
        for rung in row.rungs.values():
            rung.progress = 1.0
    if outcome.error is not None:
        row.note = outcome.error.detail


def _apply_rungs(row: JobRow, rungs: dict[str, RungProgress]) -> None:
    for name, rung in rungs.items():
        known = row.rungs.setdefault(name, RungRow())
        known.progress, known.fps = max(known.progress, rung.progress), rung.fps


def playable_note(outcome: Outcome, same_server: str) -> str:
    """Say that a video can be played, and how; `same_server` are the options that lead to it."""
    video_id = shorten([outcome.video_id])[outcome.video_id]
    return f"{outcome.title}: playable after {outcome.row.playable_s:.1f} s: sfctl play {video_id}{same_server}"


@dataclass(frozen=True)
class Audience:
    """Who hears of jobs: the reporter, perhaps somebody who wants each event; and how commands reach their server."""

    reporter: Reporter
    same_server: str = ""
    on_event: Callable[[JobEvent], None] | None = None

    def tell(self, outcome: Outcome) -> None:
        """Show how a job stands, and once that it can be played while it goes on."""
        if outcome.row.playable_s is not None and not outcome.is_told and not outcome.status.is_final:
            outcome.is_told = True
            self.reporter.note(playable_note(outcome, self.same_server))
        self.reporter.changed(outcome.row)


async def watch_job(live: LiveClient, outcome: Outcome, audience: Audience) -> None:
    """Follow one job to its end."""

    def tell_gap() -> None:
        outcome.row.note = "connection lost, reconnecting"
        audience.tell(outcome)

    async for event in live.follow(outcome.job_id, tell_gap):
        apply_event(outcome, event)
        if isinstance(event, PlayableEvent):
            await _ask_when(live, outcome)
        audience.tell(outcome)
        if audience.on_event:
            audience.on_event(event)


async def _ask_when(live: LiveClient, outcome: Outcome) -> None:
    """Learn since when a job can be played; the event does not say it, and a clock of ours may be wrong."""
    with suppress(ClientError):
        job = await live.job(outcome.job_id)
        if job.playable_at:
            outcome.row.playable_s = (job.playable_at - job.created_at).total_seconds()


async def watch_all(live: LiveClient, outcomes: Iterable[Outcome], audience: Audience) -> None:
    """Follow many jobs to their ends, a bounded number at a time."""
    turn = asyncio.Semaphore(_STREAMS)

    async def follow(outcome: Outcome) -> None:
        async with turn:
            await watch_job(live, outcome, audience)

    async with ticking(audience.reporter):
        await asyncio.gather(*(follow(outcome) for outcome in outcomes))


@asynccontextmanager
async def ticking(reporter: Reporter) -> AsyncIterator[None]:
    """Let a reporter draw ten times a second while something else runs."""

    async def tick() -> None:
        while True:
            await asyncio.sleep(0.1)
            reporter.tick()

    task = asyncio.create_task(tick())
    try:
        yield
    finally:
        task.cancel()
