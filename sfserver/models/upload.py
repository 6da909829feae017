"""Uploads in flight: what must be cleaned up when one is cut off."""

from datetime import datetime

from sqlalchemy import BigInteger, ForeignKey, String
from sqlalchemy.orm import Mapped, mapped_column

from sfserver.models.base import Base, Keyed, UtcDateTime


class Upload(Keyed, Base):
    """One upload from its first byte on; `video_id` is set by the transaction that accepts it."""

    __tablename__ = "uploads"

    owner_id: Mapped[str] = mapped_column(ForeignKey("users.id"), index=True)
    key: Mapped[str] = mapped_column(String(300))
    received_bytes: Mapped[int] = mapped_column(BigInteger, default=0)
    video_id: Mapped[str | None] = mapped_column(ForeignKey("videos.id", ondelete="SET NULL"), default=None)
    created_at: Mapped[datetime] = mapped_column(UtcDateTime)
    expires_at: Mapped[datetime] = mapped_column(UtcDateTime)
