"""Claims, leases, fencing and the two counters."""

from datetime import timedelta

import pytest
from sqlalchemy.exc import IntegrityError

from sfserver.errors import DamagedMediaError, StoreUnavailableError
from sfserver.infra.db import db_now
from sfserver.infra.queue import Queue
from sfserver.jobs import recording, service, sweep
from sfserver.models import Job, Task, Video
from sfserver.wire.jobs import JobStatus, StageState
from tests.jobs.conftest import RUN, House, encode_result


def task_of(house: House, task_id: str) -> Task:
    with house.runtime.database.read() as session:
        return session.get_one(Task, task_id)


def test_a_claim_starts_the_job_and_takes_the_task_away(house: House) -> None:
    job_id = house.new_job()
    claim = house.must_claim(Queue.IO)
    assert (claim.job_id, claim.kind, claim.token) == (job_id, "probe", 1)
    assert house.job(job_id).status == JobStatus.PROCESSING
    assert house.claim(Queue.IO, "w2") is None
    kinds = [(event["kind"], event["data"].get("status")) for event in house.events]
    assert kinds == [("state", "queued"), ("state", "processing"), ("stage", None)]


def test_a_new_job_rings_only_after_its_transaction_is_committed(house: House) -> None:
    house.new_job()
    assert house.rings[Queue.IO] == 1
    with pytest.raises(IntegrityError), house.runtime.database.write() as session:
        service.add_task(session, house.runtime, Task(job_id="no such job", kind="probe", queue=Queue.IO))
    assert house.rings[Queue.IO] == 1


def test_short_clips_pass_long_films(house: House) -> None:
    film = house.probed(chunks=5, audio=False, title="film")
    first = house.must_claim()
    clip = house.probed(chunks=1, audio=False, title="clip")
    order = [(first.job_id, first.index)] + [(c.job_id, c.index) for c in (house.must_claim(), house.must_claim())]
    assert order == [(film, 0), (clip, 0), (film, 1)]


def test_chunks_are_claimed_in_order(house: House) -> None:
    house.probed(chunks=4, audio=False)
    assert [house.must_claim().index for _ in range(4)] == [0, 1, 2, 3]
    assert house.claim() is None


def test_a_stale_token_cannot_record(house: House, finish) -> None:  # type: ignore[no-untyped-def]
    house.probed(chunks=1, audio=False)
    stale = house.must_claim()
    house.shift_clock(31)
    sweep.sweep(house.runtime)
    fresh = house.must_claim(worker="w2")
    assert fresh.token == stale.token + 1
    assert not recording.beat(house.runtime, stale)
    assert not finish(stale)
    assert task_of(house, stale.task_id).state == StageState.RUNNING
    assert finish(fresh)
    assert not finish(fresh)
    assert task_of(house, stale.task_id).state == StageState.DONE


def test_a_worker_that_slept_goes_on_if_nobody_took_its_task(house: House, finish) -> None:  # type: ignore[no-untyped-def]
    house.probed(chunks=1, audio=False)
    claim = house.must_claim()
    house.shift_clock(31)
    sweep.sweep(house.runtime)
    assert task_of(house, claim.task_id).state == StageState.WAITING
    assert recording.beat(house.runtime, claim)
    assert house.claim(worker="w2") is None
    assert finish(claim)


def test_losses_are_charged_at_the_claim_and_refunded_by_a_recorded_end(house: House, finish) -> None:  # type: ignore[no-untyped-def]
    house.probed(chunks=1, audio=False)
    claim = house.must_claim()
    assert task_of(house, claim.task_id).losses == 1
    finish(claim)
    done = task_of(house, claim.task_id)
    assert (done.losses, done.crashes, done.attempts) == (0, 0, 1)


