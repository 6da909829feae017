"""The sweeper: expired leases, unrung work, and a clock that was set back."""

import pytest

from sfserver.errors import DamagedMediaError, StoreUnavailableError
from sfserver.infra.clock import db_now
from sfserver.infra.queue.contract import Queue
from sfserver.models import JobStage, WorkerNode
from sfserver.tasks import record, sweep
from sfserver.tasks.record import Beat, Recorded
from sfserver.tasks.states import Happening
from sfserver.wire.jobs import JobStatus, StageState
from tests.tasks.harness import Harness

HOUR_S = 3600.0


def see(harness: Harness, worker: str) -> None:
    """Have a worker say that it lives."""
    with harness.runtime.database.write() as session:
        now = db_now(session)
        session.merge(WorkerNode(id=worker, host="here", started_at=now, seen_at=now))


def test_only_leases_that_are_over_are_taken_back(harness: Harness) -> None:
    harness.probed(chunks=2, audio=False)
    old = harness.take()
    harness.sweep(after_s=20)
    young = harness.take(worker="w2")
    harness.sweep(after_s=11)
    assert (harness.task(old).state, harness.task(young).state) == (StageState.WAITING, StageState.RUNNING)
    assert harness.task(old).losses == 1
    assert harness.stage(old.job_id, "encode").losses == 1


def test_a_beat_keeps_the_lease(harness: Harness) -> None:
    harness.probed(chunks=1, audio=False)
    claim = harness.take()
    for _ in range(4):
        harness.shift_clock(20)
        assert record.beat(harness.runtime, claim) is Beat.OWNED
        harness.sweep()
    assert harness.task(claim).state == StageState.RUNNING


def test_a_worker_that_lives_but_could_not_reach_the_database_is_charged_nothing(harness: Harness) -> None:
    harness.probed(chunks=1, audio=False)
    claim = harness.take()
    for _ in range(12):
        harness.shift_clock(31)
        see(harness, "w1")
        harness.sweep()
        assert harness.task(claim).state == StageState.RUNNING
        assert record.beat(harness.runtime, claim) is Beat.OWNED
    assert harness.stage(claim.job_id, "encode").losses == 0
    assert harness.done(claim) is Recorded.RECORDED
    assert harness.task(claim).losses == 0


def test_a_worker_that_lives_and_has_not_beaten_for_ten_leases_has_lost_its_task(harness: Harness) -> None:
    harness.probed(chunks=1, audio=False)
    claim = harness.take()
    harness.shift_clock(31 + 9 * 30)
    see(harness, "w1")
    harness.sweep()
    assert harness.task(claim).state == StageState.RUNNING
    harness.shift_clock(30)
    see(harness, "w1")
    harness.sweep()
    assert (harness.task(claim).state, harness.task(claim).losses) == (StageState.WAITING, 1)


@pytest.mark.parametrize("jump_s", [HOUR_S, 24 * HOUR_S, -HOUR_S, -24 * HOUR_S])
def test_a_clock_that_jumps_takes_nothing_from_the_process_it_runs_under(harness: Harness, jump_s: float) -> None:
    harness.probed(chunks=1, audio=False)
    claim = harness.take()
    harness.shift_clock(jump_s)
    sweep.sweep(harness.runtime, sweep.Here(is_running=lambda task_id: task_id == claim.task_id))
    assert harness.task(claim).state == StageState.RUNNING
    assert record.beat(harness.runtime, claim) is Beat.OWNED
    assert harness.stage(claim.job_id, "encode").losses == 0


@pytest.mark.parametrize("how", ["beats", "records", "crashes"])
def test_a_loss_that_was_none_is_uncounted(harness: Harness, how: str) -> None:
    harness.probed(chunks=1, audio=False)
    claim = harness.take()
    harness.sweep(after_s=31)
    assert harness.stage(claim.job_id, "encode").losses == 1
    if how == "beats":
        assert record.beat(harness.runtime, claim) is Beat.PUT_BACK
    elif how == "records":
        assert harness.done(claim) is Recorded.RECORDED
    else:
        harness.crash(claim)
    assert harness.stage(claim.job_id, "encode").losses == 0


def test_a_worker_that_was_last_seen_before_its_lease_ended_is_gone(harness: Harness) -> None:
    harness.probed(chunks=1, audio=False)
    see(harness, "w1")
    claim = harness.take()
    harness.sweep(after_s=31)
    assert harness.task(claim).losses == 1


def test_a_sweep_done_twice_does_no_more(harness: Harness) -> None:
    harness.probed(chunks=2, audio=False)
    claim = harness.take()
    harness.sweep(after_s=31)
    before = (harness.task(claim).losses, harness.garbage(), len(harness.events))
    harness.sweep()
    assert (harness.task(claim).losses, harness.garbage(), len(harness.events)) == before


