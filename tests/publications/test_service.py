"""What a job shows while it works: the contiguous prefix, when it is playable, and how it is taken back."""

from dataclasses import replace

import pytest

from sfserver.errors import DamagedMediaError, InconsistentChunksError
from sfserver.infra.queue.contract import Queue
from sfserver.media.contract import ChunkResult
from sfserver.models import Publication, Track, TrackChunk
from sfserver.publications.repository import PublicationState
from sfserver.tasks import record
from sfserver.tasks.record import Recorded
from sfserver.tasks.stage import Claim
from sfserver.wire.jobs import JobStatus
from tests.tasks import made
from tests.tasks.harness import Harness


def publication(harness: Harness) -> Publication:
    (found,) = harness.rows(Publication)
    assert isinstance(found, Publication)
    return found


def shown(harness: Harness, name: str = made.RUNG) -> tuple[int, int]:
    (track,) = [track for track in harness.rows(Track) if track.name == name]
    return track.shown_chunks, track.shown_segments


def take_chunks(harness: Harness, count: int) -> list[Claim]:
    return [harness.take() for _ in range(count)]


def test_the_probe_opens_a_track_a_rung_and_one_of_sound_and_shows_nothing(harness: Harness) -> None:
    job_id = harness.probed(chunks=4, audio=True)
    tracks = sorted(harness.rows(Track), key=lambda track: track.place)
    assert [(track.kind, track.name, track.init) for track in tracks] == [
        ("video", made.RUNG, None), ("audio", "main", None)
    ]  # fmt: skip
    assert (publication(harness).state, publication(harness).job_id) == (PublicationState.GROWING, job_id)
    assert (publication(harness).duration_s, publication(harness).target_s) == (8.0, 4)
    assert harness.job(job_id).playable_at is None


def test_chunks_are_shown_up_to_the_first_that_is_missing(harness: Harness) -> None:
    harness.probed(chunks=5, audio=False)
    claims = take_chunks(harness, 5)
    seen = []
    for number in (1, 0, 4, 3, 2):
        harness.done(claims[number])
        seen.append(shown(harness)[0])
    assert seen == [0, 2, 2, 2, 5]


def test_it_is_playable_with_three_segments_of_picture_and_of_sound(harness: Harness) -> None:
    job_id = harness.probed(chunks=5, audio=True, parts=5)
    sound = harness.take(Queue.AUDIO)
    told = []
    for number, claim in enumerate(take_chunks(harness, 4)):
        harness.done(claim)
        if number:
            assert harness.part(sound, number - 1)
        told.append(harness.job(job_id).playable_at is not None)
    assert told == [False, False, False, True], "three pictures are there before the third part of the sound"
    assert harness.kinds_told(job_id).count("playable") == 1
    harness.finish()
    assert harness.kinds_told(job_id).count("playable") == 1


def test_a_silent_video_waits_for_no_sound(harness: Harness) -> None:
    job_id = harness.probed(chunks=4, audio=False)
    for claim in take_chunks(harness, 3):
        assert harness.job(job_id).playable_at is None
        harness.done(claim)
    assert harness.job(job_id).playable_at is not None


def test_a_video_of_two_segments_is_playable_when_it_is_ready(harness: Harness) -> None:
    job_id = harness.probed(chunks=2, audio=False)
    harness.finish(Queue.ENCODE)
    assert harness.job(job_id).playable_at is None
    harness.finish()
    job = harness.job(job_id)
    assert job.status == JobStatus.READY
    assert job.playable_at is not None


def test_what_is_published_already_is_not_played_while_it_is_made_again(harness: Harness) -> None:
    first = harness.ready(chunks=4)
    again = harness.reprocess(first)
    harness.done(harness.take(Queue.IO), chunks=4)
    for claim in take_chunks(harness, 3):
        harness.done(claim)
    assert harness.job(again).playable_at is None
    states = sorted(row.state for row in harness.rows(Publication))
    assert states == [PublicationState.GROWING, PublicationState.PUBLISHED]
    harness.finish()
    states = sorted(row.state for row in harness.rows(Publication))
    assert states == [PublicationState.PUBLISHED, PublicationState.RETIRED]


