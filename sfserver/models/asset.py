"""What belongs to a video beside its renditions: posters, later captions and storyboards."""

from datetime import datetime
from typing import Any

from sqlalchemy import JSON, BigInteger, ForeignKey, String, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column

from sfserver.models.base import Base, Keyed, UtcDateTime


class Asset(Keyed, Base):
    """One published file of a `kind`; all files of a kind have one `revision`, which a new run raises.

    `name` tells the files of a kind apart ("poster-small.webp"); `facts` is what their kind says of them (width …).
    """

    __tablename__ = "assets"
    __table_args__ = (UniqueConstraint("video_id", "kind", "name"),)

    video_id: Mapped[str] = mapped_column(ForeignKey("videos.id", ondelete="CASCADE"))
    kind: Mapped[str] = mapped_column(String(16))
    name: Mapped[str] = mapped_column(String(100))
    revision: Mapped[int] = mapped_column(default=1)
    media_type: Mapped[str] = mapped_column(String(100))
    key: Mapped[str] = mapped_column(String(300))
    size_bytes: Mapped[int] = mapped_column(BigInteger)
    facts: Mapped[dict[str, Any]] = mapped_column(JSON, default=dict)
    created_at: Mapped[datetime] = mapped_column(UtcDateTime)