def test_three_crashes_quarantine_the_task_and_name_the_signal(house: House) -> None:
    job_id = house.probed(chunks=2, audio=False)
    for attempt in range(3):
        assert house.job(job_id).status == JobStatus.PROCESSING, attempt
        claim = house.must_claim()
        assert claim.index == 0
        recording.record_crash(house.runtime, claim, "was killed by SIGSEGV")
        house.shift_clock(2)
    job = house.job(job_id)
    assert job.status == JobStatus.FAILED
    assert job.error is not None
    assert job.error["code"] == "worker_crashed"
    assert "SIGSEGV" in job.error["detail"]
    assert house.claim() is None


def test_a_task_that_lost_three_workers_runs_alone(house: House) -> None:
    house.probed(chunks=1, audio=False)
    for _ in range(3):
        house.must_claim()
        house.shift_clock(31)
        sweep.sweep(house.runtime)
    other = house.probed(chunks=3, audio=False)
    poison = house.must_claim()
    assert poison.job_id != other
    assert house.claim() is None, "nothing may run beside it"
    beside = house.must_claim(worker="w2")
    recording.release(house.runtime, poison)
    assert beside.job_id == other
    assert [house.must_claim(worker="w2").job_id for _ in range(2)] == [other, other]
    assert house.claim(worker="w2") is None, "it must wait until the worker is free"
    assert house.must_claim(worker="w3").task_id == poison.task_id


def test_ten_losses_quarantine(house: House) -> None:
    job_id = house.probed(chunks=1, audio=False)
    for _ in range(10):
        house.must_claim()
        house.shift_clock(31)
        sweep.sweep(house.runtime)
    job = house.job(job_id)
    assert (job.status, (job.error or {})["code"]) == (JobStatus.FAILED, "worker_crashed")


def test_outages_back_off_without_end_and_count_in_neither_counter(house: House) -> None:
    house.probed(chunks=1, audio=False)
    delays = []
    for _ in range(9):
        claim = house.must_claim()
        recording.record_outage(house.runtime, claim, StoreUnavailableError())
        task = task_of(house, claim.task_id)
        with house.runtime.database.read() as session:
            assert task.not_before is not None
            delays.append(round((task.not_before - db_now(session)) / timedelta(seconds=1)))
        assert (task.crashes, task.losses) == (0, 0)
        assert house.claim() is None
        house.shift_clock(61)
    assert delays == [1, 2, 4, 8, 16, 32, 60, 60, 60]


def test_a_graceful_stop_charges_no_attempt(house: House) -> None:
    house.probed(chunks=1, audio=False)
    claim = house.must_claim()
    recording.release(house.runtime, claim)
    task = task_of(house, claim.task_id)
    assert (task.attempts, task.losses, task.state) == (0, 0, StageState.WAITING)
    assert house.must_claim().token == claim.token + 1


def test_a_boot_puts_every_running_task_back_at_once(house: House) -> None:
    house.probed(chunks=2, audio=False)
    first, second = house.must_claim(), house.must_claim()
    sweep.resume_after_boot(house.runtime)
    again = [house.must_claim(), house.must_claim()]
    assert [claim.index for claim in again] == [first.index, second.index]
    assert [claim.token for claim in again] == [2, 2]
    assert task_of(house, first.task_id).losses == 1, "a boot is nobody's fault"


def test_cancel_fences_running_tasks_and_tells_their_workers(house: House, finish) -> None:  # type: ignore[no-untyped-def]
    job_id = house.probed(chunks=2, audio=False)
    claim = house.must_claim()
    cancelled: list[dict[str, object]] = []
    house.runtime.bus.subscribe("cancel", cancelled.append)
    with house.runtime.database.write() as session:
        service.cancel_job(session, house.runtime, session.get_one(Job, job_id))
    assert cancelled == [{"job_id": job_id}]
    assert not recording.beat(house.runtime, claim)
    assert not finish(claim)
    assert house.claim() is None
    assert house.job(job_id).status == JobStatus.CANCELLED
    assert [event["kind"] for event in house.events][-2:] == ["state", "done"]


