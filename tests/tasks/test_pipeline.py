"""What follows what: stages open when their needs are met, and those that are not fatal decide nothing."""

from dataclasses import replace

import pytest

from sfserver.errors import ConflictError, DamagedMediaError
from sfserver.infra.queue.contract import Queue
from sfserver.models import Garbage, JobStage
from sfserver.stages.poster import POSTER
from sfserver.stages.registry import STAGES
from sfserver.tasks import record
from sfserver.tasks.pipeline import dependents_of
from sfserver.tasks.record import Recorded
from sfserver.tasks.stage import Stages
from sfserver.wire.jobs import JobStatus, StageState
from tests.tasks.harness import Harness

# A stage that needs the poster, as a storyboard would need thumbnails.
GALLERY = replace(POSTER, kind="gallery", needs=("poster",))


def fail(harness: Harness, queue: Queue, code: str = "told") -> None:
    claim = harness.take(queue)
    assert record.record_failure(harness.runtime, claim, DamagedMediaError(code)) is Recorded.RECORDED


def states(harness: Harness, job_id: str) -> dict[str, str]:
    return {row.kind: row.state for row in harness.rows(JobStage) if row.job_id == job_id}


@pytest.fixture
def with_gallery(harness: Harness) -> Harness:
    harness.runtime = replace(harness.runtime, stages=Stages([*STAGES.values(), GALLERY]))
    return harness


def test_the_package_waits_for_every_chunk_and_the_sound(harness: Harness) -> None:
    job_id = harness.probed(chunks=2)
    for queue in (Queue.ENCODE, Queue.AUDIO, Queue.ENCODE):
        assert harness.claim(Queue.IO) is None
        assert harness.done(harness.take(queue)) is Recorded.RECORDED
    assert harness.take(Queue.IO).kind == "package"
    assert states(harness, job_id)["package"] == StageState.RUNNING


def test_a_stage_without_tasks_is_done_when_it_is_opened(harness: Harness) -> None:
    job_id = harness.probed(chunks=1, audio=False)
    assert states(harness, job_id)["audio"] == StageState.DONE
    assert harness.tasks(job_id, "audio") == []
    harness.finish(Queue.ENCODE)
    assert harness.take(Queue.IO).kind == "package"


def test_every_stage_that_opens_is_rung_for(harness: Harness) -> None:
    harness.probed(chunks=3)
    rings = harness.doorbell.rings
    assert min(rings[queue] for queue in (Queue.ENCODE, Queue.AUDIO, Queue.INSIGHT)) >= 1
    before = rings[Queue.IO]
    harness.finish(Queue.ENCODE, Queue.AUDIO)
    assert rings[Queue.IO] > before


def test_the_whole_way_leaves_what_is_published_and_nothing_else(harness: Harness) -> None:
    job_id = harness.ready(chunks=3, parts=2)
    assert set(states(harness, job_id).values()) == {StageState.DONE}
    assert harness.video(job_id).generation == 1
    harness.check_nothing_leaked()
    folders = {key.split("/")[0] for key in harness.objects()}
    assert folders == {"source", "video"}


@pytest.mark.parametrize("when", ["before the job is ready", "after"])
def test_a_stage_that_is_not_fatal_fails_alone(harness: Harness, when: str) -> None:
    job_id = harness.probed(chunks=1, audio=False)
    if when == "after":
        harness.finish(Queue.IO, Queue.ENCODE)
    fail(harness, Queue.INSIGHT)
    harness.finish()
    assert harness.job(job_id).status == JobStatus.READY
    assert states(harness, job_id)["poster"] == StageState.FAILED
    assert harness.job(job_id).error is None
    assert (harness.stage(job_id, "poster").error or {})["code"] == "damaged_media"


def test_three_crashes_of_a_stage_that_is_not_fatal_do_not_harm_the_job(harness: Harness) -> None:
    job_id = harness.probed(chunks=1, audio=False)
    for _ in range(3):
        harness.crash(harness.take(Queue.INSIGHT))
        harness.shift_clock(2)
    assert harness.claim(Queue.INSIGHT) is None
    assert harness.job(job_id).status == JobStatus.PROCESSING
    harness.finish()
    assert harness.job(job_id).status == JobStatus.READY
    assert "error" not in harness.kinds_told(job_id)


