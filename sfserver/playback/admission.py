"""Who may watch what.

Answers are remembered for seconds, so that a seeking player costs no query. What closes access (sign-out, deletion,
visibility, a job that takes back what it has shown) is published on `ACCESS_TOPIC` and empties the memory at once.
"""

import asyncio
import time
from collections.abc import Callable, Hashable
from dataclasses import dataclass
from typing import Any, TypeVar

from sqlalchemy.orm import Session
from starlette.concurrency import run_in_threadpool

from sfserver.accounts.service import ACCESS_TOPIC, Principal, find_grant_holder
from sfserver.deps import Runtime
from sfserver.errors import NotFoundError, NotSignedInError
from sfserver.models import Video
from sfserver.playback.ranges import Validators, entity_tag
from sfserver.playback.tokens import Grant, expiry, sign, verify
from sfserver.publications.reading import Publication, generation_of, publication_of
from sfserver.tasks.lifecycle import find_job
from sfserver.videos.service import find_watchable_video
from sfserver.wire.videos import Visibility

Value = TypeVar("Value")
_MAX_REMEMBERED = 1024


@dataclass(frozen=True)
class Watchable:
    """A publication that somebody may watch, with what its video says of itself."""

    publication: Publication
    owner_id: str
    title: str
    language: str
    visibility: Visibility
    public_epoch: int

    @classmethod
    def of(cls, video: Video, publication: Publication) -> "Watchable":
        """Put both together."""
        return cls(
            publication=publication,
            owner_id=video.owner_id,
            title=video.title,
            language=video.language or "und",
            visibility=Visibility(video.visibility),
            public_epoch=video.public_epoch,
        )


@dataclass(frozen=True)
class SourceFile:
    """The uploaded file of a video, for its owner."""

    video_id: str
    title: str
    key: str
    size_bytes: int
    container: str
    held: Validators


def find_watchable(session: Session, viewer_id: str | None, video_or_job_id: str) -> Video:
    """Return the video of this id or of the job of this id, if the viewer may watch it; else `VideoNotFoundError`."""
    job = find_job(session, video_or_job_id)
    return find_watchable_video(session, viewer_id, video_or_job_id if job is None else job.video_id)


def watchable_for(session: Session, video: Video, viewer_id: str | None) -> Watchable:
    """Return what there is of a video that the viewer may watch."""
    return Watchable.of(video, publication_of(session, video))


def source_for(session: Session, video: Video, viewer_id: str | None) -> SourceFile:
    """Return the uploaded file of a video to its owner; for all others there is no such quality."""
    if video.owner_id != viewer_id:
        raise publication_of(session, video).unknown_rendition("source")
    container = str((video.source_facts or {}).get("container", ""))
    held = Validators(entity_tag(video.source_key), video.created_at)
    return SourceFile(video.id, video.title, video.source_key, video.source_size_bytes, container, held)


class Admissions:
    """The admissions of one server, remembered for seconds."""

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime
        self._admitted: dict[Hashable, tuple[float, object]] = {}
        self._asking: dict[Hashable, asyncio.Future[Any]] = {}
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

    def admit_token(self, token: str, video_id: str, generation: int) -> Watchable:
        """Return what a signed URL opens.

        `NotSignedInError` for a token that is forged, over or revoked; `NotFoundError` where the video is not to be
        watched any more, `MediaGoneError` where this generation of it is not.
        """
        grant = verify(self._runtime.signing_key, token, video_id, generation, time.time())
        with self._runtime.database.read() as session:
            viewer_id = None
            if grant.credential_id is not None:
                viewer_id = find_grant_holder(session, grant.credential_id)
                if viewer_id is None:
                    raise NotSignedInError("what this media URL rests on was revoked")
            video = find_watchable_video(session, viewer_id, video_id)
            if grant.credential_id is None and grant != Grant.of_epoch(video.public_epoch):
                raise NotFoundError
            return Watchable.of(video, generation_of(session, video.id, generation))

    def media_base(self, watched: Watchable, viewer: Principal | None) -> tuple[str, int]:
        """Return the URL path below which a viewer finds everything of a generation, and when it ends (Unix time).

        It rests on the owner's session or token, for all others on the video being public.
        """
        published, grant = watched.publication, Grant.of_epoch(watched.public_epoch)
        if viewer is not None and viewer.user_id == watched.owner_id:
            grant = Grant.of_credential(viewer.credential_id)
        expires = expiry(time.time(), published.duration_s, self._runtime.settings.access.media_url_min_s)
        token = sign(self._runtime.signing_key, grant, expires, published.video_id, published.generation)
        return f"/m/{token}/{published.video_id}/{published.generation}", expires

    def _remember(self, key: Hashable, done: "asyncio.Future[Any]") -> None:
        # What was closed while the question was out must not be remembered: `_forget` has taken the key away.
        if self._asking.pop(key, None) is not done or done.cancelled() or done.exception() is not None:
            return
        if len(self._admitted) >= _MAX_REMEMBERED:
            self._admitted.clear()
        self._admitted[key] = (time.monotonic() + self._runtime.settings.access.grant_cache_s, done.result())

    def _forget(self) -> None:
        self._asking.clear()
        self._admitted.clear()
