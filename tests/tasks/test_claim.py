"""Who gets which task when, and what becomes of the attempt before."""

from typing import Any

import pytest
from sqlalchemy.exc import IntegrityError

from sfserver.infra.queue.contract import Queue
from sfserver.models import Garbage, Task
from sfserver.tasks import pipeline, record, sweep
from sfserver.tasks.claim import claim_task
from sfserver.tasks.record import Recorded
from sfserver.tasks.states import Happening
from sfserver.wire.jobs import JobStatus, StageState
from tests.tasks.harness import DAY_S, Harness


def test_a_claim_starts_the_job_and_takes_the_task_away(harness: Harness) -> None:
    job_id = harness.new_job()
    claim = harness.take(Queue.IO)
    assert (claim.job_id, claim.kind, claim.token, claim.attempt) == (job_id, "probe", 1, 1)
    assert harness.job(job_id).status == JobStatus.PROCESSING
    assert harness.claim(Queue.IO, "w2") is None
    told = [(event["kind"], event["data"].get("status"), event["data"].get("stage")) for event in harness.events]
    assert told == [("state", "queued", None), ("state", "processing", None), ("stage", None, "probe")]


def test_a_new_job_rings_only_after_its_transaction_is_committed(harness: Harness) -> None:
    harness.new_job()
    assert harness.doorbell.rings == {Queue.IO: 1}
    with pytest.raises(IntegrityError):
        ring_and_break(harness)
    assert harness.doorbell.rings == {Queue.IO: 1}


def ring_and_break(harness: Harness) -> None:
    with harness.runtime.database.write() as session:
        pipeline.wake(session, [Queue.IO])
        session.add(Task(job_id="no such job", kind="probe", index=0, state=StageState.WAITING))


def test_short_clips_pass_long_films(harness: Harness) -> None:
    film = harness.probed(chunks=5, audio=False, title="film")
    first = harness.take()
    clip = harness.probed(chunks=1, audio=False, title="clip")
    order = [(first.job_id, first.index)] + [(c.job_id, c.index) for c in (harness.take(), harness.take())]
    assert order == [(film, 0), (clip, 0), (film, 1)]


def test_a_probe_passes_a_package_that_waited_longer(harness: Harness) -> None:
    harness.probed(chunks=1, audio=False)
    harness.finish(Queue.ENCODE)
    newcomer = harness.new_job()
    order = [harness.take(Queue.IO), harness.take(Queue.IO)]
    assert [claim.kind for claim in order] == ["probe", "package"]
    assert order[0].job_id == newcomer


def test_chunks_are_claimed_in_order(harness: Harness) -> None:
    harness.probed(chunks=4, audio=False)
    assert [harness.take().index for _ in range(4)] == [0, 1, 2, 3]
    assert harness.claim() is None


def test_each_queue_has_its_own_work(harness: Harness) -> None:
    harness.probed(chunks=1)
    assert [harness.take(queue).kind for queue in (Queue.AUDIO, Queue.INSIGHT, Queue.ENCODE)] == [
        *("audio", "poster", "encode")
    ]
    assert harness.claim(Queue.IO) is None


def test_a_claim_that_somebody_else_was_faster_with_takes_the_next(
    harness: Harness, monkeypatch: pytest.MonkeyPatch
) -> None:
    harness.probed(chunks=2, audio=False)
    found = claim_task.__globals__["_find_candidate"]
    faster: list[Any] = []

    def find(session: Any, work: Any, queue: Queue, worker: str) -> Any:
        candidate = found(session, work, queue, worker)
        if not faster:
            faster.append(None)
            faster[0] = harness.take(worker="w2")
        return candidate

    monkeypatch.setitem(claim_task.__globals__, "_find_candidate", find)
    late = harness.take()
    assert (faster[0].index, late.index) == (0, 1)


def test_a_task_that_lost_three_workers_runs_alone(harness: Harness) -> None:
    harness.probed(chunks=1, audio=False)
    for _ in range(3):
        harness.take()
        harness.sweep(after_s=31)
    other = harness.probed(chunks=3, audio=False)
    poison = harness.take()
    assert poison.job_id != other
    assert harness.claim() is None, "nothing may run beside it"
    assert harness.claim(Queue.INSIGHT) is None, "nor of another queue"
    beside = harness.take(worker="w2")
    record.record_setback(harness.runtime, poison, Happening.RELEASED, "was stopped")
    assert beside.job_id == other
    assert [harness.take(worker="w2").job_id for _ in range(2)] == [other, other]
    assert harness.claim(worker="w2") is None, "it must wait until the worker is free"
    assert harness.take(worker="w3").task_id == poison.task_id


def test_a_claim_makes_garbage_of_what_the_earlier_attempt_may_have_stored_at_once_and_a_day_later(
    harness: Harness,
) -> None:
    harness.probed(chunks=1, audio=False)
    earlier = harness.take()
    keys = harness.runtime.stages["encode"].keys(earlier)
    assert harness.garbage() == []
    harness.sweep(after_s=31)
    assert harness.garbage() == [], "it may only sleep, and nobody took its task"
    harness.take(worker="w2")
    assert harness.garbage(due_within_s=0) == keys
    assert harness.garbage() == keys * 2
    harness.put(keys[0])
    harness.sweep()
    assert keys[0] not in harness.objects()
    zombie = harness.store.create(keys[0])
    zombie.write(b"late")
    zombie.commit()
    harness.sweep(after_s=DAY_S - 60)
    assert keys[0] in harness.objects()
    harness.sweep(after_s=120)
    assert keys[0] not in harness.objects()


def test_recorded_parts_of_the_earlier_attempt_stay(harness: Harness) -> None:
    harness.probed(chunks=3, parts=3)
    earlier = harness.take(Queue.AUDIO)
    assert harness.part(earlier, 0)
    harness.put(harness.runtime.stages["audio"].key(earlier, "audio.1.m4s"))
    harness.crash(earlier)
    harness.shift_clock(2)
    again = harness.take(Queue.AUDIO)
    folder = f"video/{earlier.video_id}/{earlier.job_id}/audio-0"
    assert sorted(set(harness.garbage())) == [f"{folder}/1/audio.1.m4s", f"{folder}/1/audio.2.m4s"]
    harness.sweep(after_s=DAY_S)
    assert {key for key in harness.objects() if key.startswith(folder)} == {f"{folder}/1/audio.0.m4s"}
    assert harness.claim(Queue.AUDIO) is not None
    assert harness.done(again) is Recorded.LOST


def test_a_first_claim_leaves_no_garbage(harness: Harness) -> None:
    harness.probed(chunks=2)
    for queue in (Queue.ENCODE, Queue.ENCODE, Queue.AUDIO, Queue.INSIGHT):
        harness.take(queue)
    assert harness.rows(Garbage) == []


def test_a_boot_puts_every_running_task_back_at_once_and_charges_nobody(harness: Harness) -> None:
    harness.probed(chunks=2, audio=False)
    first, second = harness.take(), harness.take()
    rings = harness.doorbell.rings[Queue.ENCODE]
    sweep.resume_after_boot(harness.runtime)
    assert harness.doorbell.rings[Queue.ENCODE] > rings
    again = [harness.take(), harness.take()]
    assert [claim.index for claim in again] == [first.index, second.index]
    assert [claim.token for claim in again] == [2, 2]
    assert harness.task(first).losses == 1, "what is charged is the claim that runs now"
