"""Who may watch what, and where its bytes lie.

Answers are remembered for seconds, so that a seeking player costs no query. What closes
access (sign-out, deletion, visibility) is published on `ACCESS_TOPIC` and empties the memory at once.
"""

import asyncio
import hashlib
import time
from collections.abc import Callable, Hashable
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, TypeVar

from pydantic import TypeAdapter
from sqlalchemy.orm import Session
from starlette.concurrency import run_in_threadpool

from sfserver.accounts.service import ACCESS_TOPIC, Principal, find_grant_holder
from sfserver.deps import Runtime
from sfserver.errors import NotFoundError, NotSignedInError, UnknownRenditionError, VideoNotFoundError
from sfserver.media.contract import PackageResult
from sfserver.media.mp4.virtual import VirtualFile
from sfserver.models import Video
from sfserver.playback.bodies import ProgressiveFile
from sfserver.playback.ranges import Validators
from sfserver.playback.tokens import Grant, expiry, sign, verify
from sfserver.tasks.lifecycle import find_job
from sfserver.videos.publish import find_retired
from sfserver.videos.service import find_watchable_video
from sfserver.wire.videos import Visibility

Value = TypeVar("Value")
_PACKAGE = TypeAdapter(PackageResult)
_MAX_REMEMBERED = 1024
_MAX_LAYOUTS = 64


@dataclass(frozen=True)
class Publication:
    """One generation of a video as it can be watched."""

    video_id: str
    owner_id: str
    title: str
    language: str
    visibility: Visibility
    public_epoch: int
    generation: int
    prefix: str
    package: PackageResult
    published_at: datetime

    @property
    def is_shared(self) -> bool:
        """Whether everybody with the address may watch."""
        return self.visibility is not Visibility.PRIVATE

    @property
    def qualities(self) -> list[str]:
        """The names of its renditions."""
        return [rendition.quality for rendition in self.package.renditions]

    def check_rendition(self, quality: str, container: str = "mp4") -> None:
        """Raise `UnknownRenditionError`, naming what there is, unless the video has this quality and format."""
        if container != "mp4" or quality not in self.qualities:
            raise self.unknown_rendition(f"{quality} {container}")

    def unknown_rendition(self, wanted: str) -> UnknownRenditionError:
        """Return the error that names what there is instead."""
        have = ", ".join(f"{name} mp4" for name in self.qualities)
        return UnknownRenditionError(f"there is no {wanted[:60]}; there is: {have}")

    def validators(self, path: str) -> Validators:
        """Return entity tag and date of an object of this generation: neither its key nor its bytes ever change."""
        return Validators(entity_tag(f"{self.prefix}/{path}"), self.published_at)


def entity_tag(identity: str) -> str:
    """Return a strong entity tag for bytes that are named uniquely."""
    return f'"{hashlib.sha256(identity.encode()).hexdigest()[:32]}"'


def publication_of(video: Video) -> Publication:
    """Return what is published of a video; `UnknownRenditionError` while there is nothing."""
    if video.published_prefix is None or video.published_at is None:
        raise UnknownRenditionError("nothing of this video can be watched yet", hint="see the status of its job")
    return Publication(
        video_id=video.id,
        owner_id=video.owner_id,
        title=video.title,
        language=video.language or "und",
        visibility=Visibility(video.visibility),
        public_epoch=video.public_epoch,
        generation=video.generation,
        prefix=video.published_prefix,
        package=_PACKAGE.validate_python(video.published),
        published_at=video.published_at,
    )


def _generation_of(session: Session, video: Video, generation: int) -> Publication:
    """Return a generation of a video: the newest, or one before it that somebody may be in the middle of."""
    published = publication_of(video)
    if published.generation == generation:
        return published
    retired = find_retired(session, video.id, generation)
    if retired is None:
        raise NotFoundError
    return replace(
        published,
        generation=generation,
        prefix=retired.prefix,
        package=_PACKAGE.validate_python(retired.published),
        published_at=retired.published_at,
    )


def find_watchable(session: Session, viewer_id: str | None, video_or_job_id: str) -> Video:
    """Return the video of this id or of the job of this id, if the viewer may watch it; else `VideoNotFoundError`."""
    job = find_job(session, video_or_job_id)
    return find_watchable_video(session, viewer_id, video_or_job_id if job is None else job.video_id)


@dataclass(frozen=True)
class SourceFile:
    """The uploaded file of a video, for its owner."""

    video_id: str
    title: str
    key: str
    size_bytes: int
    container: str
    held: Validators


def publication_for(video: Video, viewer_id: str | None) -> Publication:
    """Return what is published of a video that the viewer may watch."""
    return publication_of(video)


