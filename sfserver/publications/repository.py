"""All SQL about publications, their tracks and chunks."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from sqlalchemy import ColumnElement, and_, delete, exists, func, select, update
from sqlalchemy.orm import Session

from sfserver.models import Job, Publication, Track, TrackChunk, Video


class PublicationState(StrEnum):
    """Where a publication stands; the first two can be watched."""

    GROWING = "growing"
    PUBLISHED = "published"
    RETIRED = "retired"
    WITHDRAWN = "withdrawn"


@dataclass(frozen=True)
class ChunkRow:
    """A recorded chunk without its samples."""

    index: int
    key: str
    start: int
    size_bytes: int
    first_gop: int
    fragments: bytes


def find_publication(session: Session, video_id: str, generation: int) -> Publication | None:
    """Return a generation of a video, or None."""
    mine = select(Publication).where(Publication.video_id == video_id, Publication.generation == generation)
    return session.scalars(mine).one_or_none()


def find_publication_of_job(session: Session, job_id: str) -> Publication | None:
    """Return what a job makes or has made, or None."""
    return session.scalars(select(Publication).where(Publication.job_id == job_id)).one_or_none()


def find_playable(session: Session, video: Video) -> Publication | None:
    """Return what can be watched of a video: what is published, else what grows and has begun to play."""
    if video.generation:
        return find_publication(session, video.id, video.generation)
    growing = (
        select(Publication)
        .join(Job, Job.id == Publication.job_id)
        .where(Publication.video_id == video.id, Publication.state == PublicationState.GROWING)
        .where(Job.playable_at.is_not(None))
        .order_by(Publication.generation.desc())
    )
    return session.scalars(growing.limit(1)).one_or_none()


def published_of(session: Session, video_ids: Sequence[str]) -> Sequence[Publication]:
    """Return what is published of some videos."""
    query = select(Publication).where(Publication.video_id.in_(video_ids))
    return session.scalars(query.where(Publication.state == PublicationState.PUBLISHED)).all()


def is_used(session: Session, publication: Publication) -> bool:
    """Whether a newer generation of the video was published meanwhile, so that this one needs another number."""
    return publication.generation <= session.get_one(Video, publication.video_id).generation


def tracks_of(session: Session, publication_ids: Sequence[str]) -> Sequence[Track]:
    """Return the tracks of some publications, the best picture first, the sound last."""
    query = select(Track).where(Track.publication_id.in_(publication_ids))
    return session.scalars(query.order_by(Track.publication_id, Track.place)).all()


def chunks_of(session: Session, track_id: str, first: int = 0) -> list[ChunkRow]:
    """Return the recorded chunks of a track from number `first` on, in order."""
    chunk = TrackChunk
    columns = (chunk.index, chunk.key, chunk.start, chunk.size_bytes, chunk.first_gop, chunk.fragments)
    query = select(*columns).where(TrackChunk.track_id == track_id, TrackChunk.index >= first)
    return [ChunkRow(*row) for row in session.execute(query.order_by(TrackChunk.index))]


def find_init(session: Session, track_id: str) -> bytes | None:
    """Return the init segment of a track, or None while it has no chunk."""
    return session.scalar(select(Track.init).where(Track.id == track_id))


def incomplete_tracks(session: Session) -> Sequence[str]:
    """Return the ids of tracks that have a chunk and no init segment: they were published before there were rows."""
    query = select(Track.id).join(TrackChunk, and_(TrackChunk.track_id == Track.id, TrackChunk.index == 0))
    return session.scalars(query.where(Track.init.is_(None))).all()


def find_chunk(session: Session, track_id: str, index: int) -> TrackChunk:
    """Return the row of a chunk that there is."""
    return session.get_one(TrackChunk, (track_id, index))


def sample_tables(session: Session, track_id: str) -> Iterator[bytes]:
    """Yield the packed sample tables of a track's chunks, in order."""
    query = select(TrackChunk.samples).where(TrackChunk.track_id == track_id).order_by(TrackChunk.index)
    for samples in session.scalars(query.execution_options(yield_per=100)):
        yield samples or b""


def stored_keys(session: Session, publication_id: str) -> list[str]:
    """Return the keys of everything that players can ask for."""
    mine = select(Track.id).where(Track.publication_id == publication_id)
    heads = session.scalars(select(Track.head_key).where(Track.id.in_(mine), Track.head_key.is_not(None)))
    chunks = session.scalars(select(TrackChunk.key).where(TrackChunk.track_id.in_(mine)))
    return [*(key for key in heads if key is not None), *chunks]


def highest_generation(session: Session, video_id: str, besides_job_id: str) -> int:
    """Return the highest number that the video or any other job of it has used; each is used once, as URLs hold it."""
    others = select(func.max(Job.generation)).where(Job.video_id == video_id, Job.id != besides_job_id)
    return max(session.scalar(others) or 0, session.get_one(Video, video_id).generation)


def drop_samples(session: Session, publication_id: str) -> None:
    """Forget the sample tables of what is packaged."""
    mine = select(Track.id).where(Track.publication_id == publication_id)
    session.execute(update(TrackChunk).where(TrackChunk.track_id.in_(mine)).values(samples=None))


def delete_chunks(session: Session, track_id: str) -> None:
    """Forget the chunks of a track."""
    session.execute(delete(TrackChunk).where(TrackChunk.track_id == track_id))


def delete_publication(session: Session, publication_id: str) -> None:
    """Forget a publication with its tracks and chunks."""
    session.execute(delete(Publication).where(Publication.id == publication_id))


def has_retired_before(session: Session, moment: datetime) -> bool:
    """Whether a replaced generation was to be served until before `moment`."""
    return bool(session.scalar(select(exists().where(_retired_before(moment)))))


def delete_retired_before(session: Session, moment: datetime) -> None:
    """Forget the replaced generations that were to be served until before `moment`."""
    session.execute(delete(Publication).where(_retired_before(moment)))


def _retired_before(moment: datetime) -> ColumnElement[bool]:
    return and_(Publication.state == PublicationState.RETIRED, Publication.until <= moment)
