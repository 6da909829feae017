"""How attempts end in the database: what counts, what has ended before, what is somebody else's."""

from collections.abc import Callable

import pytest

from sfserver.errors import DamagedMediaError, OutageError, StoreUnavailableError
from sfserver.infra.queue.contract import Queue
from sfserver.models import Video
from sfserver.tasks import record
from sfserver.tasks.record import Beat, Recorded
from sfserver.tasks.stage import Claim
from sfserver.tasks.states import Happening
from sfserver.videos.service import purge_video
from sfserver.wire.jobs import JobStatus, StageState
from tests.tasks.harness import Harness

Record = Callable[[Harness, Claim], Recorded]
SUCCESS: Record = lambda harness, claim: harness.done(claim)  # noqa: E731
FAILURE: Record = lambda harness, claim: record.record_failure(harness.runtime, claim, DamagedMediaError())  # noqa: E731


def setback(happening: Happening) -> Record:
    return lambda harness, claim: record.record_setback(harness.runtime, claim, happening, "was hurt", OutageError())


SETBACKS = [
    setback(happening) for happening in (Happening.CRASHED, Happening.DOUBT, Happening.OUTAGE, Happening.RELEASED)
]
ALL = [SUCCESS, FAILURE, *SETBACKS]


def counters(harness: Harness, claim: Claim) -> tuple[int, ...]:
    task = harness.task(claim)
    return (task.attempts, task.crashes, task.losses, task.outages, task.doubts)


@pytest.mark.parametrize("end", ALL)
def test_an_end_counts_once_however_often_it_is_recorded(harness: Harness, end: Record) -> None:
    """The commit happened, its acknowledgement was lost, and the worker says it again."""
    harness.probed(chunks=2, audio=False)
    claim = harness.take()
    assert end(harness, claim) is Recorded.RECORDED
    task, counted, told = harness.task(claim), counters(harness, claim), len(harness.events)
    assert end(harness, claim) is Recorded.ALREADY_RECORDED
    again = harness.task(claim)
    assert (again.state, counters(harness, claim), again.not_before) == (task.state, counted, task.not_before)
    assert len(harness.events) == told


@pytest.mark.parametrize("end", ALL)
def test_a_beat_never_takes_back_a_task_whose_end_is_recorded(harness: Harness, end: Record) -> None:
    """The heartbeat's thread may be in mid-beat while the attempt's own thread records."""
    harness.probed(chunks=2, audio=False)
    claim = harness.take()
    end(harness, claim)
    state = harness.task(claim).state
    assert record.beat(harness.runtime, claim) is Beat.LOST
    assert harness.task(claim).state == state


@pytest.mark.parametrize("end", ALL)
@pytest.mark.parametrize("how", ["claimed again", "cancelled", "purged"])
def test_whoever_lost_the_task_records_nothing(harness: Harness, end: Record, how: str) -> None:
    job_id = harness.probed(chunks=2, audio=False)
    stale = harness.take()
    if how == "claimed again":
        harness.sweep(after_s=31)
        assert harness.take(worker="w2").token == stale.token + 1
    elif how == "cancelled":
        harness.cancel(job_id)
    else:
        with harness.runtime.database.write() as session:
            purge_video(session, harness.runtime, session.get_one(Video, stale.video_id))
    rows = (
        [(task.state, task.token, task.crashes) for task in harness.rows(type(harness.task(stale)))]
        if how != "purged"
        else []
    )
    assert end(harness, stale) is Recorded.LOST
    assert record.beat(harness.runtime, stale) is Beat.LOST
    if how != "purged":
        assert [(t.state, t.token, t.crashes) for t in harness.rows(type(harness.task(stale)))] == rows


def test_a_stale_token_cannot_record_and_the_fresh_one_can_once(harness: Harness) -> None:
    harness.probed(chunks=1, audio=False)
    stale = harness.take()
    harness.sweep(after_s=31)
    fresh = harness.take(worker="w2")
    assert fresh.token == stale.token + 1
    assert harness.done(stale) is Recorded.LOST
    assert harness.task(stale).state == StageState.RUNNING
    assert harness.done(fresh) is Recorded.RECORDED
    assert harness.done(fresh) is Recorded.ALREADY_RECORDED
    assert harness.done(stale) is Recorded.LOST
    assert harness.task(stale).state == StageState.DONE


@pytest.mark.parametrize("lives", [True, False])
def test_a_worker_that_slept_goes_on_if_nobody_took_its_task(harness: Harness, lives: bool) -> None:
    harness.probed(chunks=1, audio=False)
    claim = harness.take()
    harness.sweep(after_s=31)
    assert harness.task(claim).state == StageState.WAITING
    if lives:
        assert record.beat(harness.runtime, claim) is Beat.PUT_BACK
        assert harness.claim(worker="w2") is None
        assert record.beat(harness.runtime, claim) is Beat.OWNED
    assert harness.done(claim) is Recorded.RECORDED


