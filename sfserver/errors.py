"""Every error StreamForge raises on purpose, in one tree.

StreamForgeError
├── PermanentError          the same input will fail again: fail at once, tell the user
│   ├── BadRequestError           400
│   │   └── EmptyUploadError
│   ├── NotSignedInError          401
│   ├── NotFoundError             404
│   │   ├── UnknownStageError
│   │   ├── JobNotFoundError
│   │   ├── VideoNotFoundError
│   │   ├── UnknownRenditionError
│   │   ├── ObjectMissingError    also a FileNotFoundError
│   │   └── ObjectTruncatedError
│   ├── MethodNotAllowedError     405
│   ├── ConflictError             409
│   │   └── JobFinishedError
│   ├── PreconditionFailedError   412
│   ├── UploadTooLargeError       413
│   ├── UnsupportedMediaError     415
│   ├── RangeNotSatisfiableError  416
│   ├── MisdirectedRequestError   421
│   ├── InvalidRequestError       422
│   ├── MediaLimitError           422, code limit_<name>
│   ├── DamagedMediaError         422
│   ├── WorkerCrashedError        422
│   ├── InconsistentChunksError   500
│   ├── SourceMissingError        410
│   ├── MediaGoneError            410
│   ├── DatabaseDamagedError      500
│   └── WrongDatabaseError        500, refused at the start
│       ├── ForeignDatabaseError
│       ├── NewerSchemaError
│       └── DatabaseMissingError
└── TransientError          the world failed, not the input: back off and try again
    ├── StoreUnavailableError     503
    │   └── StorageFullError      507
    ├── DatabaseUnavailableError  503
    └── OutageError               503
"""


class StreamForgeError(Exception):
    """Base of the tree: a stable `code`, an HTTP `status`, a `title`, and a `hint` on what to do next."""

    code = "internal_error"
    status = 500
    title = "Internal error"
    hint: str | None = None

    def __init__(self, detail: str | None = None, *, hint: str | None = None) -> None:
        self.detail = detail or self.title
        if hint is not None:
            self.hint = hint
        super().__init__(self.detail)


class PermanentError(StreamForgeError):
    """The same input will fail again."""


class TransientError(StreamForgeError):
    """The world failed, not the input: trying again later can help."""

    status = 503
    title = "Temporarily unavailable"


class BadRequestError(PermanentError):
    """The request cannot be understood."""

    code, status, title = "bad_request", 400, "Bad request"


class EmptyUploadError(BadRequestError):
    """No file, or a file of no bytes."""

    code, title = "empty_upload", "The upload holds no file"
    hint = "send the video as multipart form field 'file'"


class NotSignedInError(PermanentError):
    """No token where one is needed, or one that is wrong or expired."""

    code, status, title = "not_signed_in", 401, "Not signed in"
    hint = "send 'Authorization: Bearer TOKEN'; `sfctl auth token` prints the local one"


class NotFoundError(PermanentError):
    """Unknown, or somebody else's and private: the two look the same."""

    code, status, title = "not_found", 404, "Not found"


class JobNotFoundError(NotFoundError):
    """No such job for this caller."""

    code, title = "job_not_found", "No such job"


class VideoNotFoundError(NotFoundError):
    """No such video for this caller."""

    code, title = "video_not_found", "No such video"


class UnknownRenditionError(NotFoundError):
    """The video has no such quality or format."""

    code, title = "unknown_rendition", "No such quality"


class ObjectMissingError(NotFoundError, FileNotFoundError):
    """A row names an object that the store does not have."""

    code, title = "object_missing", "A stored object is missing"


class UnknownStageError(NotFoundError):
    """The pipeline has no such stage."""

    code, title = "unknown_stage", "No such stage"


class MethodNotAllowedError(PermanentError):
    """The path exists, but not for this method."""

    code, status, title = "method_not_allowed", 405, "Method not allowed"


class ConflictError(PermanentError):
    """The thing is not in a state that allows this."""

    code, status, title = "conflict", 409, "Conflict"


class JobFinishedError(ConflictError):
    """The job has ended: there is nothing to cancel."""

    code, title = "job_finished", "The job has ended"


class PreconditionFailedError(PermanentError):
    """The client asked for another version than this (RFC 9110, 13.1.1)."""

    code, status, title = "precondition_failed", 412, "Another version"


class UploadTooLargeError(PermanentError):
    """More bytes than this server takes."""

    code, status, title = "upload_too_large", 413, "The upload is too large"