def test_the_package_waits_for_every_chunk_and_the_audio(house: House, finish) -> None:  # type: ignore[no-untyped-def]
    house.probed(chunks=2)
    kinds = []
    for _ in range(3):
        assert house.claim(Queue.IO) is None
        claim = house.must_claim()
        kinds.append(claim.kind)
        result = encode_result() if claim.kind == "encode" else {"audio": {}}
        assert recording.record_success(house.runtime, claim, RUN, result)
    assert sorted(kinds) == ["audio", "encode", "encode"]
    assert house.must_claim(Queue.IO).kind == "package"


def test_a_video_of_which_a_tenth_is_damaged_is_kept_with_a_warning(house: House, finish) -> None:  # type: ignore[no-untyped-def]
    job_id = house.probed(chunks=2, audio=False)
    assert finish(house.must_claim(), 6)
    assert finish(house.must_claim(), 6)
    assert house.job(job_id).warnings[0]["code"] == "damaged_frames"
    worse = house.probed(chunks=2, audio=False)
    assert finish(house.must_claim(), 6)
    last = house.must_claim()
    with pytest.raises(DamagedMediaError) as refusal:
        finish(last, 7)
    recording.record_failure(house.runtime, last, refusal.value)
    assert (house.job(worse).error or {})["code"] == "damaged_media"


def test_progress_never_goes_back(house: House) -> None:
    job_id = house.probed(chunks=2, audio=False)
    claim = house.must_claim()
    recording.record_progress(house.runtime, claim, {"progress": 0.5, "frames": {"360p": 30}})
    before = house.job(job_id).progress
    assert before > 0.2
    recording.record_crash(house.runtime, claim, "died")
    house.shift_clock(2)
    again = house.must_claim()
    recording.record_progress(house.runtime, again, {"progress": 0.0, "frames": {"360p": 1}})
    assert house.job(job_id).progress == before
    progress = [event["data"]["progress"] for event in house.events if event["kind"] == "progress"]
    assert progress == sorted(progress)
    assert 0 < progress[-1] < 1


def test_orphans_of_finished_jobs_go_and_published_files_stay(house: House) -> None:
    store = house.runtime.store
    job_id = house.probed(chunks=1, audio=False)
    assert recording.record_success(house.runtime, house.must_claim(), RUN, encode_result())
    lost = house.must_claim(Queue.IO)
    house.shift_clock(31)
    sweep.sweep(house.runtime)
    claim = house.must_claim(Queue.IO)
    for key in (f"{claim.prefix}/x", f"{lost.publish_prefix}/v/360p.mp4", f"{claim.publish_prefix}/v/360p.mp4"):
        writer = store.create(key)
        writer.write(b"x")
        writer.commit()
    package = {
        "files": {"v/360p.mp4": 1},
        "renditions": [],
        "audio_average_bps": 0,
        "audio_peak_bps": 0,
        "duration_s": 2.0,
        "fps": {"num": 30, "den": 1},
    }
    assert recording.record_success(house.runtime, claim, RUN, {"package": package, "prefix": claim.publish_prefix})
    assert house.job(job_id).status == JobStatus.READY
    house.shift_clock(3601)
    sweep.sweep(house.runtime)
    store.open(f"{claim.publish_prefix}/v/360p.mp4").close()
    for gone in (f"{claim.prefix}/x", f"{lost.publish_prefix}/v/360p.mp4"):
        with pytest.raises(FileNotFoundError):
            store.open(gone)


def test_webm_is_accepted_and_said_not_to_be_made(house: House) -> None:
    with house.runtime.database.write() as session:
        video = session.get_one(Video, house.job(house.new_job()).video_id)
        job = service.create_job(session, house.runtime, video, "mp4,webm")
    assert [warning["code"] for warning in house.job(job.id).warnings] == ["webm_not_made"]
