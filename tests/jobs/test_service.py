"""What people ask of a job: cancel, retry, reprocess, redo."""

from collections.abc import Callable
from datetime import timedelta

import pytest

from sfserver.errors import ConflictError, DamagedMediaError, JobFinishedError, SourceMissingError, UnknownStageError
from sfserver.infra.queue.contract import Queue
from sfserver.models import Asset, Garbage, JobStage, Task, Video
from sfserver.publications.service import published_keys
from sfserver.tasks import record
from sfserver.tasks.record import Beat, Recorded
from sfserver.videos.publish import url_lifetime
from sfserver.videos.service import restore_video, trash_video
from sfserver.wire.jobs import JobStatus, StageState
from tests.tasks.harness import DAY_S, Harness


def failed(harness: Harness, chunks: int = 3, parts: int = 2) -> str:
    """Return a job that recorded a chunk and a part of its sound, and then failed."""
    job_id = harness.probed(chunks=chunks, parts=parts)
    assert harness.part(harness.take(Queue.AUDIO), 0)
    assert harness.done(harness.take()) is Recorded.RECORDED
    record.record_failure(harness.runtime, harness.take(), DamagedMediaError())
    assert harness.job(job_id).status == JobStatus.FAILED
    return job_id


def trash(harness: Harness, job_id: str) -> None:
    with harness.runtime.database.write() as session:
        trash_video(session, harness.runtime, harness.video(job_id).id)


def shown_keys(harness: Harness, job_id: str) -> set[str]:
    """Return what players can ask for of a job's video."""
    with harness.runtime.database.read() as session:
        return set(published_keys(session, harness.video(job_id).id))


def tokens(harness: Harness) -> dict[str, int]:
    return {task.id: task.token for task in harness.rows(Task)}


# --- cancel ---


def test_cancel_fences_running_tasks_and_tells_their_workers(harness: Harness) -> None:
    job_id = harness.probed(chunks=2, audio=False)
    claim = harness.take()
    cancelled: list[dict[str, object]] = []
    harness.runtime.bus.subscribe("cancel", cancelled.append)
    harness.cancel(job_id)
    assert cancelled == [{"job_id": job_id}]
    assert record.beat(harness.runtime, claim) is Beat.LOST
    assert harness.done(claim) is Recorded.LOST
    assert [harness.claim(queue) for queue in Queue] == [None] * len(Queue)
    assert harness.job(job_id).status == JobStatus.CANCELLED
    assert harness.kinds_told(job_id)[-2:] == ["state", "done"]
    harness.check_nothing_leaked()
    assert [key.split("/")[0] for key in harness.objects()] == ["source"]


@pytest.mark.parametrize("status", [JobStatus.READY, JobStatus.FAILED, JobStatus.CANCELLED])
def test_a_job_that_has_ended_cannot_be_cancelled(harness: Harness, status: JobStatus) -> None:
    if status is JobStatus.READY:
        job_id = harness.ready(chunks=1)
    elif status is JobStatus.FAILED:
        job_id = failed(harness)
    else:
        harness.cancel(job_id := harness.new_job())
    told = harness.kinds_told(job_id)
    with pytest.raises(JobFinishedError):
        harness.cancel(job_id)
    assert harness.kinds_told(job_id) == told


# --- retry ---


def test_a_retry_keeps_what_a_failed_job_recorded(harness: Harness) -> None:
    job_id = failed(harness)
    recorded = {key for key in harness.objects() if "encode-0/" in key or "audio.0" in key or "probe" in key}
    assert len(recorded) == 3
    harness.sweep(after_s=DAY_S - 60)
    harness.retry(job_id)
    assert (harness.job(job_id).status, harness.job(job_id).error) == (JobStatus.QUEUED, None)
    assert harness.stage(job_id, "encode").done == 1
    harness.sweep(after_s=DAY_S)
    assert recorded <= harness.objects()
    assert harness.claim(Queue.IO) is None, "the probe is not done again"
    assert [harness.take().index, harness.take().index] == [1, 2]
    sound = harness.take(Queue.AUDIO)
    assert harness.count_parts(sound) == 1
    harness.vanish(sound)
    harness.finish()
    assert harness.job(job_id).status == JobStatus.READY
    harness.check_nothing_leaked()


def test_a_retry_begins_its_counters_anew(harness: Harness) -> None:
    job_id = harness.probed(chunks=1, audio=False)
    for turn in range(2):
        for _ in range(3):
            harness.crash(harness.take())
            harness.shift_clock(2)
        assert harness.job(job_id).status == JobStatus.FAILED, turn
        harness.retry(job_id)
        harness.check()
    assert harness.stage(job_id, "encode").crashes == 0
    harness.finish()
    assert harness.job(job_id).status == JobStatus.READY


