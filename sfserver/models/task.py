"""Tasks: the units of work, and the truth about them."""

from datetime import datetime
from typing import Any

from sqlalchemy import JSON, BigInteger, Float, ForeignKey, Index, String, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column

from sfserver.models.base import Base, Keyed, UtcDateTime


class Task(Keyed, Base):
    """One unit of work `(job, kind, index)`, made when everything it needs is done.

    `token` is the fencing token: whoever claims the task raises it, and only its holder may record. `attempts` counts
    claims. Four counters decide what an attempt that did not succeed leads to (`tasks.states`): `crashes` (the media
    process died while the worker lived), `losses` (the worker vanished: charged at claim time, refunded by every
    recorded end), `outages` (the environment was broken; without end) and `doubts` (it said so, and nobody could
    confirm it). `size` weighs the task among those of its kind. `worker` claimed it last; a task that waits and has
    none was let go by its worker, or never claimed. `ready_at` is when it could last be claimed, None while no plan
    wants it.
    """

    __tablename__ = "tasks"
    __table_args__ = (
        UniqueConstraint("job_id", "kind", "index"),
        Index(None, "job_id", "kind", "state", "index"),
        Index(None, "state", "lease_until"),
    )

    job_id: Mapped[str] = mapped_column(ForeignKey("jobs.id", ondelete="CASCADE"))
    kind: Mapped[str] = mapped_column(String(16))
    index: Mapped[int] = mapped_column(default=0)
    size: Mapped[int] = mapped_column(BigInteger, default=1)
    state: Mapped[str] = mapped_column(String(10))
    spec: Mapped[dict[str, Any]] = mapped_column(JSON, default=dict)
    result: Mapped[dict[str, Any] | None] = mapped_column(JSON, default=None)
    progress: Mapped[dict[str, Any]] = mapped_column(JSON, default=dict)
    token: Mapped[int] = mapped_column(default=0)
    attempts: Mapped[int] = mapped_column(default=0)
    crashes: Mapped[int] = mapped_column(default=0)
    losses: Mapped[int] = mapped_column(default=0)
    outages: Mapped[int] = mapped_column(default=0)
    doubts: Mapped[int] = mapped_column(default=0)
    worker: Mapped[str | None] = mapped_column(String(100), default=None)
    lease_until: Mapped[datetime | None] = mapped_column(UtcDateTime, default=None)
    not_before: Mapped[datetime | None] = mapped_column(UtcDateTime, default=None)
    ready_at: Mapped[datetime | None] = mapped_column(UtcDateTime, default=None)
    started_at: Mapped[datetime | None] = mapped_column(UtcDateTime, default=None)
    finished_at: Mapped[datetime | None] = mapped_column(UtcDateTime, default=None)
    cpu_s: Mapped[float | None] = mapped_column(Float, default=None)
    wall_s: Mapped[float | None] = mapped_column(Float, default=None)
    peak_rss_bytes: Mapped[int | None] = mapped_column(BigInteger, default=None)
    error: Mapped[dict[str, Any] | None] = mapped_column(JSON, default=None)


class TaskPart(Keyed, Base):
    """A finished part of a running task: survives a retry of its task."""

    __tablename__ = "task_parts"
    __table_args__ = (UniqueConstraint("task_id", "index"),)

    task_id: Mapped[str] = mapped_column(ForeignKey("tasks.id", ondelete="CASCADE"))
    index: Mapped[int]
    key: Mapped[str] = mapped_column(String(300))
    result: Mapped[dict[str, Any]] = mapped_column(JSON)
