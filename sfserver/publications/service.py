"""The life of a publication: it grows chunk by chunk from the probe on, is completed, and in the end replaced.

Whoever calls any of this holds the job's lock.
"""

from base64 import b64decode
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import timedelta
from fractions import Fraction
from itertools import takewhile

from sqlalchemy.orm import Session

from sfserver.accounts.service import announce_access_change
from sfserver.errors import InconsistentChunksError
from sfserver.infra.clock import db_now
from sfserver.infra.db import Database
from sfserver.media.contract import AudioPlan, EncodePlan, PackageResult, Rational, Rung, TrackPart
from sfserver.media.encode.ladder import h264_level
from sfserver.media.mp4.movie import audio_codecs, audio_track, build_init, video_codecs, video_track
from sfserver.media.mp4.segments import SegmentRule, target_duration_s
from sfserver.media.mp4.tracks import TrackTable
from sfserver.media.source.timeline import FRAME_SAMPLES
from sfserver.models import Job, Publication, Track, TrackChunk, Video
from sfserver.publications import repository
from sfserver.publications.repository import PublicationState
from sfserver.tasks import lifecycle
from sfserver.tasks.announce import emit
from sfserver.wire.events import EventKind, PlayableEvent

SOUND = "main"
# Fewer in a list that grows are none: Chromium's own HLS fails on two.
LEAST_SEGMENTS = 3
_ROW_BYTES = 12
# What is garbage is deleted a little later than it is forgotten.
_SLACK = timedelta(minutes=10)


def begin(session: Session, job: Job, plan: EncodePlan) -> None:
    """Open the publication of a job that was just planned, with a track a rung; nothing can be seen of it yet."""
    earlier = repository.find_publication_of_job(session, job.id)
    if earlier is not None:
        repository.delete_publication(session, earlier.id)
        job.generation = earlier.generation + 1
    job.generation = max(job.generation, 1 + repository.highest_generation(session, job.video_id, job.id))
    fps, rule = Fraction(plan.fps.num, plan.fps.den), SegmentRule(plan.segment_gops, plan.opening_gops)
    publication = Publication(
        video_id=job.video_id,
        job_id=job.id,
        generation=job.generation,
        state=PublicationState.GROWING,
        fps_num=plan.fps.num,
        fps_den=plan.fps.den,
        duration_s=float(plan.frames / fps),
        target_s=target_duration_s(plan.gop_frames, fps, rule),
        segment_gops=rule.gops,
        opening_gops=rule.opening_gops,
        created_at=db_now(session),
    )
    session.add(publication)
    session.flush()
    tracks = [_picture(rung, plan.fps, plan.timescale) for rung in plan.rungs]
    for place, track in enumerate([*tracks, *([_sound(plan.audio)] if plan.audio else [])]):
        track.publication_id, track.place = publication.id, place
        session.add(track)
    session.flush()


@dataclass(frozen=True)
class NewChunk:
    """Chunk number `index` of a track, just recorded, and the key of its object."""

    track: str
    index: int
    key: str
    part: TrackPart


def show_chunk(session: Session, job: Job, new: NewChunk) -> None:
    """Add a recorded chunk to its track; players see it once all before it are there. It stays what it is.

    Raises `InconsistentChunksError` where it needs other decoder settings than the chunks before it, or its table is
    none.
    """
    publication = repository.find_publication_of_job(session, job.id)
    assert publication is not None
    tracks = repository.tracks_of(session, [publication.id])
    track, part = next(track for track in tracks if track.name == new.track), new.part
    _settle_decoder(track, lifecycle.plan_of(job), part)
    samples = b64decode(part.table)
    session.add(
        TrackChunk(
            track_id=track.id,
            index=new.index,
            key=new.key,
            size_bytes=part.size_bytes,
            first_gop=part.first_gop,
            fragments=_index_of(part, samples),
            samples=samples,
        )
    )
    session.flush()
    if new.index == track.shown_chunks:
        _show_more(session, publication, track)
    _mark_playable(session, job, list(tracks))