def test_a_retry_after_the_reprieve_begins_anew(harness: Harness) -> None:
    job_id = failed(harness)
    before = tokens(harness)
    harness.sweep(after_s=DAY_S + 60)
    assert [key.split("/")[0] for key in harness.objects()] == ["source"]
    harness.retry(job_id)
    assert harness.take(Queue.IO).kind == "probe"
    assert all(token > before[task_id] for task_id, token in tokens(harness).items())
    harness.sweep(after_s=31)
    harness.finish()
    assert harness.job(job_id).status == JobStatus.READY
    harness.check_nothing_leaked()


def test_a_retry_in_the_middle_of_the_end_of_a_reprieve_begins_anew(
    harness: Harness, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Half of what was recorded is deleted when the retry comes: the other half is no use."""
    job_id = failed(harness)
    recorded = {key for key in harness.objects() if "encode-0/" in key or "audio.0" in key or "probe" in key}
    harness.shift_clock(DAY_S + 60)
    delete = harness.store.delete
    tried: list[str] = []

    def delete_and_retry(key: str) -> None:
        delete(key)
        if key in recorded and not tried:
            tried.append(key)
            harness.retry(job_id)

    monkeypatch.setattr(harness.store, "delete", delete_and_retry)
    harness.sweep()
    assert harness.take(Queue.IO).kind == "probe"
    harness.sweep(after_s=31)
    harness.finish()
    assert harness.job(job_id).status == JobStatus.READY
    harness.check_nothing_leaked()


def test_a_cancelled_job_begins_anew_and_uses_no_key_again(harness: Harness) -> None:
    job_id = harness.probed(chunks=2, parts=2)
    assert harness.part(harness.take(Queue.AUDIO), 0)
    harness.done(harness.take())
    harness.finish(Queue.INSIGHT)
    before, stored = tokens(harness), set(harness.store.stored)
    harness.cancel(job_id)
    harness.retry(job_id)
    assert all(token > before[task_id] for task_id, token in tokens(harness).items())
    harness.finish()
    assert harness.job(job_id).status == JobStatus.READY
    names = {key for key in harness.store.stored - stored if not key.startswith("source")}
    index, chunks, heads, posters = 1, 2, 1, 4
    assert len(names) == index + chunks + heads + posters
    harness.check_nothing_leaked()


def test_a_job_that_failed_for_want_of_what_it_recorded_begins_anew(harness: Harness) -> None:
    job_id = harness.probed(chunks=2, audio=False)
    harness.finish(Queue.ENCODE)
    package = harness.take(Queue.IO)
    record.record_failure(harness.runtime, package, SourceMissingError("a part that was recorded is not there"))
    harness.retry(job_id)
    assert [stage.state for stage in harness.rows(JobStage) if stage.kind == "encode"] == [StageState.WAITING]
    harness.finish()
    assert harness.job(job_id).status == JobStatus.READY
    harness.check_nothing_leaked()


def test_a_retry_whose_plan_has_fewer_chunks_leaves_the_others_cancelled(harness: Harness) -> None:
    job_id = harness.probed(chunks=3, audio=False)
    harness.finish(Queue.ENCODE)
    harness.cancel(job_id)
    harness.retry(job_id)
    harness.done(harness.take(Queue.IO), chunks=1)
    record.record_failure(harness.runtime, harness.take(), DamagedMediaError())
    harness.retry(job_id)
    harness.check()
    harness.finish()
    assert harness.job(job_id).status == JobStatus.READY
    assert [task.state for task in harness.tasks(job_id, "encode")] == ["done", "cancelled", "cancelled"]
    harness.check_nothing_leaked()


@pytest.mark.parametrize("ended", ["queued", "ready"])
def test_only_what_failed_or_was_cancelled_is_tried_again(harness: Harness, ended: str) -> None:
    job_id = harness.ready(chunks=1) if ended == "ready" else harness.new_job()
    with pytest.raises(ConflictError, match=ended):
        harness.retry(job_id)
    assert harness.job(job_id).status == ended


def test_nothing_is_tried_again_in_the_trash_or_beside_another_job(harness: Harness) -> None:
    job_id = failed(harness)
    trash(harness, job_id)
    with pytest.raises(ConflictError, match="trash"):
        harness.retry(job_id)
    with harness.runtime.database.write() as session:
        restore_video(session.get_one(Video, harness.video(job_id).id))
    other = harness.reprocess(job_id)
    with pytest.raises(ConflictError, match="another job"):
        harness.retry(job_id)
    with pytest.raises(ConflictError):
        harness.reprocess(job_id)
    assert harness.job(other).status == JobStatus.QUEUED


def test_a_retry_of_a_job_that_another_one_overtook_publishes_a_newer_generation(harness: Harness) -> None:
    """Media is served for a year under the number of its generation: no number ever stands for two."""
    late = failed(harness)
    harness.reprocess(late)
    harness.finish()
    assert harness.video(late).generation == 2
    harness.retry(late)
    harness.finish()
    assert harness.job(late).status == JobStatus.READY
    assert harness.video(late).generation == 3
    assert harness.job(late).generation == 3
    harness.check_nothing_leaked()


# --- reprocess ---


def test_a_new_generation_is_made_while_the_old_one_is_published(harness: Harness) -> None:
    first = harness.ready(chunks=2)
    published = shown_keys(harness, first)
    assert published
    second = harness.reprocess(first)
    harness.finish(Queue.ENCODE)
    harness.done(harness.take(Queue.IO), chunks=1, audio=True)
    harness.finish(Queue.ENCODE, Queue.AUDIO)
    assert shown_keys(harness, first) == published
    harness.sweep(after_s=DAY_S + 3600)
    assert published <= harness.objects()
    harness.finish(Queue.IO)
    assert harness.video(second).generation == 2
    assert not shown_keys(harness, second) & published
    lifetime = url_lifetime(harness.runtime.settings.access.media_url_min_s, 2.0)
    harness.sweep(after_s=(lifetime - timedelta(seconds=60)).total_seconds())
    assert published <= harness.objects(), "a URL signed a moment before is still good"
    harness.sweep(after_s=120)
    assert not published & harness.objects()
    harness.finish()
    harness.check_nothing_leaked()


def test_a_new_generation_that_fails_or_is_cancelled_leaves_the_old_one(harness: Harness) -> None:
    first = harness.ready(chunks=1)
    shown = shown_keys(harness, first)
    second = harness.reprocess(first)
    record.record_failure(harness.runtime, harness.take(Queue.IO), DamagedMediaError())
    harness.reprocess(first)
    harness.finish(Queue.IO, Queue.ENCODE)
    third = harness.reprocess(first) if harness.job(second).status == JobStatus.READY else second
    assert harness.job(third).status == JobStatus.FAILED
    assert harness.video(first).generation == 3, "a number that failed is not used again"
    fourth = harness.reprocess(first)
    harness.done(harness.take(Queue.IO), chunks=1)
    harness.cancel(fourth)
    assert harness.video(first).generation == 3
    assert not shown_keys(harness, first) & shown
    harness.finish()
    harness.check_nothing_leaked()


# --- redo ---


def test_a_poster_is_made_again_and_the_old_one_is_shown_until_then(harness: Harness) -> None:
    job_id = harness.ready(chunks=1)
    old = {asset.key for asset in harness.rows(Asset)}
    harness.redo(job_id, "poster")
    claim = harness.take(Queue.INSIGHT)
    harness.sweep(after_s=DAY_S + 60)
    assert old <= harness.objects()
    harness.finish(Queue.INSIGHT)
    claim = harness.take(Queue.INSIGHT) if harness.task(claim).state == StageState.WAITING else claim
    harness.done(claim)
    assert {asset.revision for asset in harness.rows(Asset)} == {2}
    harness.check_nothing_leaked()
    assert not old & harness.objects()


def test_a_poster_that_is_being_made_is_begun_again(harness: Harness) -> None:
    job_id = harness.probed(chunks=1)
    running = harness.take(Queue.INSIGHT)
    harness.finish(Queue.IO, Queue.ENCODE, Queue.AUDIO)
    harness.put(harness.runtime.stages["poster"].keys(running)[0])
    harness.redo(job_id, "poster")
    assert harness.done(running) is Recorded.LOST
    harness.finish()
    assert harness.stage(job_id, "poster").state == StageState.DONE
    harness.check_nothing_leaked()


def test_only_a_stage_of_a_video_that_is_ready_is_done_again(harness: Harness) -> None:
    job_id = harness.probed(chunks=1)
    with pytest.raises(ConflictError):
        harness.redo(job_id, "poster")
    with pytest.raises(UnknownStageError, match="poster"):
        harness.redo(job_id, "nonsense")
    assert harness.stage(job_id, "poster").state == StageState.WAITING


@pytest.mark.parametrize("again", [Harness.retry, Harness.reprocess])
def test_two_who_ask_at_the_same_time_get_one_job(harness: Harness, again: Callable[[Harness, str], object]) -> None:
    job_id = failed(harness)
    again(harness, job_id)
    with pytest.raises(ConflictError):
        again(harness, job_id)
    assert len([job for job in harness.rows(type(harness.job(job_id))) if job.status == JobStatus.QUEUED]) == 1


def test_a_day_after_everything_no_garbage_is_left(harness: Harness) -> None:
    for job_id in (failed(harness), harness.probed(chunks=1, audio=False)):
        if harness.job(job_id).status != JobStatus.FAILED:
            harness.cancel(job_id)
    harness.check_nothing_leaked()
    assert harness.rows(Garbage) == []
