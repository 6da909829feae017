"""Jobs as clients see them."""

from datetime import datetime
from enum import StrEnum
from typing import Any

from pydantic import BaseModel, Field


class JobStatus(StrEnum):
    """Where a job stands; the last three are final."""

    QUEUED = "queued"
    PROCESSING = "processing"
    READY = "ready"
    FAILED = "failed"
    CANCELLED = "cancelled"

    @property
    def is_final(self) -> bool:
        """Whether nothing will change any more."""
        return self in {JobStatus.READY, JobStatus.FAILED, JobStatus.CANCELLED}


class StageState(StrEnum):
    """Where one stage of a job stands."""

    WAITING = "waiting"
    RUNNING = "running"
    DONE = "done"
    FAILED = "failed"
    CANCELLED = "cancelled"


class JobError(BaseModel):
    """Why a job failed; `code` is one of docs/reference/errors.md."""

    code: str
    detail: str
    hint: str | None = None


class JobWarning(BaseModel):
    """Something a user should know about a job that went on nevertheless."""

    code: str
    detail: str


class RungProgress(BaseModel):
    """How far one rung is: `progress` 0–1, `fps` encoded frames per second over the last seconds."""

    progress: float = 0.0
    fps: float | None = None


class StageRead(BaseModel):
    """One stage, summed over its tasks; one that is not `fatal` neither delays nor fails its job."""

    name: str
    state: StageState
    fatal: bool = True
    progress: float = 0.0
    tasks: int = 1
    tasks_done: int = 0
    attempts: int = 0
    crashes: int = 0
    losses: int = 0
    started_at: datetime | None = None
    finished_at: datetime | None = None
    cpu_s: float | None = None
    workers: list[str] = Field(default_factory=list)
    error: JobError | None = None


class JobLinks(BaseModel):
    """Where to go next, as paths on this server."""

    self_: str = Field(alias="self", serialization_alias="self")
    status: str
    events: str
    video: str
    watch: str

    model_config = {"populate_by_name": True, "serialize_by_alias": True}


class UploadAccepted(BaseModel):
    """The 201 answer to `POST /api/upload`: every byte is safely stored and a job is queued."""

    job_id: str
    video_id: str
    status: JobStatus
    links: JobLinks


class JobStatusRead(BaseModel):
    """The small poll answer."""

    id: str
    video_id: str
    status: JobStatus
    progress: float
    stage: str | None = None
    eta_s: float | None = None
    playable_at: datetime | None = None
    error: JobError | None = None
    waiting: JobError | None = Field(default=None, description="What the server is short of while the job waits.")


class JobRead(JobStatusRead):
    """The whole job."""

    title: str
    created_at: datetime
    started_at: datetime | None = None
    finished_at: datetime | None = None
    speed: float | None = Field(default=None, description="Seconds of video made per second of wall time.")
    rungs: dict[str, RungProgress] = Field(default_factory=dict)
    stages: list[StageRead] = Field(default_factory=list)
    warnings: list[JobWarning] = Field(default_factory=list)
    links: JobLinks


class TaskExplain(BaseModel):
    """One task of a job: what ran where, how often, with which result."""

    kind: str
    index: int
    state: StageState
    worker: str | None = None
    attempts: int = 0
    crashes: int = 0
    losses: int = 0
    started_at: datetime | None = None
    finished_at: datetime | None = None
    cpu_s: float | None = None
    wall_s: float | None = None
    start_frame: int | None = None
    end_frame: int | None = None
    rungs: list[str] = Field(default_factory=list, description="The rungs it makes; all where there are none.")
    crf: float | None = Field(default=None, description="Quality of a chunk: 23.5, up to 27 to save room.")
    fingerprint: str | None = None
    error: JobError | None = None


class RungExplain(BaseModel):
    """One rung of the ladder: its size, its exact encoder settings and why it is there."""

    name: str
    width: int
    height: int
    fps: float
    maxrate_bps: int
    encoder: str
    options: dict[str, str]
    reason: str


class JobExplain(BaseModel):
    """Why this ladder, which chunks ran where with which options, what was retried."""

    job_id: str
    source: dict[str, Any] | None = None
    rungs: list[RungExplain] = Field(default_factory=list)
    reasons: list[str] = Field(default_factory=list)
    tasks: list[TaskExplain] = Field(default_factory=list)
