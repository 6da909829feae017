"""Server-Sent Events of jobs. The SSE `event:` field is the kind, `data:` is one of these as JSON.

State events carry `seq`, which counts from 1 in each job, in the order they happened: a client that hears one again,
after it has connected again, drops it.
"""

from enum import StrEnum

from pydantic import BaseModel, Field

from sfserver.wire.jobs import JobError, JobRead, JobStatus, RungProgress, StageState


class EventKind(StrEnum):
    """The `event:` names."""

    SNAPSHOT = "snapshot"
    PROGRESS = "progress"
    STATE = "state"
    STAGE = "stage"
    PLAYABLE = "playable"
    ERROR = "error"
    DONE = "done"


class SnapshotEvent(BaseModel):
    """First event of every stream: the jobs as they stand."""

    jobs: list[JobRead]


class ProgressEvent(BaseModel):
    """At most four a second a job; carries no id and is never replayed."""

    job_id: str
    progress: float
    stage: str | None = None
    rungs: dict[str, RungProgress] = Field(default_factory=dict)
    eta_s: float | None = None
    speed: float | None = None
    waiting: JobError | None = None


class StateEvent(BaseModel):
    """A job changed its status."""

    job_id: str
    seq: int | None = None
    status: JobStatus


class StageEvent(BaseModel):
    """A stage of a job changed its state."""

    job_id: str
    seq: int | None = None
    stage: str
    state: StageState


class PlayableEvent(BaseModel):
    """The first seconds can be played."""

    job_id: str
    seq: int | None = None
    video_id: str


class ErrorEvent(BaseModel):
    """A job failed, and why."""

    job_id: str
    seq: int | None = None
    error: JobError


class DoneEvent(BaseModel):
    """The job is final; a stream of one job ends after it."""

    job_id: str
    seq: int | None = None
    status: JobStatus