def source_for(video: Video, viewer_id: str | None) -> SourceFile:
    """Return the uploaded file of a video to its owner; for all others there is no such quality."""
    if video.owner_id != viewer_id:
        raise publication_of(video).unknown_rendition("source")
    container = str((video.source_facts or {}).get("container", ""))
    held = Validators(entity_tag(video.source_key), video.created_at)
    return SourceFile(video.id, video.title, video.source_key, video.source_size_bytes, container, held)


class Playback:
    """Admissions of one server, remembered for seconds, and layouts, which never change, while there is room."""

    def __init__(self, runtime: Runtime) -> None:
        self.runtime = runtime
        self._admitted: dict[Hashable, tuple[float, object]] = {}
        self._asking: dict[Hashable, asyncio.Future[Any]] = {}
        self._layouts: dict[tuple[str, str], ProgressiveFile] = {}
        runtime.bus.subscribe(ACCESS_TOPIC, lambda _message: self._forget())

    async def admit(self, key: Hashable, kind: type[Value], ask: Callable[[], Value]) -> Value:
        """Return what was admitted under `key` moments ago, else `ask()` on a thread, once for all who wait for it.

        Refusals are raised and not remembered.
        """
        until, value = self._admitted.get(key, (0.0, None))
        if isinstance(value, kind) and time.monotonic() < until:
            return value
        asking = self._asking.get(key)
        if asking is None:
            asking = self._asking[key] = asyncio.ensure_future(run_in_threadpool(ask))
            asking.add_done_callback(lambda done: self._remember(key, done))
        answer: Value = await asyncio.shield(asking)
        return answer

    def _remember(self, key: Hashable, done: "asyncio.Future[Any]") -> None:
        # What was closed while the question was out must not be remembered: `_forget` has taken the key away.
        if self._asking.pop(key, None) is not done or done.cancelled() or done.exception() is not None:
            return
        if len(self._admitted) >= _MAX_REMEMBERED:
            self._admitted.clear()
        self._admitted[key] = (time.monotonic() + self.runtime.settings.access.grant_cache_s, done.result())

    def _forget(self) -> None:
        self._asking.clear()
        self._admitted.clear()

    def admit_token(self, token: str, video_id: str, generation: int) -> Publication:
        """Return what a signed URL opens.

        `NotSignedInError` for a token that is forged, over or revoked; `NotFoundError` where nothing is (any more).
        """
        grant = verify(self.runtime.signing_key, token, video_id, generation, time.time())
        with self.runtime.database.read() as session:
            viewer_id = None
            if grant.credential_id is not None:
                viewer_id = find_grant_holder(session, grant.credential_id)
                if viewer_id is None:
                    raise NotSignedInError("what this media URL rests on was revoked")
            published = _generation_of(session, find_watchable_video(session, viewer_id, video_id), generation)
        is_closed = grant.credential_id is None and grant != Grant.of_epoch(published.public_epoch)
        if is_closed:
            raise NotFoundError
        return published

    def media_base(self, published: Publication, viewer: Principal | None) -> tuple[str, int]:
        """Return the URL path below which a viewer finds everything of a generation, and when it ends (Unix time).

        It rests on the owner's session or token, for all others on the video being public.
        """
        grant = Grant.of_epoch(published.public_epoch)
        if viewer is not None and viewer.user_id == published.owner_id:
            grant = Grant.of_credential(viewer.credential_id)
        expires = expiry(time.time(), published.package.duration_s, self.runtime.settings.access.media_url_min_s)
        token = sign(self.runtime.signing_key, grant, expires, published.video_id, published.generation)
        return f"/m/{token}/{published.video_id}/{published.generation}", expires

    def find_layout(self, published: Publication, quality: str) -> ProgressiveFile | None:
        """Return a layout that is in memory."""
        return self._layouts.get((published.prefix, quality))

    def load_layout(self, published: Publication, quality: str) -> ProgressiveFile:
        """Return the progressive file of a quality, reading its layout from the store on first use."""
        found = self.find_layout(published, quality)
        if found is not None:
            return found
        path = f"file/{quality}.layout"
        try:
            reader = self.runtime.store.open(f"{published.prefix}/{path}")
        except FileNotFoundError as error:
            raise VideoNotFoundError from error
        try:
            layout = reader.read(0, reader.size)
        finally:
            reader.close()
        head_bytes = published.package.files[f"file/{quality}.head"]
        file = ProgressiveFile(published.prefix, quality, VirtualFile.load(head_bytes, layout))
        while len(self._layouts) >= _MAX_LAYOUTS:
            self._layouts.pop(next(iter(self._layouts)), None)
        self._layouts[published.prefix, quality] = file
        return file
