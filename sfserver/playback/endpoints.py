"""What players ask for: progressive files, HLS and DASH, signed links, and everything below a signed link."""

import re
from collections.abc import Callable
from datetime import UTC, datetime
from functools import partial
from typing import Annotated, TypeVar

from fastapi import APIRouter, Depends, Query, Request, Response
from starlette.concurrency import run_in_threadpool

from sfserver.accounts.access import SESSION_COOKIE, Caller, find_principal
from sfserver.accounts.service import user_id_of
from sfserver.deps import ReadSession
from sfserver.errors import NotFoundError
from sfserver.media.mp4.dash import dash_manifest
from sfserver.media.mp4.hls import master_playlist
from sfserver.models import Video
from sfserver.playback.answer import MediaResponse, attachment
from sfserver.playback.bodies import ProgressiveFile, StoredObject
from sfserver.playback.service import (
    Playback,
    Publication,
    SourceFile,
    find_watchable,
    publication_for,
    publication_of,
    source_for,
)
from sfserver.videos.service import find_watchable_video
from sfserver.wire.videos import FileLink, VideoLinks

router = APIRouter(tags=["playback"])
Admitted = TypeVar("Admitted")
PLAYLIST = "application/vnd.apple.mpegurl"
MANIFEST = "application/dash+xml"
# By the first part of the path: what is published is ours, and so are its types.
_STORED_TYPES = {"hls": PLAYLIST, "v": "video/mp4", "a": "audio/mp4"}
# By FFmpeg's first name of the container.
_SOURCE_TYPES = {
    "mov": ("video/mp4", ".mp4"),
    "matroska": ("video/x-matroska", ".mkv"),
    "avi": ("video/x-msvideo", ".avi"),
    "mpegts": ("video/mp2t", ".ts"),
    "mpeg": ("video/mpeg", ".mpg"),
    "flv": ("video/x-flv", ".flv"),
    "ogg": ("video/ogg", ".ogv"),
}
_PROGRESSIVE_PATH = re.compile(r"file/([0-9a-z]+)\.mp4")
_GENERATION = re.compile(r"[1-9][0-9]{0,8}")
_SOON = "max-age=2"
_FOR_EVER = "max-age=31536000, immutable"
_VIDEO_ANSWERS: dict[int | str, dict[str, object]] = {
    200: {"description": "The whole file.", "content": {"video/mp4": {}}},
    206: {"description": "The range that was asked for.", "content": {"video/mp4": {}}},
}


async def get_playback(request: Request) -> Playback:
    """Return this server's memory of admissions and layouts; needs no thread."""
    playback: Playback = request.app.state.playback
    return playback


PlaybackDep = Annotated[Playback, Depends(get_playback)]


@router.head("/api/stream/{video_or_job_id}/{quality}", include_in_schema=False)
@router.get("/api/stream/{video_or_job_id}/{quality}", response_class=Response, responses=_VIDEO_ANSWERS)
async def stream_file(
    video_or_job_id: str,
    quality: str,
    request: Request,
    playback: PlaybackDep,
    *,
    container: Annotated[str, Query(alias="format", description="`mp4` or `webm`.")] = "mp4",
    download: Annotated[bool, Query(description="Answer with a file name, to be saved.")] = False,
) -> Response:
    """Send one quality as a seekable file; `source` is the uploaded file, for its owner."""
    if quality == "source":
        source = await _admit(request, playback, video_or_job_id, SourceFile, source_for)
        return _source_answer(playback, source, download=download)
    published = await _admit(request, playback, video_or_job_id, Publication, publication_for)
    published.check_rendition(quality, container)
    file = await _progressive(playback, published, quality)
    headers = {"Cache-Control": "private, no-cache"}
    if download:
        headers["Content-Disposition"] = attachment(published.title, f"-{quality}.mp4")
    return _progressive_answer(playback, published, file, headers)


@router.get(
    "/api/videos/{video_id}/hls/master.m3u8", response_class=Response, responses={200: {"content": {PLAYLIST: {}}}}
)
def read_hls_master(video_id: str, caller: Caller, session: ReadSession, playback: PlaybackDep) -> Response:
    """Return the HLS multivariant playlist; its children are signed, so that players need no header for them."""
    published = publication_of(find_watchable_video(session, user_id_of(caller), video_id))
    base, _ = playback.media_base(published, caller)
    text = master_playlist(published.package, prefix=f"{base}/hls/", language=published.language)
    return _text(text, PLAYLIST, "private, no-cache")


