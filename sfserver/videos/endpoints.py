"""`/api/videos`: the library."""

from typing import Annotated

from fastapi import APIRouter, Query

from sfserver.accounts.access import Caller, SignedIn
from sfserver.accounts.service import user_id_of
from sfserver.deps import ReadSession, RuntimeDep, WriteSession
from sfserver.errors import VideoNotFoundError
from sfserver.infra.paging import Limit, cut_page, decode_cursor, encode_cursor
from sfserver.models import Video
from sfserver.videos import repository, service
from sfserver.videos.reading import read_renditions, read_videos
from sfserver.videos.repository import VideoFilter, VideoSort
from sfserver.wire.jobs import JobStatus
from sfserver.wire.page import Page
from sfserver.wire.videos import RenditionRead, VideoChange, VideoRead, Visibility

router = APIRouter(tags=["videos"])


@router.get("/api/videos")
def list_videos(
    principal: SignedIn,
    session: ReadSession,
    *,
    q: Annotated[str | None, Query(max_length=200, description="Text in title or description.")] = None,
    status: JobStatus | None = None,
    visibility: Visibility | None = None,
    sort: VideoSort = VideoSort.NEWEST,
    limit: Limit = 50,
    cursor: str | None = None,
) -> Page[VideoRead]:
    """List my videos."""
    wanted = VideoFilter(principal.user_id, q, status, visibility)
    found = repository.find_page(session, wanted, sort, after=decode_cursor(cursor), limit=limit + 1)
    rows, more = cut_page(found, limit)
    return Page(
        items=read_videos(session, rows, principal.user_id),
        next_cursor=encode_cursor(rows[-1].video.id) if more else None,
    )


@router.get("/api/videos/{video_id}")
def get_video(video_id: str, caller: Caller, session: ReadSession) -> VideoRead:
    """Return a video: mine, a public or an unlisted one."""
    viewer_id = user_id_of(caller)
    service.find_watchable_video(session, viewer_id, video_id)
    return _read(session, video_id, viewer_id)


@router.get("/api/videos/{video_id}/renditions")
def list_renditions(video_id: str, caller: Caller, session: ReadSession) -> list[RenditionRead]:
    """Return the qualities that can be played."""
    return read_renditions(session, service.find_watchable_video(session, user_id_of(caller), video_id).id)


@router.patch("/api/videos/{video_id}")
def change_video(video_id: str, change: VideoChange, caller: Caller, session: WriteSession) -> VideoRead:
    """Change title, description, visibility or language; what is left out stays."""
    video = _own(session, caller, video_id)
    service.change_video(session, video, change)
    session.flush()
    return _read(session, video_id, video.owner_id)


@router.delete("/api/videos/{video_id}", status_code=204)
def delete_video(
    video_id: str, caller: Caller, session: WriteSession, runtime: RuntimeDep, purge: bool = False
) -> None:
    """Move a video to the trash, or with `purge` remove everything of it for good, from the trash too."""
    if not purge:
        service.trash_video(session, runtime, _own(session, caller, video_id).id)
        return
    try:
        video = _own(session, caller, video_id)
    except VideoNotFoundError:
        video = service.get_own_video(session, user_id_of(caller), video_id, trashed=True)
    service.purge_video(session, runtime, video)


@router.post("/api/videos/{video_id}/restore")
def restore_video(video_id: str, caller: Caller, session: WriteSession) -> VideoRead:
    """Take a video out of the trash."""
    video = service.get_own_video(session, user_id_of(caller), video_id, trashed=True)
    service.restore_video(video)
    session.flush()
    return _read(session, video_id, video.owner_id)


def _own(session: ReadSession, caller: Caller, video_id: str) -> Video:
    return service.get_own_video(session, user_id_of(caller), video_id)


def _read(session: ReadSession, video_id: str, viewer_id: str | None) -> VideoRead:
    row = repository.find_row(session, video_id)
    if row is None:
        raise VideoNotFoundError
    return read_videos(session, [row], viewer_id)[0]
