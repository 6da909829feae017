"""One attempt: however it goes, the right thing is recorded and no file is left."""

import errno
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from threading import Event
from typing import Any

import pytest

from sfserver.errors import (
    DamagedMediaError,
    DatabaseUnavailableError,
    MediaLimitError,
    OutageError,
    StorageFullError,
    StoreUnavailableError,
)
from sfserver.infra.queue.contract import Queue
from sfserver.infra.removal import remove_tree
from sfserver.media.sandbox.parent import ChildCrashed, ChildLost, ChildTrouble, Stopped, StopReason
from sfserver.models import Job
from sfserver.tasks import attempt as attempts
from sfserver.tasks import record
from sfserver.tasks.stage import Claim
from sfserver.wire.jobs import JobStatus, StageState
from tests.tasks import made
from tests.tasks.harness import Harness
from tests.tasks.stub_sandbox import StubSandbox
from tests.tasks.workshop import Workshop

FULL = "the disk is full: No space left on device"


@pytest.fixture
def shop(harness: Harness, monkeypatch: pytest.MonkeyPatch) -> Workshop:
    """Return a workshop on a machine that is short of nothing, where insisting takes no time."""
    machine(monkeypatch, None)
    monkeypatch.setattr(attempts, "_INSIST_S", 0.0)
    return Workshop(harness, StubSandbox())


def machine(monkeypatch: pytest.MonkeyPatch, outage: str | None) -> None:
    monkeypatch.setattr(attempts, "find_outage", lambda *_of, **_how: outage)


def counted(harness: Harness, claim: Claim) -> dict[str, int]:
    """Return what was charged, but for attempts."""
    task = harness.task(claim)
    named = {"crashes": task.crashes, "losses": task.losses, "outages": task.outages, "doubts": task.doubts}
    return {name: count for name, count in named.items() if count}


def test_attempts_take_a_job_from_its_upload_to_its_publication(shop: Workshop) -> None:
    job_id = shop.harness.new_job()
    shop.finish()
    assert shop.harness.job(job_id).status == JobStatus.READY
    assert shop.sandbox.runs == {"probe": 1, "encode": 2, "audio": 1, "package": 1, "poster": 1}
    assert list(shop.folder.iterdir()) == []
    shop.harness.check_nothing_leaked()


def test_a_child_gets_its_source_its_niceness_and_its_bounds(shop: Workshop) -> None:
    shop.harness.new_job()
    claim = shop.work(Queue.IO)
    root = shop.harness.runtime.settings.data_dir / "objects"
    settings = shop.harness.runtime.settings.sandbox
    assert shop.sandbox.asked["readable"] == [root / claim.source_key]
    assert shop.sandbox.asked["cpu_s"] == pytest.approx(settings.probe_cpu_s, rel=0.01)
    assert 0 < shop.sandbox.asked["output_bytes"] <= 3 * claim.source_size_bytes + settings.output_slack_bytes
    shop.work(Queue.INSIGHT)
    assert shop.sandbox.asked["nice"] == 19


@pytest.mark.parametrize(
    ("end", "charged", "code"),
    [
        (ChildCrashed("was killed by SIGSEGV"), {"crashes": 1}, None),
        (ChildTrouble(errno.ENOMEM, "no memory"), {"doubts": 1}, "outage"),
        (ChildLost("its fork server is gone"), {"losses": 1}, None),
        (Stopped(StopReason.SHUTDOWN), {}, None),
        (Stopped(StopReason.CANCELLED), {}, None),
        (StoreUnavailableError("no store"), {"outages": 1}, "store_unavailable"),
        (OutageError("no process could be started"), {"outages": 1}, "outage"),
        (DatabaseUnavailableError("locked"), {"outages": 1}, "database_unavailable"),
        (OSError(errno.EMFILE, "Too many open files"), {"doubts": 1}, "outage"),
        (ZeroDivisionError(), {"crashes": 1}, None),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Exception) else None,
)
def test_what_may_pass_puts_the_task_back(
    shop: Workshop, end: Exception, charged: dict[str, int], code: str | None
) -> None:
    shop.harness.probed(chunks=2)
    shop.sandbox.ends["encode"] = [end]
    claim = shop.work(Queue.ENCODE)
    task = shop.harness.task(claim)
    assert task.state == StageState.WAITING
    assert counted(shop.harness, claim) == charged
    assert (task.error or {}).get("code") == code
    assert shop.harness.job(claim.job_id).status == JobStatus.PROCESSING
    shop.harness.shift_clock(2)
    assert shop.harness.take().task_id == claim.task_id