def test_losses_are_charged_at_the_claim_and_refunded_by_a_recorded_end(harness: Harness) -> None:
    harness.probed(chunks=1, audio=False)
    claim = harness.take()
    assert harness.task(claim).losses == 1
    harness.done(claim)
    assert counters(harness, claim) == (1, 0, 0, 0, 0)


def test_three_crashes_quarantine_the_task_and_name_the_signal(harness: Harness) -> None:
    job_id = harness.probed(chunks=2, audio=False)
    for attempt in range(3):
        assert harness.job(job_id).status == JobStatus.PROCESSING, attempt
        claim = harness.take()
        assert claim.index == 0
        harness.crash(claim)
        harness.shift_clock(2)
    job = harness.job(job_id)
    assert job.status == JobStatus.FAILED
    assert job.error is not None
    assert job.error["code"] == "worker_crashed"
    assert "SIGSEGV, 3 times" in job.error["detail"]
    assert harness.claim() is None
    assert harness.stage(job_id, "encode").crashes == 3


def test_ten_lost_workers_quarantine(harness: Harness) -> None:
    job_id = harness.probed(chunks=1, audio=False)
    for lost in range(10):
        assert harness.stage(job_id, "encode").losses == lost
        harness.take()
        harness.sweep(after_s=31)
    job = harness.job(job_id)
    assert (job.status, (job.error or {})["code"]) == (JobStatus.FAILED, "worker_crashed")


def test_ten_doubts_quarantine(harness: Harness) -> None:
    job_id = harness.probed(chunks=1, audio=False)
    for _ in range(10):
        assert harness.job(job_id).status == JobStatus.PROCESSING
        setback(Happening.DOUBT)(harness, harness.take())
        harness.shift_clock(61)
    job = harness.job(job_id)
    assert (job.status, (job.error or {})["code"]) == (JobStatus.FAILED, "worker_crashed")


def test_outages_back_off_without_end_and_are_charged_to_nobody(harness: Harness) -> None:
    harness.probed(chunks=1, audio=False)
    delays = []
    for _ in range(12):
        claim = harness.take()
        record.record_setback(harness.runtime, claim, Happening.OUTAGE, "was hurt", StoreUnavailableError("no store"))
        task = harness.task(claim)
        assert task.not_before is not None
        assert task.ready_at is not None
        delays.append((task.not_before - task.ready_at).total_seconds())
        assert (task.crashes, task.losses, task.doubts) == (0, 0, 0)
        assert (task.error or {})["code"] == "store_unavailable"
        assert harness.claim() is None
        harness.shift_clock(61)
    assert delays == [1, 2, 4, 8, 16, 32, 60, 60, 60, 60, 60, 60]


def test_a_graceful_stop_charges_no_attempt(harness: Harness) -> None:
    harness.probed(chunks=1, audio=False)
    claim = harness.take()
    setback(Happening.RELEASED)(harness, claim)
    assert (counters(harness, claim), harness.task(claim).state) == ((0, 0, 0, 0, 0), StageState.WAITING)
    assert harness.take().token == claim.token + 1


def test_progress_never_goes_back(harness: Harness) -> None:
    job_id = harness.probed(chunks=2, audio=False)
    claim = harness.take()
    record.record_progress(harness.runtime, claim, {"progress": 0.5, "frames": {"360p": 30}})
    before = harness.job(job_id).progress
    assert before > 0.2
    harness.crash(claim)
    harness.shift_clock(2)
    again = harness.take()
    record.record_progress(harness.runtime, again, {"progress": 0.0, "frames": {"360p": 1}})
    assert harness.job(job_id).progress == before
    progress = [event["data"]["progress"] for event in harness.events if event["kind"] == "progress"]
    assert progress == sorted(progress)
    assert 0 < progress[-1] < 1


def test_progress_of_a_lost_claim_is_not_written(harness: Harness) -> None:
    job_id = harness.probed(chunks=1, audio=False)
    stale = harness.take()
    harness.sweep(after_s=31)
    fresh, told = harness.take(worker="w2"), len(harness.events)
    record.record_progress(harness.runtime, stale, {"progress": 0.9})
    assert harness.task(fresh).progress == {}
    assert len(harness.events) == told
    assert harness.job(job_id).progress < 0.1


@pytest.mark.parametrize("cancelled", [False, True])
def test_a_part_that_comes_too_late_is_not_recorded_and_is_garbage(harness: Harness, cancelled: bool) -> None:
    job_id = harness.probed(chunks=1)
    claim = harness.take(Queue.AUDIO)
    if cancelled:
        harness.cancel(job_id)
    assert harness.part(claim, 0) is not cancelled
    key = harness.runtime.stages["audio"].key(claim, "audio.0.m4s")
    assert (key in harness.garbage()) is cancelled
    harness.sweep(after_s=25 * 3600)
    assert (key in harness.objects()) is not cancelled