class UnsupportedMediaError(PermanentError):
    """Not a video by content, or one that names other files."""

    code, status, title = "unsupported_media", 415, "Not a supported video"
    hint = "send one MP4, MOV, MKV, WebM, AVI or MPEG-TS file with a video stream"


class RangeNotSatisfiableError(PermanentError):
    """The range starts behind the end (RFC 9110, 15.5.17)."""

    code, status, title = "range_not_satisfiable", 416, "Range not satisfiable"


class MisdirectedRequestError(PermanentError):
    """A `Host` this server does not go by (DNS rebinding)."""

    code, status, title = "unknown_host", 421, "Unknown host"
    hint = "use the address `sfctl status` shows, or add the name to SF_HTTP__ALLOWED_HOSTS"


class InvalidRequestError(PermanentError):
    """A parameter or body that does not fit the contract; `detail` names which."""

    code, status, title = "invalid_request", 422, "Invalid request"


class MediaLimitError(PermanentError):
    """The media goes beyond a limit of this server; `code` names which."""

    status, title = 422, "Beyond a limit of this server"

    def __init__(self, name: str, *, limit: float, value: float) -> None:
        self.code = f"limit_{name}"
        self.name, self.limit, self.value = name, limit, value
        super().__init__(f"{name.replace('_', ' ')} is {_number(value)}, the limit is {_number(limit)}")


def _number(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:g}"


class DamagedMediaError(PermanentError):
    """Less than nine tenths of the video can be read."""

    code, status, title = "damaged_media", 422, "The video is damaged"


class WorkerCrashedError(PermanentError):
    """The media process died at this input too often."""

    code, status, title = "worker_crashed", 422, "Processing crashed"


class InconsistentChunksError(PermanentError):
    """Encoded parts that do not make one track: another encoder, frames missing, or times that jump."""

    code, status, title = "inconsistent_chunks", 500, "The encoded parts do not fit together"


class SourceMissingError(PermanentError):
    """What a job works on is not in the store any more."""

    code, status, title = "source_missing", 410, "The uploaded file is gone"
    hint = "upload the video again"


class MediaGoneError(PermanentError):
    """What a media URL was signed for was taken back (its job failed or was cancelled) or replaced some time ago."""

    code, status, title = "media_gone", 410, "This is not there any more"
    hint = "ask for new links: GET /api/videos/ID/links; the status of the job says what became of it"


class ObjectTruncatedError(NotFoundError):
    """A stored object is shorter or longer than it was when it was stored."""

    code, title = "object_truncated", "A stored object is not what it was"


class DatabaseDamagedError(PermanentError):
    """The database's file is cut off, overwritten, or no database at all."""

    code, status, title = "database_damaged", 500, "The database is damaged"
    hint = "stop the server, keep a copy of the file with its -wal file, and put a backup in its place"


class WrongDatabaseError(PermanentError):
    """A database that this server must not use."""

    status = 500


class ForeignDatabaseError(WrongDatabaseError):
    """The database holds the tables of another program."""

    code, title = "foreign_database", "The database belongs to another program"
    hint = "choose another data directory, or an empty database with SF_DATABASE__URL"


class NewerSchemaError(WrongDatabaseError):
    """The database was made by a newer StreamForge, and there is no way back."""

    code, title = "newer_schema", "The database is newer than this program"
    hint = "run the newer version, or restore a backup that the older one made"


class DatabaseMissingError(WrongDatabaseError):
    """The objects are here, their database is not: a new one would know none of them."""

    code, title = "database_missing", "The objects are here, their database is not"
    hint = "put the database back; to begin anew, move the folder 'objects' away first"


class StoreUnavailableError(TransientError):
    """The object store does not answer."""

    code, title = "store_unavailable", "The object store does not answer"

    def __init__(self, detail: str | None = None, *, hint: str | None = None, errno: int | None = None) -> None:
        self.errno = errno
        super().__init__(detail, hint=hint)


class StorageFullError(StoreUnavailableError):
    """The object store has no room; what is waiting goes on once there is some."""

    code, status, title = "storage_full", 507, "The storage is full"


class DatabaseUnavailableError(TransientError):
    """The database does not answer."""

    code, title = "database_unavailable", "The database does not answer"


class OutageError(TransientError):
    """The machine a task ran on is short of something, as its worker has seen itself."""

    code, title = "outage", "The server is short of something"