def without_table(part: TrackPart) -> TrackPart:
    """Return a part as its task keeps it: the table is in the chunk's row."""
    return replace(part, table="")


def start_pictures_again(session: Session, job: Job) -> None:
    """Take back every chunk of the picture, as their decoder settings differ from those to come; the sound stays.

    What was shown was shown under another number: who watches it is told that it is gone.
    """
    publication = repository.find_publication_of_job(session, job.id)
    assert publication is not None
    for track in repository.tracks_of(session, [publication.id]):
        if track.kind == "video":
            repository.delete_chunks(session, track.id)
            track.codec_config = track.init = None
            track.shown_chunks = track.shown_segments = 0
    job.generation += 1
    publication.generation, job.playable_at = job.generation, None
    announce_access_change(session)
    session.flush()


def withdraw(session: Session, job: Job, *, may_return: bool) -> None:
    """Let nobody see any more what an unfinished job has shown; a failed one's rows stay for its retry."""
    publication = repository.find_publication_of_job(session, job.id)
    if publication is None or publication.state != PublicationState.GROWING:
        return
    job.playable_at = None
    announce_access_change(session)
    if may_return:
        publication.state = PublicationState.WITHDRAWN
        return
    repository.delete_publication(session, publication.id)
    job.generation += 1


def bring_back(session: Session, job: Job) -> None:
    """Go on showing what a failed job had recorded: its chunks are the same, so its URLs are.

    It is playable again once there is more: what made it fail may do so again at once.
    """
    publication = repository.find_publication_of_job(session, job.id)
    if publication is not None and publication.state == PublicationState.WITHDRAWN:
        publication.state = PublicationState.GROWING


def complete(session: Session, job: Job, package: PackageResult, head_keys: dict[str, str]) -> Publication:
    """Make the publication of a job whole: what was measured, and the heads of its files. No chunk is touched."""
    publication = repository.find_publication_of_job(session, job.id)
    assert publication is not None
    for track in repository.tracks_of(session, [publication.id]):
        track.facts, track.head_key = asdict(package.tracks[track.name]), head_keys.get(track.name)
    repository.drop_samples(session, publication.id)
    publication.state, publication.published_at = PublicationState.PUBLISHED, db_now(session)
    if repository.is_used(session, publication):
        job.generation = 1 + repository.highest_generation(session, job.video_id, job.id)
    publication.generation = job.generation
    return publication


def retire(session: Session, video: Video, served_for: Callable[[float], timedelta]) -> tuple[list[str], timedelta]:
    """Let what is published be replaced: it is served on for those who watch it.

    `served_for` says for how long, from its duration in seconds. Return the keys of its objects and that time.
    """
    old = repository.find_publication(session, video.id, video.generation)
    if old is None:
        return [], timedelta(0)
    at_most = served_for(old.duration_s)
    old.state, old.until = PublicationState.RETIRED, db_now(session) + at_most - _SLACK
    return repository.stored_keys(session, old.id), at_most


def forget_retired(database: Database) -> None:
    """Forget the generations that nobody can ask for any more; their objects are garbage by then."""
    with database.read() as session:
        if not repository.has_retired_before(session, db_now(session)):
            return
    with database.write() as session:
        repository.delete_retired_before(session, db_now(session))


def published_keys(session: Session, video_id: str) -> list[str]:
    """Return the keys of everything that players can ask for of a video."""
    published = repository.published_of(session, [video_id])
    return [key for publication in published for key in repository.stored_keys(session, publication.id)]


def recorded_tracks(session: Session, job_id: str) -> Sequence[Track]:
    """Return the tracks of what a job makes."""
    publication = repository.find_publication_of_job(session, job_id)
    assert publication is not None
    return repository.tracks_of(session, [publication.id])