@router.get(
    "/api/videos/{video_id}/dash/manifest.mpd", response_class=Response, responses={200: {"content": {MANIFEST: {}}}}
)
def read_dash_manifest(video_id: str, caller: Caller, session: ReadSession, playback: PlaybackDep) -> Response:
    """Return the DASH manifest; its URLs are signed."""
    published = publication_of(find_watchable_video(session, user_id_of(caller), video_id))
    base, _ = playback.media_base(published, caller)
    text = dash_manifest(published.package, prefix=f"{base}/", language=published.language)
    return _text(text, MANIFEST, "private, no-cache")


@router.get("/api/videos/{video_id}/links")
def read_links(video_id: str, caller: Caller, session: ReadSession, playback: PlaybackDep) -> VideoLinks:
    """Return signed URLs for players that send no header."""
    published = publication_of(find_watchable_video(session, user_id_of(caller), video_id))
    base, expires = playback.media_base(published, caller)
    return VideoLinks(
        hls=f"{base}/hls/master.m3u8",
        dash=f"{base}/dash/manifest.mpd",
        files=[FileLink(quality=name, format="mp4", url=f"{base}/file/{name}.mp4") for name in published.qualities],
        expires_at=datetime.fromtimestamp(expires, UTC),
    )


@router.head("/m/{token}/{video_id}/{generation}/{path:path}", include_in_schema=False)
@router.get("/m/{token}/{video_id}/{generation}/{path:path}", response_class=Response, responses=_VIDEO_ANSWERS)
async def open_media_gate(token: str, video_id: str, generation: str, path: str, playback: PlaybackDep) -> Response:
    """Send what lies below a signed URL."""
    if not _GENERATION.fullmatch(generation):
        raise NotFoundError
    key = (token, video_id, generation)
    ask = partial(playback.admit_token, token, video_id, int(generation))
    published = await playback.admit(key, Publication, ask)
    shared = "public" if token.startswith("p-") else "private"
    if path == "hls/master.m3u8":
        return _text(master_playlist(published.package, language=published.language), PLAYLIST, f"{shared}, {_SOON}")
    if path == "dash/manifest.mpd":
        return _text(dash_manifest(published.package, language=published.language), MANIFEST, f"{shared}, {_SOON}")
    return await _media_answer(playback, published, path, shared)


async def _admit(
    request: Request,
    playback: Playback,
    video_or_job_id: str,
    kind: type[Admitted],
    admit: Callable[[Video, str | None], Admitted],
) -> Admitted:
    """Return what the caller may see of a video; asks the database once in a while."""
    key = (kind, request.headers.get("authorization"), request.cookies.get(SESSION_COOKIE), video_or_job_id)

    def ask() -> Admitted:
        caller = find_principal(request, playback.runtime)
        viewer_id = user_id_of(caller)
        with playback.runtime.database.read() as session:
            return admit(find_watchable(session, viewer_id, video_or_job_id), viewer_id)

    return await playback.admit(key, kind, ask)


async def _media_answer(playback: Playback, published: Publication, path: str, shared: str) -> Response:
    progressive = _PROGRESSIVE_PATH.fullmatch(path)
    if progressive and progressive[1] in published.qualities:
        file = await _progressive(playback, published, progressive[1])
        return _progressive_answer(playback, published, file, {"Cache-Control": f"{shared}, {_FOR_EVER}"})
    media_type, size = _STORED_TYPES.get(path.partition("/")[0]), published.package.files.get(path)
    if media_type is None or size is None:
        raise NotFoundError
    lasting = _SOON if media_type == PLAYLIST else _FOR_EVER
    return MediaResponse(
        playback.runtime.store,
        StoredObject(f"{published.prefix}/{path}", size),
        media_type=media_type,
        held=published.validators(path),
        headers={"Cache-Control": f"{shared}, {lasting}"},
    )


def _progressive_answer(
    playback: Playback, published: Publication, file: ProgressiveFile, headers: dict[str, str]
) -> MediaResponse:
    held = published.validators(f"file/{file.quality}.mp4")
    return MediaResponse(playback.runtime.store, file, media_type="video/mp4", held=held, headers=headers)


def _source_answer(playback: Playback, source: SourceFile, *, download: bool) -> MediaResponse:
    media_type, extension = _SOURCE_TYPES.get(source.container.partition(",")[0], ("application/octet-stream", ""))
    headers = {"Cache-Control": "private, no-cache"}
    if download or not extension:
        headers["Content-Disposition"] = attachment(source.title, extension)
    body = StoredObject(source.key, source.size_bytes)
    return MediaResponse(playback.runtime.store, body, media_type=media_type, held=source.held, headers=headers)


async def _progressive(playback: Playback, published: Publication, quality: str) -> ProgressiveFile:
    known = playback.find_layout(published, quality)
    return known if known is not None else await run_in_threadpool(playback.load_layout, published, quality)


def _text(text: str, media_type: str, cache_control: str) -> Response:
    return Response(text, media_type=media_type, headers={"Cache-Control": cache_control})
