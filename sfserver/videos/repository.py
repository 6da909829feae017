"""All SQL about videos."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from sqlalchemy import Select, and_, delete, exists, func, select
from sqlalchemy.orm import Session, aliased

from sfserver.models import Asset, Job, Video


class VideoSort(StrEnum):
    """Orders of a list; a minus turns one round."""

    NEWEST = "-created_at"
    OLDEST = "created_at"
    TITLE = "title"
    TITLE_REVERSED = "-title"


@dataclass(frozen=True)
class VideoFilter:
    """Which of an owner's videos; `text` is looked for in title and description."""

    owner_id: str
    text: str | None = None
    status: str | None = None
    visibility: str | None = None


@dataclass(frozen=True)
class VideoRow:
    """A video with its newest job's id and status, and whether it has a poster."""

    video: Video
    job_id: str | None
    job_status: str | None
    has_poster: bool = False


def find_video(session: Session, video_id: str) -> Video | None:
    """Return the video, in the trash or not, or None."""
    return session.get(Video, video_id)


def find_row(session: Session, video_id: str) -> VideoRow | None:
    """Return the video with its newest job, or None."""
    rows = session.execute(_with_newest_job().where(Video.id == video_id))
    return next((VideoRow(*row) for row in rows), None)


def find_page(
    session: Session, wanted: VideoFilter, sort: VideoSort, *, after: str | None, limit: int
) -> Sequence[VideoRow]:
    """Return up to `limit` videos that are not in the trash, after the one whose id is `after`."""
    query = _filtered(wanted)
    # Ids are UUIDv7: their order is the order of creation.
    order = func.lower(Video.title) if sort in {VideoSort.TITLE, VideoSort.TITLE_REVERSED} else Video.id
    falling = sort in {VideoSort.NEWEST, VideoSort.TITLE_REVERSED}
    if after is not None:
        last = aliased(Video)
        later_id = Video.id < after if falling else Video.id > after
        key = select(func.lower(last.title)).where(last.id == after).scalar_subquery()
        beyond = order < key if falling else order > key
        query = query.where(later_id if order is Video.id else beyond | and_(order == key, later_id))
    ordering = (order.desc(), Video.id.desc()) if falling else (order, Video.id)
    rows = session.execute(query.order_by(*ordering).limit(limit))
    return [VideoRow(*row) for row in rows]


def find_assets(session: Session, video_id: str, kind: str | None) -> Sequence[Asset]:
    """Return the assets of a video by kind and name, of one kind or all."""
    query = select(Asset).where(Asset.video_id == video_id).order_by(Asset.kind, Asset.name)
    return session.scalars(query if kind is None else query.where(Asset.kind == kind)).all()


def delete_rows(session: Session, video_id: str) -> None:
    """Delete a video and its jobs with all that hangs on them."""
    session.execute(delete(Job).where(Job.video_id == video_id))
    session.execute(delete(Video).where(Video.id == video_id))


def trashed_before(session: Session, moment: datetime) -> Sequence[str]:
    """Return the ids of videos that have been in the trash since before `moment`."""
    return session.scalars(select(Video.id).where(Video.deleted_at < moment).limit(100)).all()


def _with_newest_job() -> Select[Video, str, str, bool]:
    newest = select(func.max(Job.id)).where(Job.video_id == Video.id).correlate(Video).scalar_subquery()
    poster = exists().where(Asset.video_id == Video.id, Asset.kind == "poster").correlate(Video)
    return select(Video, Job.id, Job.status, poster).outerjoin(Job, Job.id == newest)


def _filtered(wanted: VideoFilter) -> Select[Video, str, str, bool]:
    query = _with_newest_job().where(Video.owner_id == wanted.owner_id, Video.deleted_at.is_(None))
    if wanted.text:
        found = Video.title.icontains(wanted.text, autoescape=True)
        query = query.where(found | Video.description.icontains(wanted.text, autoescape=True))
    if wanted.status is not None:
        query = query.where(Job.status == wanted.status)
    if wanted.visibility is not None:
        query = query.where(Video.visibility == wanted.visibility)
    return query