def recorded_objects(session: Session, track_id: str) -> list[tuple[str, int]]:
    """Return the key and the size of each recorded chunk of a track."""
    return [(chunk.key, chunk.start + chunk.size_bytes) for chunk in repository.chunks_of(session, track_id)]


def sample_tables(session: Session, track_id: str) -> Iterator[bytes]:
    """Yield the packed sample tables of a track's chunks, in order."""
    return repository.sample_tables(session, track_id)


def _picture(rung: Rung, fps: Rational, timescale: int) -> Track:
    level = h264_level(rung.width, rung.height, Fraction(fps.num, fps.den))
    return Track(
        kind="video",
        name=rung.name,
        codecs=f"avc1.6400{level:02X}",
        timescale=timescale,
        width=rung.width,
        height=rung.height,
        peak_bps=rung.maxrate_bps,
        shown_chunks=0,
        shown_segments=0,
    )


def _sound(audio: AudioPlan) -> Track:
    return Track(
        kind="audio",
        name=SOUND,
        codecs="mp4a.40.2",
        timescale=audio.sample_rate,
        channels=audio.channels,
        peak_bps=audio.bitrate_bps,
        shown_chunks=0,
        shown_segments=0,
    )


def _settle_decoder(track: Track, plan: EncodePlan, part: TrackPart) -> None:
    """Make the init segment of the first chunk: a pure function of the plan and the encoder's header."""
    if track.codec_config is not None:
        if (track.codec_config, track.delay_ticks) != (part.codec_config, part.delay_ticks):
            raise InconsistentChunksError(f"the chunks of {track.name} need different decoder settings")
        return
    config = bytes.fromhex(part.codec_config)
    track.codec_config, track.delay_ticks = part.codec_config, part.delay_ticks
    if track.kind == "audio":
        assert plan.audio is not None
        described, ticks = audio_track(plan.audio, config), plan.audio.frames * FRAME_SAMPLES
        track.codecs = audio_codecs(config)
    else:
        rung = next(rung for rung in plan.rungs if rung.name == track.name)
        described = video_track(rung, plan.timescale, plan.picture, config, part.delay_ticks)
        ticks, track.codecs = plan.frames * plan.frame_ticks, video_codecs(config)
    track.init = build_init(described, ticks)


def _index_of(part: TrackPart, samples: bytes) -> bytes:
    """Return what serving needs of a chunk. Raises InconsistentChunksError where its table does not fit its file."""
    try:
        table = TrackTable.unpack(samples)
    except ValueError as error:
        raise InconsistentChunksError(f"{part.file}: {error}") from error
    found = (int(table.fragment_sizes.sum()), len(table.sizes), len(table.fragment_sizes))
    if found != (part.size_bytes, part.samples, part.fragments):
        raise InconsistentChunksError(f"{part.file} is not what its table says")
    return table.index.pack()


def _show_more(session: Session, publication: Publication, track: Track) -> None:
    rule = SegmentRule(publication.segment_gops, publication.opening_gops)
    waiting = enumerate(repository.chunks_of(session, track.id, track.shown_chunks), track.shown_chunks)
    for _, chunk in takewhile(lambda pair: pair[0] == pair[1].index, waiting):
        track.shown_chunks += 1
        track.shown_segments += len(rule.firsts(chunk.first_gop, len(chunk.fragments) // _ROW_BYTES))


def _mark_playable(session: Session, job: Job, tracks: list[Track]) -> None:
    """Say that the first seconds can be played, with their sound, while the rest is still being made."""
    if job.playable_at is not None or session.get_one(Video, job.video_id).generation:
        return
    begun = {track.name for track in tracks if track.shown_segments >= LEAST_SEGMENTS}
    pictures = any(track.name in begun for track in tracks if track.kind == "video")
    if pictures and all(track.name in begun for track in tracks if track.kind == "audio"):
        job.playable_at = db_now(session)
        emit(session, job, EventKind.PLAYABLE, PlayableEvent(job_id=job.id, video_id=job.video_id))
