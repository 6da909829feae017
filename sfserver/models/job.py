"""Jobs, their stages and what was told about them."""

from datetime import datetime
from typing import Any

from sqlalchemy import JSON, BigInteger, Float, ForeignKey, Index, String
from sqlalchemy.orm import Mapped, mapped_column

from sfserver.models.base import Base, Keyed, UtcDateTime


class Job(Keyed, Base):
    """The processing of one upload.

    `plan` is `media.contract.EncodePlan` as JSON once the probe is recorded, without its chunks (each lies in the spec
    of its task), so that reading a job costs the same however long the video is. `limits` are those it was accepted
    under. `seq` is the number of its newest event; whoever raises it holds the job's lock.
    """

    __tablename__ = "jobs"
    __table_args__ = (Index(None, "owner_id", "id"), Index(None, "status"))

    video_id: Mapped[str] = mapped_column(ForeignKey("videos.id"), index=True)
    owner_id: Mapped[str] = mapped_column(ForeignKey("users.id"))
    status: Mapped[str] = mapped_column(String(12))
    formats: Mapped[str] = mapped_column(String(20), default="mp4")
    generation: Mapped[int] = mapped_column(default=1)
    progress: Mapped[float] = mapped_column(Float, default=0.0)
    limits: Mapped[dict[str, Any] | None] = mapped_column(JSON, default=None)
    plan: Mapped[dict[str, Any] | None] = mapped_column(JSON, default=None)
    warnings: Mapped[list[dict[str, Any]]] = mapped_column(JSON, default=list)
    error: Mapped[dict[str, Any] | None] = mapped_column(JSON, default=None)
    seq: Mapped[int] = mapped_column(default=0)
    created_at: Mapped[datetime] = mapped_column(UtcDateTime)
    started_at: Mapped[datetime | None] = mapped_column(UtcDateTime, default=None)
    playable_at: Mapped[datetime | None] = mapped_column(UtcDateTime, default=None)
    finished_at: Mapped[datetime | None] = mapped_column(UtcDateTime, default=None)


class JobStage(Base):
    """One stage of a job, summed over its tasks, so that no sum has to look at every task.

    `opened_at` is set when its needs were met and its tasks were made. `units` are the sizes of all its tasks,
    `done_units` of those recorded; `losses` counts past losses. `tally` is the stage's own to add to.
    """

    __tablename__ = "job_stages"

    job_id: Mapped[str] = mapped_column(ForeignKey("jobs.id", ondelete="CASCADE"), primary_key=True)
    kind: Mapped[str] = mapped_column(String(16), primary_key=True)
    queue: Mapped[str] = mapped_column(String(16))
    priority: Mapped[int] = mapped_column(default=0)
    fatal: Mapped[bool] = mapped_column(default=True)
    state: Mapped[str] = mapped_column(String(10))
    tasks: Mapped[int] = mapped_column(default=0)
    done: Mapped[int] = mapped_column(default=0)
    units: Mapped[int] = mapped_column(BigInteger, default=0)
    done_units: Mapped[int] = mapped_column(BigInteger, default=0)
    attempts: Mapped[int] = mapped_column(default=0)
    crashes: Mapped[int] = mapped_column(default=0)
    losses: Mapped[int] = mapped_column(default=0)
    cpu_s: Mapped[float] = mapped_column(Float, default=0.0)
    tally: Mapped[dict[str, Any]] = mapped_column(JSON, default=dict)
    error: Mapped[dict[str, Any] | None] = mapped_column(JSON, default=None)
    opened_at: Mapped[datetime | None] = mapped_column(UtcDateTime, default=None)
    started_at: Mapped[datetime | None] = mapped_column(UtcDateTime, default=None)
    finished_at: Mapped[datetime | None] = mapped_column(UtcDateTime, default=None)

    __table_args__ = (Index(None, "queue", "state", "priority"),)


class JobEvent(Base):
    """A change of state that clients can replay; `seq` counts from 1 in each job, in the order of commits."""

    __tablename__ = "job_events"
    __table_args__ = (Index(None, "owner_id", "created_at"),)

    job_id: Mapped[str] = mapped_column(ForeignKey("jobs.id", ondelete="CASCADE"), primary_key=True)
    seq: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    owner_id: Mapped[str] = mapped_column(ForeignKey("users.id"))
    kind: Mapped[str] = mapped_column(String(16))
    data: Mapped[dict[str, Any]] = mapped_column(JSON)
    created_at: Mapped[datetime] = mapped_column(UtcDateTime)
