"""Objects that nobody wants any more, on their way out of the store."""

from datetime import datetime

from sqlalchemy import JSON, String
from sqlalchemy.orm import Mapped, mapped_column

from sfserver.models.base import Base, Keyed, UtcDateTime


class Garbage(Keyed, Base):
    """At most 1,000 keys to delete from `due_at` on, written by the transaction that made them garbage.

    `reprieve_job_id` names a failed job that may still want them: its retry takes the row away.
    """

    __tablename__ = "garbage"

    keys: Mapped[list[str]] = mapped_column(JSON)
    due_at: Mapped[datetime] = mapped_column(UtcDateTime, index=True)
    reprieve_job_id: Mapped[str | None] = mapped_column(String(36), default=None, index=True)
