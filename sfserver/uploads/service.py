"""From a stream of bytes to a stored source with a job: nothing is acknowledged before it is on the disk."""

import hashlib
from datetime import timedelta
from pathlib import PurePosixPath, PureWindowsPath

import structlog
from pydantic import BaseModel, Field, ValidationError
from sqlalchemy.orm import Session

from sfserver.deps import Runtime
from sfserver.errors import (
    BadRequestError,
    EmptyUploadError,
    InvalidRequestError,
    TransientError,
    UnsupportedMediaError,
    UploadTooLargeError,
)
from sfserver.infra.clock import db_now
from sfserver.models import Job, Upload, Video, new_id
from sfserver.tasks import garbage
from sfserver.tasks.pipeline import create_job
from sfserver.uploads import repository
from sfserver.uploads.sniff import SNIFF_BYTES, may_be_video
from sfserver.wire.videos import Description, Language, Title, Visibility, remove_controls

log = structlog.get_logger(__name__)
_UPLOAD_LIFETIME = timedelta(hours=24)


class UploadFields(BaseModel):
    """The text fields of an upload form."""

    title: Title | None = None
    description: Description = ""
    visibility: Visibility = Visibility.PRIVATE
    language: Language | None = None
    formats: str = Field(default="mp4", pattern=r"^mp4(,webm)?$")


class IncomingFile:
    """One upload while it streams: stored, hashed, counted and judged byte by byte, with constant memory."""

    def __init__(self, runtime: Runtime, owner_id: str) -> None:
        self.runtime, self._owner_id = runtime, owner_id
        self._limit = runtime.settings.limits.max_upload_bytes
        self._hash = hashlib.sha256()
        self._head = bytearray()
        self.size_bytes = 0
        self.video_id = new_id()
        self.upload_id = new_id()
        self.key = f"source/{self.video_id}/{self.upload_id}"
        self._remember()
        self._writer = runtime.store.create(self.key)

    def write(self, data: bytes) -> None:
        """Store the next bytes; `UploadTooLargeError` or `UnsupportedMediaError` as soon as it shows."""
        self.size_bytes += len(data)
        check_size(self.size_bytes, self._limit)
        if len(self._head) < SNIFF_BYTES:
            self._head += data[: SNIFF_BYTES - len(self._head)]
            if len(self._head) == SNIFF_BYTES:
                self._judge_head()
        self._hash.update(data)
        self._writer.write(data)

    def seal(self) -> None:
        """Make the object durable; no transaction may be open, since this waits for the disk."""
        if not self.size_bytes:
            raise EmptyUploadError
        if len(self._head) < SNIFF_BYTES:
            self._judge_head()
        self._writer.commit()

    def accept(self, session: Session, file_name: str, fields: UploadFields) -> Job:
        """Make the sealed object a video with a job, in this transaction."""
        name = base_name(file_name)
        video = Video(
            id=self.video_id,
            owner_id=self._owner_id,
            title=fields.title or default_title(name),
            description=fields.description,
            visibility=fields.visibility,
            language=fields.language,
            source_key=self.key,
            source_name=name,
            source_size_bytes=self.size_bytes,
            source_sha256=self._hash.hexdigest(),
            generation=0,
            created_at=db_now(session),
        )
        session.add(video)
        session.flush()
        upload = session.get_one(Upload, self.upload_id)
        upload.video_id, upload.received_bytes = video.id, self.size_bytes
        return create_job(session, self.runtime, video, fields.formats)

    def abort(self) -> None:
        """Leave nothing of an upload that was refused or cut off; one whose job is queued stays, heard or not.

        Which it is says the database. Where it can't be asked, the upload expires like one whose server died.
        """
        self._writer.abort()
        try:
            with self.runtime.database.write() as session:
                upload = session.get(Upload, self.upload_id)
                if upload is not None and upload.video_id is None:
                    forget(session, upload)
        except TransientError as error:
            log.warning("upload.left_to_expire", upload_id=self.upload_id, code=error.code)

    def _judge_head(self) -> None:
        if not may_be_video(bytes(self._head)):
            raise UnsupportedMediaError("the first bytes are not those of any container this server opens")

    def _remember(self) -> None:
        """Note the upload before its first byte, so that a sweep finds what a crash leaves."""
        with self.runtime.database.write() as session:
            now = db_now(session)
            session.add(
                Upload(
                    id=self.upload_id,
                    owner_id=self._owner_id,
                    key=self.key,
                    created_at=now,
                    expires_at=now + _UPLOAD_LIFETIME,
                )
            )


def check_size(size_bytes: int, limit: int) -> None:
    """Raise `UploadTooLargeError` beyond the limit."""
    if size_bytes > limit:
        raise UploadTooLargeError(
            f"this server takes at most {limit} bytes", hint="an administrator can raise SF_LIMITS__MAX_UPLOAD_BYTES"
        )


def parse_fields(values: dict[str, str]) -> UploadFields:
    """Check the form's text fields; unknown ones are ignored."""
    known = {name: value for name, value in values.items() if name in UploadFields.model_fields and value.strip()}
    try:
        return UploadFields.model_validate(known)
    except ValidationError as error:
        found = "; ".join(f"{item['loc'][0]}: {item['msg']}" for item in error.errors())
        raise InvalidRequestError(found) from error


def base_name(file_name: str) -> str:
    """Return the last component of what a client calls its file, whatever system it comes from."""
    name = PureWindowsPath(PurePosixPath(remove_controls(file_name)).name).name
    return name[:255] or "video"


def default_title(name: str) -> str:
    """Return the file name without its extension."""
    return PurePosixPath(name).stem or name


def forget(session: Session, upload: Upload) -> None:
    """Remove the note of an upload that was never accepted; what it stored becomes garbage."""
    garbage.discard(session, [upload.key])
    session.delete(upload)


def sweep_expired(runtime: Runtime, *, all_unfinished: bool = False) -> None:
    """Remove uploads that were never finished: the expired ones, or all when no process can be receiving any."""
    with runtime.database.write() as session:
        before = None if all_unfinished else db_now(session)
        for upload in repository.unfinished_uploads(session, expired_before=before):
            forget(session, upload)


def declared_length(header: str | None) -> int:
    """Return a Content-Length header's value, 0 where there is none."""
    try:
        return int(header or 0)
    except ValueError as error:
        raise BadRequestError("Content-Length is not a number") from error
