"""What recorded chunks add up to: damage, encoders that change in mid-job, quality by budget."""

import pytest

from sfserver.errors import DamagedMediaError, InconsistentChunksError
from sfserver.infra.queue.contract import Queue
from sfserver.tasks import record
from sfserver.tasks.record import Recorded
from sfserver.tasks.states import Happening
from sfserver.wire.jobs import JobStatus, StageState
from tests.tasks import made
from tests.tasks.harness import Harness


def test_a_video_of_which_a_tenth_is_damaged_is_kept_with_a_warning(harness: Harness) -> None:
    job_id = harness.probed(chunks=2, audio=False)
    assert harness.done(harness.take(), concealed=6) is Recorded.RECORDED
    assert harness.done(harness.take(), concealed=6) is Recorded.RECORDED
    (warning,) = harness.job(job_id).warnings
    assert (warning["code"], warning["detail"][:9]) == ("damaged_frames", "12 of 120")


def test_more_damage_than_a_tenth_is_refused_and_leaves_nothing(harness: Harness) -> None:
    job_id = harness.probed(chunks=2, audio=False)
    harness.done(harness.take(), concealed=6)
    last = harness.take()
    with pytest.raises(DamagedMediaError) as refusal:
        harness.done(last, concealed=7)
    assert harness.task(last).state == StageState.RUNNING, "the transaction was rolled back"
    record.record_failure(harness.runtime, last, refusal.value)
    assert (harness.job(job_id).error or {})["code"] == "damaged_media"
    harness.check_nothing_leaked()


def test_chunks_of_another_encoder_are_made_again_and_the_job_ends(harness: Harness) -> None:
    job_id = harness.probed(chunks=3, audio=False)
    old = [harness.take(), harness.take()]
    for claim in old:
        harness.done(claim, header="01")
    stored = {key for key in harness.objects() if "/encode-" in key}
    assert harness.done(harness.take(), header="02") is Recorded.RECORDED
    harness.check()
    assert [task.state for task in harness.tasks(job_id, "encode")] == ["waiting", "waiting", "done"]
    assert harness.stage(job_id, "encode").done == 1
    assert harness.claim(Queue.IO) is None
    again = [harness.take(), harness.take()]
    assert [(claim.index, claim.attempt) for claim in again] == [(0, 1), (1, 1)]
    assert all(new.token > before.token for new, before in zip(again, old, strict=True))
    for claim in again:
        assert harness.done(claim, header="02") is Recorded.RECORDED
    harness.finish()
    assert harness.job(job_id).status == JobStatus.READY
    harness.check_nothing_leaked()
    assert not stored & harness.objects()


def test_a_chunk_of_the_old_encoder_that_comes_late_does_not_stop_the_new_one(harness: Harness) -> None:
    job_id = harness.probed(chunks=3, audio=False)
    harness.done(harness.take(), header="01")
    slow, quick = harness.take(), harness.take()
    harness.done(quick, header="02")
    harness.done(slow, header="01")
    for _ in range(2):
        harness.done(harness.take(), header="01")
    harness.finish()
    assert harness.job(job_id).status == JobStatus.READY


def test_a_change_of_encoder_begins_the_damage_anew(harness: Harness) -> None:
    job_id = harness.probed(chunks=2, audio=False)
    harness.done(harness.take(), concealed=12)
    harness.done(harness.take(), header="02")
    harness.done(harness.take(), header="02", concealed=0)
    assert harness.job(job_id).warnings == []


def test_encoders_that_take_turns_end_the_job(harness: Harness) -> None:
    job_id = harness.probed(chunks=2, audio=False)
    for turn in range(4):
        assert harness.done(harness.take(), header=f"{turn % 2:02}") is Recorded.RECORDED
    last = harness.take()
    with pytest.raises(InconsistentChunksError) as refusal:
        harness.done(last, header="00")
    record.record_failure(harness.runtime, last, refusal.value)
    assert (harness.job(job_id).error or {})["code"] == "inconsistent_chunks"
    harness.check_nothing_leaked()


def test_a_chunk_keeps_the_quality_of_its_first_claim(harness: Harness) -> None:
    harness.probed(chunks=2, audio=False)
    first = harness.take()
    assert first.spec["crf"] == 23.5
    record.record_setback(harness.runtime, first, Happening.RELEASED, "was stopped")
    other = harness.take()
    assert (other.index, other.spec["crf"]) == (0, 23.5)
    harness.done(other)
    assert harness.stage(first.job_id, "encode").tally["spent"] == {"23.5": [10, 1000]}


def test_every_file_of_a_chunk_was_announced(harness: Harness) -> None:
    harness.probed(chunks=1)
    for queue in (Queue.ENCODE, Queue.AUDIO, Queue.INSIGHT):
        claim = harness.take(queue)
        stage = harness.runtime.stages[claim.kind]
        assert set(stage.made(harness.result_of(claim))) <= set(stage.outputs(claim))
        assert all(claim.job_id in key for key in stage.keys(claim))
    assert made.sound_part(0, [1]).file == "audio.0.m4s"
