"""The life of a video after its upload: who sees it, changes, trash, and removal for good."""

from datetime import timedelta

from sqlalchemy.orm import Session

from sfserver.accounts.service import announce_access_change
from sfserver.deps import Runtime
from sfserver.errors import VideoNotFoundError
from sfserver.infra.clock import db_now
from sfserver.models import Video
from sfserver.publications.service import published_keys
from sfserver.tasks import garbage, lifecycle
from sfserver.tasks.repository import lock_job
from sfserver.videos import repository
from sfserver.videos.assets import assets_of
from sfserver.wire.videos import VideoChange, Visibility


def find_watchable_video(session: Session, viewer_id: str | None, video_id: str) -> Video:
    """Return a video that the viewer may watch: their own, public or unlisted.

    Raises `VideoNotFoundError` for all others, whether they exist or not.
    """
    video = repository.find_video(session, video_id)
    if video is None or video.deleted_at is not None:
        raise VideoNotFoundError
    if video.visibility == Visibility.PRIVATE and video.owner_id != viewer_id:
        raise VideoNotFoundError
    return video


def get_own_video(session: Session, owner_id: str | None, video_id: str, *, trashed: bool = False) -> Video:
    """Return a video of this owner, from the library or from the trash; else `VideoNotFoundError`."""
    video = repository.find_video(session, video_id)
    if video is None or video.owner_id != owner_id or (video.deleted_at is not None) != trashed:
        raise VideoNotFoundError
    return video


def change_video(session: Session, video: Video, change: VideoChange) -> None:
    """Apply what a client sent; ending public access closes the URLs everybody had."""
    wanted = change.model_dump(exclude_unset=True)
    was_shared = video.visibility != Visibility.PRIVATE
    for name, value in wanted.items():
        if value is not None or name == "language":
            setattr(video, name, value)
    if was_shared and video.visibility == Visibility.PRIVATE:
        video.public_epoch += 1
    announce_access_change(session)


def trash_video(session: Session, runtime: Runtime, video_id: str) -> None:
    """Make a video unreachable at once; it can be restored for `trash_days`. Its unfinished jobs are cancelled."""
    for job in lifecycle.jobs_of(session, video_id):
        locked = lock_job(session, job.id)
        if locked is not None:
            lifecycle.cancel_job(session, runtime.stages, locked)
    video = repository.find_video(session, video_id)
    if video is not None and video.deleted_at is None:
        video.deleted_at = db_now(session)
    announce_access_change(session)


def restore_video(video: Video) -> None:
    """Take a video out of the trash."""
    video.deleted_at = None


def purge_video(session: Session, runtime: Runtime, video: Video) -> None:
    """Remove everything of a video, without return: its rows now, its objects as garbage, in one transaction."""
    trash_video(session, runtime, video.id)
    keys = [
        video.source_key,
        *published_keys(session, video.id),
        *(asset.key for asset in assets_of(session, video.id)),
    ]
    for job in lifecycle.jobs_of(session, video.id):
        keys += lifecycle.discard_job(session, runtime.stages, job)
    garbage.discard(session, dict.fromkeys(keys))
    session.flush()
    repository.delete_rows(session, video.id)


def purge_expired(runtime: Runtime) -> None:
    """Remove the videos that have been in the trash for too long."""
    with runtime.database.read() as session:
        before = db_now(session) - timedelta(days=runtime.settings.videos.trash_days)
        expired = repository.trashed_before(session, before)
    for video_id in expired:
        with runtime.database.write() as session:
            video = repository.find_video(session, video_id)
            # Somebody may have restored it since it was looked up.
            if video is not None and video.deleted_at is not None and video.deleted_at < before:
                purge_video(session, runtime, video)
