"""Jobs and their tasks: the truth about all work."""

from datetime import datetime
from typing import Any

from sqlalchemy import JSON, Float, ForeignKey, Index, String, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column

from sfserver.models.base import Base, Keyed, UtcDateTime


class Job(Keyed, Base):
    """The processing of one upload. `plan` is `media.contract.EncodePlan` as JSON once the probe is recorded."""

    __tablename__ = "jobs"
    __table_args__ = (Index(None, "owner_id", "id"), Index(None, "status"))

    video_id: Mapped[str] = mapped_column(ForeignKey("videos.id"), index=True)
    owner_id: Mapped[str] = mapped_column(ForeignKey("users.id"))
    status: Mapped[str] = mapped_column(String(12))
    formats: Mapped[str] = mapped_column(String(20), default="mp4")
    generation: Mapped[int] = mapped_column(default=1)
    progress: Mapped[float] = mapped_column(Float, default=0.0)
    plan: Mapped[dict[str, Any] | None] = mapped_column(JSON, default=None)
    warnings: Mapped[list[dict[str, Any]]] = mapped_column(JSON, default=list)
    error: Mapped[dict[str, Any] | None] = mapped_column(JSON, default=None)
    created_at: Mapped[datetime] = mapped_column(UtcDateTime)
    started_at: Mapped[datetime | None] = mapped_column(UtcDateTime, default=None)
    playable_at: Mapped[datetime | None] = mapped_column(UtcDateTime, default=None)
    finished_at: Mapped[datetime | None] = mapped_column(UtcDateTime, default=None)
    swept_at: Mapped[datetime | None] = mapped_column(UtcDateTime, default=None)


class Task(Keyed, Base):
    """One unit of work `(job, kind, index)`.

    `token` is the fencing token: whoever claims the task raises it, and only its holder may record. `attempts`
    counts claims; `crashes` (the media process died while the worker lived) and `losses` (the worker vanished,
    charged at claim time and refunded by every recorded end) decide about quarantine. `needs` is the number of
    tasks that must be done before this one is ready.
    """

    __tablename__ = "tasks"
    __table_args__ = (
        UniqueConstraint("job_id", "kind", "index"),
        Index(None, "state", "queue", "priority"),
    )

    job_id: Mapped[str] = mapped_column(ForeignKey("jobs.id", ondelete="CASCADE"))
    kind: Mapped[str] = mapped_column(String(16))
    index: Mapped[int] = mapped_column(default=0)
    queue: Mapped[str] = mapped_column(String(16))
    priority: Mapped[int] = mapped_column(default=0)
    state: Mapped[str] = mapped_column(String(10))
    needs: Mapped[int] = mapped_column(default=0)
    spec: Mapped[dict[str, Any]] = mapped_column(JSON, default=dict)
    result: Mapped[dict[str, Any] | None] = mapped_column(JSON, default=None)
    progress: Mapped[dict[str, Any]] = mapped_column(JSON, default=dict)
    token: Mapped[int] = mapped_column(default=0)
    attempts: Mapped[int] = mapped_column(default=0)
    crashes: Mapped[int] = mapped_column(default=0)
    losses: Mapped[int] = mapped_column(default=0)
    errors: Mapped[int] = mapped_column(default=0)
    worker: Mapped[str | None] = mapped_column(String(100), default=None)
    lease_until: Mapped[datetime | None] = mapped_column(UtcDateTime, default=None)
    not_before: Mapped[datetime | None] = mapped_column(UtcDateTime, default=None)
    ready_at: Mapped[datetime | None] = mapped_column(UtcDateTime, default=None)
    started_at: Mapped[datetime | None] = mapped_column(UtcDateTime, default=None)
    finished_at: Mapped[datetime | None] = mapped_column(UtcDateTime, default=None)
    cpu_s: Mapped[float | None] = mapped_column(Float, default=None)
    wall_s: Mapped[float | None] = mapped_column(Float, default=None)
    peak_rss_bytes: Mapped[int | None] = mapped_column(default=None)
    error: Mapped[dict[str, Any] | None] = mapped_column(JSON, default=None)


class TaskPart(Keyed, Base):
    """A finished part of a running task (audio): survives a retry of its task."""

    __tablename__ = "task_parts"
    __table_args__ = (UniqueConstraint("task_id", "index"),)

    task_id: Mapped[str] = mapped_column(ForeignKey("tasks.id", ondelete="CASCADE"))
    index: Mapped[int]
    key: Mapped[str] = mapped_column(String(300))
    result: Mapped[dict[str, Any]] = mapped_column(JSON)


class JobEvent(Base):
    """A change of state that clients can replay with `Last-Event-ID`; `id` is that id."""

    __tablename__ = "job_events"

    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=True)
    job_id: Mapped[str] = mapped_column(ForeignKey("jobs.id", ondelete="CASCADE"), index=True)
    owner_id: Mapped[str] = mapped_column(ForeignKey("users.id"), index=True)
    kind: Mapped[str] = mapped_column(String(16))
    data: Mapped[dict[str, Any]] = mapped_column(JSON)
    created_at: Mapped[datetime] = mapped_column(UtcDateTime)
