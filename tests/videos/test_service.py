"""Trash and removal for good: everything of a video goes, and nothing of one that somebody has restored."""

from collections.abc import Callable

import pytest

from sfserver.errors import DamagedMediaError
from sfserver.infra.queue.contract import Queue
from sfserver.models import Asset, Garbage, Job, JobEvent, JobStage, Task, TaskPart, Video
from sfserver.tasks import record
from sfserver.tasks.record import Recorded
from sfserver.videos import repository, service
from sfserver.wire.jobs import JobStatus
from tests.tasks.harness import DAY_S, Harness

OF_A_VIDEO = (Video, Job, JobStage, JobEvent, Task, TaskPart, Asset)


def failed(harness: Harness) -> str:
    job_id = harness.probed(chunks=2, parts=2)
    harness.part(harness.take(Queue.AUDIO), 0)
    harness.done(harness.take())
    record.record_failure(harness.runtime, harness.take(), DamagedMediaError())
    return job_id


def half_way(harness: Harness) -> str:
    job_id = harness.probed(chunks=2, parts=2)
    harness.part(harness.take(Queue.AUDIO), 0)
    harness.done(harness.take())
    return job_id


def reprocessed(harness: Harness) -> str:
    first = harness.ready(chunks=1)
    harness.reprocess(first)
    harness.finish()
    return first


def redone(harness: Harness) -> str:
    """Return a job that is ready and whose poster is being made again."""
    job_id = harness.ready(chunks=1)
    harness.redo(job_id, "poster")
    return job_id


def purge(harness: Harness, job_id: str) -> None:
    with harness.runtime.database.write() as session:
        service.purge_video(session, harness.runtime, session.get_one(Video, harness.video(job_id).id))


def trash(harness: Harness, job_id: str) -> None:
    with harness.runtime.database.write() as session:
        service.trash_video(session, harness.runtime, harness.video(job_id).id)


@pytest.mark.parametrize("made", [Harness.new_job, Harness.ready, failed, half_way, reprocessed, redone])
def test_a_purge_leaves_no_row_and_no_byte(harness: Harness, made: Callable[[Harness], str]) -> None:
    job_id = made(harness)
    stopped: list[dict[str, object]] = []
    harness.runtime.bus.subscribe("cancel", stopped.append)
    running = [claim for queue in Queue if (claim := harness.claim(queue)) is not None]
    for claim in running:
        keys = harness.runtime.stages[claim.kind].keys(claim)
        harness.put(keys[0])
    purge(harness, job_id)
    assert [harness.rows(model) for model in OF_A_VIDEO] == [[]] * len(OF_A_VIDEO)
    assert {claim.job_id for claim in running} <= {message["job_id"] for message in stopped}
    for claim in running:
        assert harness.done(claim) is Recorded.LOST, "a sleeper stores on, and finds nobody to tell"
    harness.shift_clock(DAY_S + 3600)
    harness.sweep()
    assert harness.objects() == set()
    assert harness.rows(Garbage) == []


def test_a_purge_does_not_wait_for_those_who_watch_what_was_replaced(harness: Harness) -> None:
    job_id = reprocessed(harness)
    harness.redo(job_id, "poster")
    harness.finish()
    assert len({key.split("/")[2] for key in harness.objects() if key.startswith("video/")}) == 2
    purge(harness, job_id)
    harness.sweep()
    assert harness.objects() == set()


def test_a_video_that_was_restored_meanwhile_is_not_purged(harness: Harness, monkeypatch: pytest.MonkeyPatch) -> None:
    """Between the look-up of what has been in the trash for too long and its removal."""
    job_id = harness.ready(chunks=1)
    trash(harness, job_id)
    harness.sweep(after_s=31 * DAY_S)
    objects, found = harness.objects(), repository.trashed_before

    def look_up(*of: object) -> list[str]:
        expired = list(found(*of))  # type: ignore[arg-type]
        with harness.runtime.database.write() as session:
            service.restore_video(session.get_one(Video, expired[0]))
        return expired

    monkeypatch.setattr(repository, "trashed_before", look_up)
    service.purge_expired(harness.runtime)
    assert harness.video(job_id).deleted_at is None
    harness.sweep(after_s=DAY_S)
    assert harness.objects() == objects


def test_a_video_that_was_trashed_again_has_its_whole_time(harness: Harness) -> None:
    job_id = harness.ready(chunks=1)
    trash(harness, job_id)
    harness.shift_clock(29 * DAY_S)
    with harness.runtime.database.write() as session:
        service.restore_video(session.get_one(Video, harness.video(job_id).id))
    trash(harness, job_id)
    harness.shift_clock(2 * DAY_S)
    service.purge_expired(harness.runtime)
    assert harness.video(job_id).generation == 1
    harness.shift_clock(29 * DAY_S)
    service.purge_expired(harness.runtime)
    assert harness.rows(Video) == []


def test_the_trash_cancels_what_runs(harness: Harness) -> None:
    job_id = half_way(harness)
    trash(harness, job_id)
    assert harness.job(job_id).status == JobStatus.CANCELLED
    assert [harness.claim(queue) for queue in Queue] == [None] * len(Queue)
    harness.check_nothing_leaked()


def test_numbers_of_events_begin_anew_with_a_new_job_and_never_go_back(harness: Harness) -> None:
    """A client that remembers the number of a purged job's event skips none of another's."""
    first = harness.ready(chunks=1)
    told = harness.job(first).seq
    purge(harness, first)
    second = harness.ready(chunks=1)
    numbers = [row.seq for row in harness.rows(JobEvent)]
    assert {row.job_id for row in harness.rows(JobEvent)} == {second} != {first}
    assert sorted(numbers) == list(range(1, told + 1))