def test_a_folder_removed_under_a_running_step_is_charged_to_nobody(shop: Workshop) -> None:
    shop.harness.probed(chunks=2)
    shop.sandbox.ends["encode"] = [ChildCrashed("exited with status 1")]
    shop.sandbox.during = lambda: remove_tree(shop.folder)
    claim = shop.work(Queue.ENCODE)
    assert counted(shop.harness, claim) == {"outages": 1}
    assert "removed" in (shop.harness.task(claim).error or {})["detail"]


@pytest.mark.parametrize(
    "end",
    [ChildCrashed("exited with status 1"), ChildTrouble(errno.ENOSPC, "no room"), OSError(errno.ENOSPC, "no room")],
)
def test_what_the_worker_sees_itself_is_an_outage_whatever_died_of_it(
    shop: Workshop, monkeypatch: pytest.MonkeyPatch, end: Exception
) -> None:
    machine(monkeypatch, FULL)
    job_id = shop.harness.probed(chunks=1)
    for number in range(1, 15):
        shop.sandbox.ends["encode"] = [end]
        claim = shop.work(Queue.ENCODE)
        assert counted(shop.harness, claim) == {"outages": number}
        shop.harness.shift_clock(61)
    error = shop.harness.task(claim).error or {}
    assert error["detail"] == FULL
    assert error["hint"]
    machine(monkeypatch, None)
    shop.finish()
    assert shop.harness.job(job_id).status == JobStatus.READY


@pytest.mark.parametrize("end", [DamagedMediaError("no frame"), MediaLimitError("pixels", limit=1, value=2)])
def test_a_refusal_fails_the_job_at_once(shop: Workshop, end: DamagedMediaError) -> None:
    job_id = shop.harness.probed(chunks=2)
    shop.sandbox.ends["encode"] = [end]
    claim = shop.work(Queue.ENCODE)
    assert shop.harness.task(claim).state == StageState.FAILED
    assert (shop.harness.job(job_id).error or {})["code"] == end.code
    assert shop.harness.claim() is None


def test_a_lost_task_is_left_as_it_is(shop: Workshop) -> None:
    shop.harness.probed(chunks=1)
    shop.sandbox.ends["encode"] = [Stopped(StopReason.LOST)]
    claim = shop.work(Queue.ENCODE)
    assert (shop.harness.task(claim).state, counted(shop.harness, claim)) == (StageState.RUNNING, {"losses": 1})


def test_who_says_stop_is_told_to_the_child(shop: Workshop) -> None:
    shop.harness.probed(chunks=4)
    stopped: list[StopReason | None] = []
    for index, why in enumerate(("cancel", "lost", "stop")):
        attempt = shop.attempt(shop.harness.take())
        assert attempt.claim.index == index
        if why == "cancel":
            attempt.cancel()
        elif why == "lost":
            attempt._heartbeat.lost = True
        else:
            shop.stopping.set()
        stopped.append(attempt._why_stop())
    assert stopped == [StopReason.CANCELLED, StopReason.LOST, StopReason.SHUTDOWN]


def test_a_cancelled_job_stays_cancelled_when_its_attempt_ends(shop: Workshop) -> None:
    job_id = shop.harness.probed(chunks=1)
    attempt = shop.attempt(shop.harness.take())
    shop.harness.cancel(job_id)
    attempt.cancel()
    attempt.run()
    assert shop.harness.task(attempt.claim).state == StageState.CANCELLED
    shop.harness.check_nothing_leaked()