def test_a_stage_that_is_not_fatal_runs_on_a_job_that_is_ready(harness: Harness) -> None:
    job_id = harness.probed(chunks=1, audio=False)
    harness.finish(Queue.IO, Queue.ENCODE)
    assert harness.job(job_id).status == JobStatus.READY
    claim = harness.take(Queue.INSIGHT)
    harness.sweep(after_s=31)
    assert harness.task(claim).state == StageState.WAITING
    again = harness.take(Queue.INSIGHT)
    assert harness.done(again) is Recorded.RECORDED
    assert harness.job(job_id).status == JobStatus.READY
    harness.check_nothing_leaked()


def test_a_failed_job_stops_the_stages_that_are_not_fatal(harness: Harness) -> None:
    job_id = harness.probed(chunks=2, audio=False)
    poster = harness.take(Queue.INSIGHT)
    fail(harness, Queue.ENCODE)
    assert harness.job(job_id).status == JobStatus.FAILED
    assert harness.done(poster) is Recorded.LOST
    assert harness.claim(Queue.INSIGHT) is None
    assert states(harness, job_id) == {
        "probe": StageState.DONE,
        "encode": StageState.FAILED,
        "audio": StageState.DONE,
        "package": StageState.CANCELLED,
        "poster": StageState.CANCELLED,
    }


def test_what_needs_a_stage_that_failed_is_cancelled_with_it(with_gallery: Harness) -> None:
    job_id = with_gallery.probed(chunks=1, audio=False)
    fail(with_gallery, Queue.INSIGHT)
    assert states(with_gallery, job_id)["gallery"] == StageState.CANCELLED
    with_gallery.finish()
    assert with_gallery.job(job_id).status == JobStatus.READY


def test_a_stage_is_done_again_with_what_needs_it(with_gallery: Harness) -> None:
    job_id = with_gallery.probed(chunks=1, audio=False)
    fail(with_gallery, Queue.INSIGHT)
    with_gallery.finish()
    with_gallery.redo(job_id, "poster")
    assert (states(with_gallery, job_id)["poster"], states(with_gallery, job_id)["gallery"]) == ("waiting", "waiting")
    with_gallery.finish()
    assert set(states(with_gallery, job_id).values()) == {StageState.DONE}
    assert dependents_of(with_gallery.runtime.stages, "probe") == ["encode", "audio", "package", "poster", "gallery"]


@pytest.mark.parametrize("kind", ["probe", "encode", "audio", "package"])
def test_a_fatal_stage_is_not_done_again_by_itself(harness: Harness, kind: str) -> None:
    job_id = harness.ready(chunks=1)
    with pytest.raises(ConflictError) as refusal:
        harness.redo(job_id, kind)
    assert refusal.value.status == 409
    assert "reprocess" in (refusal.value.hint or "")


def test_a_task_that_failed_for_good_leaves_nothing_behind(harness: Harness) -> None:
    """What it had stored before it was refused, and no later claim will clear away."""
    harness.probed(chunks=1, audio=False)
    claim = harness.take()
    harness.put(harness.runtime.stages["encode"].keys(claim)[0])
    record.record_failure(harness.runtime, claim, DamagedMediaError())
    harness.check_nothing_leaked()
    assert harness.rows(Garbage) == []
    assert [key.split("/")[0] for key in harness.objects()] == ["source"]


def test_a_task_that_crashed_for_the_last_time_leaves_nothing_behind(harness: Harness) -> None:
    job_id = harness.probed(chunks=1, audio=False)
    for number in range(3):
        for queue in (Queue.INSIGHT, Queue.ENCODE):
            claim = harness.take(queue)
            harness.put(harness.runtime.stages[claim.kind].keys(claim)[0])
            harness.crash(claim, f"died, {number}")
        harness.shift_clock(2)
    assert harness.job(job_id).status == JobStatus.FAILED
    harness.check_nothing_leaked()


def test_a_job_tells_its_end_last(harness: Harness) -> None:
    job_id = harness.probed(chunks=1)
    harness.finish(Queue.INSIGHT)
    harness.finish()
    assert harness.kinds_told(job_id)[-3:] == ["playable", "state", "done"]


def test_webm_is_accepted_and_said_not_to_be_made(harness: Harness) -> None:
    job_id = harness.new_job(formats="mp4,webm")
    assert [warning["code"] for warning in harness.job(job_id).warnings] == ["webm_not_made"]