def test_work_that_nobody_rang_for_is_rung_for_and_nothing_else_is(harness: Harness) -> None:
    harness.probed(chunks=1, audio=False)
    harness.doorbell.rings.clear()
    harness.sweep()
    assert set(harness.doorbell.rings) == {Queue.ENCODE, Queue.INSIGHT}
    running = [harness.take(), harness.take(Queue.INSIGHT)]
    harness.doorbell.rings.clear()
    harness.sweep()
    assert not harness.doorbell.rings
    record.record_setback(harness.runtime, running[0], Happening.OUTAGE, "no store", StoreUnavailableError())
    harness.sweep()
    assert not harness.doorbell.rings, "it waits for its time"
    harness.sweep(after_s=2)
    assert set(harness.doorbell.rings) == {Queue.ENCODE}


def test_nothing_to_do_is_not_rung_for(harness: Harness) -> None:
    harness.ready(chunks=1)
    harness.cancel(harness.new_job())
    harness.doorbell.rings.clear()
    for _ in range(20):
        harness.sweep()
    assert not harness.doorbell.rings


@pytest.mark.parametrize("back_s", [-HOUR_S, -24 * HOUR_S, -300.0])
def test_a_clock_set_back_holds_up_no_retry(harness: Harness, back_s: float) -> None:
    job_id = harness.probed(chunks=1, audio=False)
    for _ in range(7):
        record.record_setback(harness.runtime, harness.take(), Happening.OUTAGE, "no store", StoreUnavailableError())
        harness.shift_clock(61)
    claim = harness.take()
    record.record_setback(harness.runtime, claim, Happening.OUTAGE, "no store", StoreUnavailableError())
    harness.shift_clock(back_s)
    harness.sweep(after_s=60)
    assert harness.doorbell.rings[Queue.ENCODE]
    harness.finish()
    assert harness.job(job_id).status == JobStatus.READY


@pytest.mark.parametrize("back_s", [-1.0, -29.0, -59.0])
def test_a_clock_set_back_a_little_holds_up_a_retry_no_longer_than_the_longest_wait(
    harness: Harness, back_s: float
) -> None:
    job_id = harness.probed(chunks=1, audio=False)
    record.record_setback(harness.runtime, harness.take(), Happening.OUTAGE, "no store", StoreUnavailableError())
    harness.shift_clock(back_s)
    harness.sweep(after_s=60)
    harness.finish()
    assert harness.job(job_id).status == JobStatus.READY


@pytest.mark.parametrize("back_s", [-HOUR_S, -120.0, -59.0, -31.0])
def test_a_clock_set_back_keeps_no_dead_workers_lease(harness: Harness, back_s: float) -> None:
    job_id = harness.probed(chunks=1, audio=False)
    claim = harness.take()
    harness.shift_clock(back_s)
    harness.sweep(after_s=60)
    harness.sweep(after_s=31)
    assert harness.task(claim).state == StageState.WAITING
    harness.finish()
    assert harness.job(job_id).status == JobStatus.READY


def test_a_clock_set_back_takes_nothing_from_a_worker_that_beats(harness: Harness) -> None:
    harness.probed(chunks=1, audio=False)
    claim = harness.take()
    harness.shift_clock(-HOUR_S)
    harness.sweep()
    assert record.beat(harness.runtime, claim) in {Beat.OWNED, Beat.PUT_BACK}
    harness.sweep()
    assert harness.task(claim).state == StageState.RUNNING
    assert harness.done(claim) is Recorded.RECORDED
    assert harness.task(claim).losses == 0


def test_a_boot_opens_what_could_have_been_opened(harness: Harness) -> None:
    """A stage that an older version of the pipeline knew nothing of, or opened differently."""
    job_id = harness.probed(chunks=1, audio=False)
    with harness.runtime.database.write() as session:
        row = session.get_one(JobStage, (job_id, "poster"))
        for task in harness.tasks(job_id, "poster"):
            session.delete(session.merge(task))
        row.opened_at, row.tasks, row.units = None, 0, 0
    sweep.resume_after_boot(harness.runtime)
    assert harness.take(Queue.INSIGHT).kind == "poster"


def test_a_lease_is_as_long_as_set(harness: Harness) -> None:
    harness.probed(chunks=1, audio=False)
    task = harness.task(harness.take())
    assert task.lease_until is not None
    assert task.started_at is not None
    assert (task.lease_until - task.started_at).total_seconds() == harness.runtime.settings.worker.lease_s


def test_a_retry_begins_with_no_losses_of_the_stage_either(harness: Harness) -> None:
    job_id = harness.probed(chunks=1)
    harness.vanish(harness.take())
    harness.shift_clock(2)
    claim = harness.take()
    assert record.record_failure(harness.runtime, claim, DamagedMediaError("no frames")) is Recorded.RECORDED
    assert (harness.task(claim).losses, harness.stage(job_id, "encode").losses) == (1, 1)
    harness.retry(job_id)
    assert (harness.task(claim).losses, harness.stage(job_id, "encode").losses) == (0, 0)
