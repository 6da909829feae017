"""What players ask for: progressive files, HLS and DASH, signed links, and everything below a signed link."""

import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from typing import Annotated, TypeVar

from fastapi import APIRouter, Depends, Query, Request, Response
from sqlalchemy.orm import Session
from starlette.concurrency import run_in_threadpool

from sfserver.accounts.access import SESSION_COOKIE, Caller, find_principal
from sfserver.accounts.service import Principal, user_id_of
from sfserver.deps import ReadSession, Runtime
from sfserver.errors import NotFoundError
from sfserver.infra.storage.contract import ObjectStore
from sfserver.models import Video
from sfserver.playback.admission import Admissions, SourceFile, Watchable, find_watchable, source_for, watchable_for
from sfserver.playback.answer import MediaResponse, attachment
from sfserver.playback.bodies import Body, HeldBytes, ProgressiveFile, StoredObject
from sfserver.playback.catalogue import Catalogue, master_playlist, object_of
from sfserver.playback.encoding import text_response, wants_gzip
from sfserver.playback.ranges import Validators, entity_tag
from sfserver.publications.reading import Publication, Track, publication_of
from sfserver.videos.service import find_watchable_video
from sfserver.wire.videos import FileLink, VideoLinks

router = APIRouter(tags=["playback"])
Admitted = TypeVar("Admitted")
PLAYLIST = "application/vnd.apple.mpegurl"
MANIFEST = "application/dash+xml"
_MEDIA_TYPES = {"video": "video/mp4", "audio": "audio/mp4"}
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
_LIST_PATH = re.compile(r"hls/(live/)?([0-9a-z]+)(\.iframes)?\.m3u8")
_MEDIA_PATH = re.compile(r"([va]/[0-9a-z]+)/(?:(init)\.mp4|(0|[1-9][0-9]{0,6})\.m4s)")
_GENERATION = re.compile(r"[1-9][0-9]{0,8}")
_SOON = "max-age=1"
_FOR_EVER = "max-age=31536000, immutable"
_VIDEO_ANSWERS: dict[int | str, dict[str, object]] = {
    200: {"description": "The whole file.", "content": {"video/mp4": {}}},
    206: {"description": "The range that was asked for.", "content": {"video/mp4": {}}},
}


@dataclass(frozen=True)
class Playback:
    """What one server knows of who may watch, and of what there is."""

    runtime: Runtime
    admissions: Admissions
    catalogue: Catalogue

    @classmethod
    def of(cls, runtime: Runtime) -> "Playback":
        """Begin with nothing remembered."""
        return cls(runtime, Admissions(runtime), Catalogue(runtime.database))

    @property
    def store(self) -> ObjectStore:
        """Where media lies."""
        return self.runtime.store


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
    watched = await _admit(request, playback, video_or_job_id, Watchable, watchable_for)
    watched.publication.check_rendition(quality, container)
    headers = {"Cache-Control": "private, no-cache"}
    if download:
        headers["Content-Disposition"] = attachment(watched.title, f"-{quality}.mp4")
    return await _progressive_answer(playback, watched.publication, quality, headers)


@router.get(
    "/api/videos/{video_id}/hls/master.m3u8", response_class=Response, responses={200: {"content": {PLAYLIST: {}}}}
)
def read_hls_master(
    video_id: str, request: Request, caller: Caller, session: ReadSession, playback: PlaybackDep
) -> Response:
    """Return the HLS multivariant playlist, while it encodes too; its children are signed and need no header."""
    watched = _watched(session, caller, video_id)
    base, _ = playback.admissions.media_base(watched, caller)
    text = master_playlist(watched.publication, watched.language, prefix=f"{base}/hls/")
    return text_response(request, text, media_type=PLAYLIST, cache_control="private, no-cache")


@router.get(
    "/api/videos/{video_id}/dash/manifest.mpd", response_class=Response, responses={200: {"content": {MANIFEST: {}}}}
)
def read_dash_manifest(
    video_id: str, request: Request, caller: Caller, session: ReadSession, playback: PlaybackDep
) -> Response:
    """Return the DASH manifest; its URLs are signed."""
    watched = _watched(session, caller, video_id)
    if watched.publication.live:
        raise watched.publication.unknown_rendition("DASH manifest")
    base, _ = playback.admissions.media_base(watched, caller)
    packed = wants_gzip(request)
    text = playback.catalogue.load_manifest(watched.publication, f"{base}/", watched.language, packed=packed)
    return text_response(request, text, media_type=MANIFEST, cache_control="private, no-cache")


@router.get("/api/videos/{video_id}/links")
def read_links(video_id: str, caller: Caller, session: ReadSession, playback: PlaybackDep) -> VideoLinks:
    """Return signed URLs for players that send no header; while it encodes there is HLS alone."""
    watched = _watched(session, caller, video_id)
    published = watched.publication
    base, expires = playback.admissions.media_base(watched, caller)
    return VideoLinks(
        hls=f"{base}/hls/master.m3u8",
        dash=None if published.live else f"{base}/dash/manifest.mpd",
        files=[FileLink(quality=name, format="mp4", url=f"{base}/file/{name}.mp4") for name in published.qualities],
        live=published.live,
        expires_at=datetime.fromtimestamp(expires, UTC),
    )