@pytest.mark.parametrize("happens", [False, True], ids=["the commit did not happen", "its acknowledgement was lost"])
@pytest.mark.parametrize(
    ("end", "function"),
    [
        (None, "record_success"),
        (ChildCrashed("died"), "record_setback"),
        (StoreUnavailableError(), "record_setback"),
        (DamagedMediaError(), "record_failure"),
    ],
)
def test_an_end_is_recorded_through_an_outage_of_the_database_and_charged_once(
    shop: Workshop, monkeypatch: pytest.MonkeyPatch, end: Exception | None, function: str, happens: bool
) -> None:
    shop.harness.probed(chunks=2)
    shop.sandbox.ends["encode"] = [end] if end else []
    real, left = getattr(record, function), [5]

    def failing(*of: Any, **how: Any) -> Any:
        outcome = real(*of, **how) if happens or not left[0] else None
        if left[0]:
            left[0] -= 1
            raise DatabaseUnavailableError("the disk is full")
        return outcome

    monkeypatch.setattr(record, function, failing)
    claim = shop.work(Queue.ENCODE)
    expected = {
        type(None): (StageState.DONE, {}),
        ChildCrashed: (StageState.WAITING, {"crashes": 1}),
        StoreUnavailableError: (StageState.WAITING, {"outages": 1}),
        DamagedMediaError: (StageState.FAILED, {}),
    }[type(end)]
    assert (shop.harness.task(claim).state, counted(shop.harness, claim)) == expected
    assert shop.sandbox.runs["encode"] == 1, "what has been done is not done again"
    assert shop.harness.runtime.troubles == {}
    shop.harness.check()


def test_a_worker_that_stops_does_not_insist(shop: Workshop, monkeypatch: pytest.MonkeyPatch) -> None:
    shop.harness.probed(chunks=1)
    shop.sandbox.during = shop.stopping.set
    tried = []

    def away(*_of: Any, **_how: Any) -> None:
        tried.append(1)
        raise DatabaseUnavailableError

    monkeypatch.setattr(record, "record_setback", away)
    claim = shop.work(Queue.ENCODE)
    assert len(tried) == 1
    assert shop.harness.task(claim).state == StageState.RUNNING


def test_nothing_is_started_without_room_for_what_it_may_make(shop: Workshop, monkeypatch: pytest.MonkeyPatch) -> None:
    shop.harness.probed(chunks=1)
    monkeypatch.setattr(shop.harness.store, "free_bytes", lambda: 70 << 20)
    claim = shop.work(Queue.ENCODE)
    assert shop.sandbox.runs["encode"] == 0
    assert counted(shop.harness, claim) == {"outages": 1}
    error = shop.harness.task(claim).error or {}
    assert (error["code"], "make room" in error["hint"]) == ("storage_full", True)
    monkeypatch.setattr(shop.harness.store, "free_bytes", lambda: None)
    shop.harness.shift_clock(2)
    shop.work(Queue.ENCODE)
    assert shop.harness.task(claim).state == StageState.DONE


def test_a_source_that_is_gone_fails_the_job_and_says_so(shop: Workshop) -> None:
    job_id = shop.harness.new_job()
    shop.harness.store.delete(shop.harness.video(job_id).source_key)
    shop.work(Queue.IO)
    assert (shop.harness.job(job_id).error or {})["code"] == "source_missing"


def test_a_recorded_part_that_is_gone_fails_the_job_with_the_way_out(shop: Workshop) -> None:
    job_id = shop.harness.probed(chunks=1, audio=False)
    claim = shop.work(Queue.ENCODE)
    shop.harness.store.delete(shop.harness.runtime.stages["encode"].keys(claim)[0])
    shop.work(Queue.IO)
    error = shop.harness.job(job_id).error or {}
    assert (error["code"], "reprocess" in error["hint"]) == ("source_missing", True)


