"""`/api/videos/{id}/poster.jpg` and `.webp`: the picture that stands for a video."""

from enum import StrEnum
from typing import Annotated

from fastapi import APIRouter, Query, Response

from sfserver.accounts.access import Caller
from sfserver.accounts.service import user_id_of
from sfserver.deps import ReadSession, RuntimeDep
from sfserver.errors import UnknownRenditionError
from sfserver.playback.answer import MediaResponse
from sfserver.playback.bodies import StoredObject
from sfserver.playback.ranges import Validators, entity_tag
from sfserver.videos.assets import assets_of
from sfserver.videos.service import find_watchable_video

router = APIRouter(tags=["insights"])
_SUFFIXES = ("jpg", "webp")
_ANSWERS: dict[int | str, dict[str, object]] = {
    200: {"description": "The picture.", "content": {"image/jpeg": {}, "image/webp": {}}}
}


class PosterSize(StrEnum):
    """How large a poster: within 1280x720, or within 640x360."""

    LARGE = "large"
    SMALL = "small"


@router.head("/api/videos/{video_id}/poster.{suffix}", include_in_schema=False)
@router.get("/api/videos/{video_id}/poster.{suffix}", response_class=Response, responses=_ANSWERS)
def read_poster(
    video_id: str,
    suffix: str,
    *,
    caller: Caller,
    session: ReadSession,
    runtime: RuntimeDep,
    size: Annotated[PosterSize, Query(description="`large` (1280x720) or `small` (640x360).")] = PosterSize.LARGE,
) -> Response:
    """Send the poster (`jpg` or `webp`) of a video that the caller may watch; 404 `unknown_rendition` without one."""
    video = find_watchable_video(session, user_id_of(caller), video_id)
    if suffix not in _SUFFIXES:
        raise UnknownRenditionError(f"there is no poster as {suffix[:20]}; there is: {', '.join(_SUFFIXES)}")
    name = f"poster{'-small' if size is PosterSize.SMALL else ''}.{suffix}"
    asset = next((asset for asset in assets_of(session, video.id, "poster") if asset.name == name), None)
    if asset is None:
        raise UnknownRenditionError("this video has no poster yet")
    return MediaResponse(
        runtime.store,
        StoredObject(asset.key, asset.size_bytes),
        media_type=asset.media_type,
        held=Validators(entity_tag(asset.key), asset.created_at),
        headers={"Cache-Control": "private, no-cache"},
    )