@router.head("/m/{token}/{video_id}/{generation}/{path:path}", include_in_schema=False)
@router.get("/m/{token}/{video_id}/{generation}/{path:path}", response_class=Response, responses=_VIDEO_ANSWERS)
async def open_media_gate(
    token: str, video_id: str, generation: str, path: str, *, request: Request, playback: PlaybackDep
) -> Response:
    """Send what lies below a signed URL."""
    if not _GENERATION.fullmatch(generation):
        raise NotFoundError
    key = (token, video_id, generation)
    ask = partial(playback.admissions.admit_token, token, video_id, int(generation))
    watched = await playback.admissions.admit(key, Watchable, ask)
    published = watched.publication
    shared = "public" if token.startswith("p-") else "private"
    if found := _MEDIA_PATH.fullmatch(path):
        return await _chunk_answer(playback, published, found, f"{shared}, {_FOR_EVER}")
    if found := _PROGRESSIVE_PATH.fullmatch(path):
        if found[1] not in published.qualities:
            raise NotFoundError
        return await _progressive_answer(playback, published, found[1], {"Cache-Control": f"{shared}, {_FOR_EVER}"})
    return await _text_answer(request, playback, watched, path, f"{shared}, {_SOON}")


async def _admit(
    request: Request,
    playback: Playback,
    video_or_job_id: str,
    kind: type[Admitted],
    admit: Callable[[Session, Video, str | None], Admitted],
) -> Admitted:
    """Return what the caller may see of a video; asks the database once in a while."""
    key = (kind, request.headers.get("authorization"), request.cookies.get(SESSION_COOKIE), video_or_job_id)

    def ask() -> Admitted:
        caller = find_principal(request, playback.runtime)
        viewer_id = user_id_of(caller)
        with playback.runtime.database.read() as session:
            return admit(session, find_watchable(session, viewer_id, video_or_job_id), viewer_id)

    return await playback.admissions.admit(key, kind, ask)


async def _text_answer(
    request: Request, playback: Playback, watched: Watchable, path: str, cache_control: str
) -> Response:
    published, packed, media_type = watched.publication, wants_gzip(request), PLAYLIST
    if path == "hls/master.m3u8":
        text: str | bytes = master_playlist(published, watched.language)
    elif path == "dash/manifest.mpd" and not published.live:
        media_type = MANIFEST
        load = partial(playback.catalogue.load_manifest, published, "../", watched.language, packed=packed)
        text = await run_in_threadpool(load)
    elif found := _LIST_PATH.fullmatch(path):
        text = await _playlist(playback, published, found, packed=packed)
    else:
        raise NotFoundError
    return text_response(request, text, media_type=media_type, cache_control=cache_control)


async def _playlist(playback: Playback, published: Publication, found: re.Match[str], *, packed: bool) -> bytes:
    """Return a media playlist. The list that grows is there after its end too, for those who follow it."""
    live, name, iframes = found.groups()
    track = published.find_track("a/main" if name == "audio" else f"v/{name}")
    is_there = track is not None and not (live and iframes) and (live or not published.live)
    if track is None or not is_there or (iframes and track.kind == "audio"):
        raise NotFoundError
    kind = "live" if live else "iframes" if iframes else "vod"
    known = playback.catalogue.find_playlist(published, track, kind, packed=packed)
    if known is not None:
        return known
    return await run_in_threadpool(playback.catalogue.load_playlist, published, track, kind, packed=packed)


async def _chunk_answer(
    playback: Playback, published: Publication, found: re.Match[str], cache_control: str
) -> MediaResponse:
    track = published.find_track(found[1])
    if track is None:
        raise NotFoundError
    body = await (_init(playback, track) if found[2] else _chunk(playback, published, track, int(found[3])))
    return MediaResponse(
        playback.store,
        body,
        media_type=_MEDIA_TYPES[track.kind],
        held=_validators(published, found[0]),
        headers={"Cache-Control": cache_control},
    )


async def _init(playback: Playback, track: Track) -> Body:
    known = track.init if track.init is not None else await run_in_threadpool(playback.catalogue.load_init, track)
    return HeldBytes(known)


async def _chunk(playback: Playback, published: Publication, track: Track, number: int) -> Body:
    chunk = playback.catalogue.find_chunk(published, track, number)
    if chunk is None:
        chunk = await run_in_threadpool(playback.catalogue.load_chunk, published, track, number)
    return object_of(chunk)


async def _progressive_answer(
    playback: Playback, published: Publication, quality: str, headers: dict[str, str]
) -> MediaResponse:
    file = await _progressive(playback, published, quality)
    held = _validators(published, f"file/{quality}.mp4")
    return MediaResponse(playback.store, file, media_type="video/mp4", held=held, headers=headers)


def _source_answer(playback: Playback, source: SourceFile, *, download: bool) -> MediaResponse:
    media_type, extension = _SOURCE_TYPES.get(source.container.partition(",")[0], ("application/octet-stream", ""))
    headers = {"Cache-Control": "private, no-cache"}
    if download or not extension:
        headers["Content-Disposition"] = attachment(source.title, extension)
    body = StoredObject(source.key, source.size_bytes)
    return MediaResponse(playback.store, body, media_type=media_type, held=source.held, headers=headers)


async def _progressive(playback: Playback, published: Publication, quality: str) -> ProgressiveFile:
    known = playback.catalogue.find_file(published, quality)
    return known if known is not None else await run_in_threadpool(playback.catalogue.load_file, published, quality)


def _watched(session: Session, caller: Principal | None, video_id: str) -> Watchable:
    video = find_watchable_video(session, user_id_of(caller), video_id)
    return Watchable.of(video, publication_of(session, video))


def _validators(published: Publication, path: str) -> Validators:
    """Return entity tag and date of what lies at a path: its bytes never change within a generation."""
    return Validators(entity_tag(f"{published.id}/{published.generation}/{path}"), published.created_at)
