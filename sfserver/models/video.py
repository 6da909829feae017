"""Videos: whose they are, what was uploaded, and which publication of them is visible."""

from datetime import datetime
from typing import Any

from sqlalchemy import JSON, BigInteger, ForeignKey, Index, String, Text
from sqlalchemy.orm import Mapped, mapped_column

from sfserver.models.base import Base, Keyed, UtcDateTime


class Video(Keyed, Base):
    """One video of the library.

    `generation` is the one pointer that makes a publication visible: the number of the one that is, 0 before the first.
    """

    __tablename__ = "videos"
    __table_args__ = (Index(None, "owner_id", "deleted_at", "id"),)

    owner_id: Mapped[str] = mapped_column(ForeignKey("users.id"))
    title: Mapped[str] = mapped_column(String(300))
    description: Mapped[str] = mapped_column(Text, default="")
    visibility: Mapped[str] = mapped_column(String(10), default="private")
    language: Mapped[str | None] = mapped_column(String(35), default=None)
    public_epoch: Mapped[int] = mapped_column(default=1)
    created_at: Mapped[datetime] = mapped_column(UtcDateTime)
    deleted_at: Mapped[datetime | None] = mapped_column(UtcDateTime, default=None)

    source_key: Mapped[str] = mapped_column(String(300))
    source_name: Mapped[str] = mapped_column(String(300))
    source_size_bytes: Mapped[int] = mapped_column(BigInteger)
    source_sha256: Mapped[str] = mapped_column(String(64))
    source_facts: Mapped[dict[str, Any] | None] = mapped_column(JSON, default=None)

    generation: Mapped[int] = mapped_column(default=0)
    published_at: Mapped[datetime | None] = mapped_column(UtcDateTime, default=None)