def test_tables_go_with_the_publishing_and_chunks_stay(harness: Harness) -> None:
    harness.probed(chunks=3, audio=False)
    harness.finish(Queue.ENCODE)
    with harness.runtime.database.read() as session:
        assert all(chunk.samples for chunk in session.query(TrackChunk))
    harness.finish()
    with harness.runtime.database.read() as session:
        chunks = session.query(TrackChunk).all()
        assert [(chunk.index, chunk.samples, len(chunk.fragments)) for chunk in chunks] == [
            (number, None, 12) for number in range(3)
        ]


def playable_job(harness: Harness) -> str:
    job_id = harness.probed(chunks=5, audio=False)
    for claim in take_chunks(harness, 3):
        harness.done(claim)
    assert harness.job(job_id).playable_at is not None
    return job_id


def test_a_cancel_takes_all_of_it_back_under_a_number_that_is_not_used_again(harness: Harness) -> None:
    job_id = playable_job(harness)
    before = publication(harness).generation
    harness.cancel(job_id)
    assert (harness.rows(Publication), harness.rows(Track), harness.rows(TrackChunk)) == ([], [], [])
    assert harness.job(job_id).playable_at is None
    harness.retry(job_id)
    harness.finish()
    assert publication(harness).generation > before
    harness.check_nothing_leaked()


def test_a_failure_withdraws_it_and_a_retry_shows_it_again_under_the_same_number(harness: Harness) -> None:
    job_id = playable_job(harness)
    number = publication(harness).generation
    record.record_failure(harness.runtime, harness.take(), DamagedMediaError())
    assert publication(harness).state == PublicationState.WITHDRAWN
    assert harness.job(job_id).playable_at is None
    harness.retry(job_id)
    assert (publication(harness).state, publication(harness).generation) == (PublicationState.GROWING, number)
    assert harness.job(job_id).playable_at is None, "what made it fail may do so again at once"
    assert shown(harness)[0] == 3
    harness.done(harness.take())
    assert harness.job(job_id).playable_at is not None
    harness.finish()
    assert publication(harness).state == PublicationState.PUBLISHED
    harness.check_nothing_leaked()


def test_a_retry_after_its_parts_have_gone_takes_a_new_number(harness: Harness) -> None:
    job_id = playable_job(harness)
    number = publication(harness).generation
    record.record_failure(harness.runtime, harness.take(), DamagedMediaError())
    harness.check_nothing_leaked()
    harness.retry(job_id)
    harness.finish()
    assert publication(harness).generation > number
    harness.check_nothing_leaked()


def test_another_encoder_takes_the_picture_back_and_keeps_the_sound(harness: Harness) -> None:
    job_id = harness.probed(chunks=5, audio=True, parts=5)
    sound = harness.take(Queue.AUDIO)
    for number in range(3):
        assert harness.part(sound, number)
    for claim in take_chunks(harness, 3):
        harness.done(claim, header="01")
    number = publication(harness).generation
    assert harness.job(job_id).playable_at is not None
    harness.done(harness.take(), header="02")
    assert publication(harness).generation == number + 1
    assert harness.job(job_id).playable_at is None
    assert (shown(harness), shown(harness, "main")[0]) == ((0, 0), 3)
    while (claim := harness.claim()) is not None:
        harness.done(claim, header="02")
    harness.done(sound)
    harness.finish()
    assert harness.job(job_id).status == JobStatus.READY
    assert harness.kinds_told(job_id).count("playable") == 2
    harness.check_nothing_leaked()


def test_damage_is_judged_as_soon_as_it_is_certain(harness: Harness) -> None:
    job_id = playable_job(harness)
    claim = harness.take()
    with pytest.raises(DamagedMediaError) as refusal:
        harness.done(claim, concealed=31)
    record.record_failure(harness.runtime, claim, refusal.value)
    assert publication(harness).state == PublicationState.WITHDRAWN
    assert (harness.job(job_id).error or {})["code"] == "damaged_media"
    harness.check_nothing_leaked()


@pytest.mark.parametrize("table", ["", "AAAA", "eJwDAAAAAAE="])
def test_a_chunk_whose_table_is_none_is_refused(harness: Harness, table: str) -> None:
    harness.probed(chunks=2, audio=False)
    claim = harness.take()
    result = harness.result_of(claim)
    lying = replace(result.parts[made.RUNG], table=table)
    with pytest.raises(InconsistentChunksError):
        harness.done(claim, ChunkResult({made.RUNG: lying}, "fingerprint", 60, 0, 0))
    assert harness.rows(TrackChunk) == []
    assert harness.done(claim) is Recorded.RECORDED