@pytest.mark.parametrize("fails_at", [0, 1])
def test_a_store_that_fails_half_way_is_an_outage_and_leaves_nothing(
    shop: Workshop, monkeypatch: pytest.MonkeyPatch, fails_at: int
) -> None:
    job_id = shop.harness.probed(chunks=1, audio=False)
    put = shop.harness.store.put_file
    seen: list[str] = []

    def failing(key: str, path: Path, on_bytes: Callable[[int], None] | None = None) -> None:
        if len(seen) == fails_at:
            seen.append("")
            raise StorageFullError("no room", errno=errno.ENOSPC)
        seen.append(key)
        put(key, path, on_bytes)

    monkeypatch.setattr(shop.harness.store, "put_file", failing)
    claim = shop.work(Queue.INSIGHT)
    assert counted(shop.harness, claim) == {"outages": 1}
    shop.harness.shift_clock(2)
    shop.finish()
    assert shop.harness.job(job_id).status == JobStatus.READY
    shop.harness.check_nothing_leaked()


@pytest.mark.parametrize("name", ["nonsense", "../../source", "360p.1.m4s"])
def test_a_result_that_names_a_file_nobody_announced_costs_an_attempt(
    shop: Workshop, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    shop.harness.probed(chunks=1)
    honest = made.chunk_result(0)
    lie = replace(honest, parts={made.RUNG: replace(honest.parts[made.RUNG], file=name)})
    monkeypatch.setattr(shop.sandbox, "_make", lambda *_of: lie)
    before = shop.harness.objects()
    claim = shop.work(Queue.ENCODE)
    assert counted(shop.harness, claim) == {"crashes": 1}
    assert shop.harness.objects() == before


def test_a_result_that_names_a_file_that_was_not_made_costs_an_attempt(
    shop: Workshop, monkeypatch: pytest.MonkeyPatch
) -> None:
    shop.harness.probed(chunks=1)
    monkeypatch.setattr(shop.sandbox, "_make", lambda *_of: made.chunk_result(0))
    claim = shop.work(Queue.ENCODE)
    assert counted(shop.harness, claim) == {"crashes": 1}


def test_a_stall_outside_the_run_is_an_outage_and_starts_no_child_afterwards(
    shop: Workshop, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The store keeps the attempt's thread for ever; when it lets go after all, somebody else may have the task."""
    shop.harness.probed(chunks=1)
    settings, fetch, recorded = shop.harness.runtime.settings, shop.harness.store.fetch, Event()
    settings.sandbox.stall_s, settings.worker.beat_s = 0.0, 0.001
    real = record.record_setback

    def setback(*of: Any, **how: Any) -> Any:
        outcome = real(*of, **how)
        recorded.set()
        return outcome

    def stuck(*of: Any) -> Path:
        assert recorded.wait(30)
        return fetch(*of)

    monkeypatch.setattr(record, "record_setback", setback)
    monkeypatch.setattr(shop.harness.store, "fetch", stuck)
    claim = shop.work(Queue.ENCODE)
    task = shop.harness.task(claim)
    assert (task.state, counted(shop.harness, claim)) == (StageState.WAITING, {"outages": 1})
    assert "nothing was read or stored" in (task.error or {})["detail"]
    assert shop.sandbox.last_result is None
    assert shop.harness.rows(Job)[0].status == JobStatus.PROCESSING


def test_what_is_stored_after_a_stall_counts_if_nobody_took_the_task(
    shop: Workshop, monkeypatch: pytest.MonkeyPatch
) -> None:
    shop.harness.probed(chunks=1)
    settings, put, recorded = shop.harness.runtime.settings, shop.harness.store.put_file, Event()
    settings.worker.beat_s = 0.001
    real = record.record_setback

    def setback(*of: Any, **how: Any) -> Any:
        outcome = real(*of, **how)
        recorded.set()
        return outcome

    def stuck(*of: Any) -> None:
        settings.sandbox.stall_s = 0.0
        attempt._heartbeat._stall_s = 0.0
        assert recorded.wait(30)
        put(*of)

    monkeypatch.setattr(record, "record_setback", setback)
    monkeypatch.setattr(shop.harness.store, "put_file", stuck)
    attempt = shop.attempt(shop.harness.take())
    attempt.run()
    assert shop.harness.task(attempt.claim).state == StageState.DONE
