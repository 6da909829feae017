"""Users, their API tokens, browser sessions and one-time sign-in links."""

from datetime import datetime

from sqlalchemy import ForeignKey, String
from sqlalchemy.orm import Mapped, mapped_column

from sfserver.models.base import Base, Keyed, UtcDateTime


class User(Keyed, Base):
    """A person with an account; the embedded server makes one named `local`."""

    __tablename__ = "users"

    name: Mapped[str] = mapped_column(String(64), unique=True)
    is_admin: Mapped[bool] = mapped_column(default=False)
    created_at: Mapped[datetime] = mapped_column(UtcDateTime)


class Credential(Keyed, Base):
    """Something that proves who a caller is; only the SHA-256 of its secret is kept.

    `kind` is `api_token` (Authorization header), `session` (browser cookie) or `sign_in_link` (works once). The
    id of a token or session names the grant inside signed media URLs, so that revoking it closes them.
    """

    __tablename__ = "credentials"

    user_id: Mapped[str] = mapped_column(ForeignKey("users.id", ondelete="CASCADE"), index=True)
    kind: Mapped[str] = mapped_column(String(16))
    secret_sha256: Mapped[str] = mapped_column(String(64), unique=True)
    label: Mapped[str] = mapped_column(String(100), default="")
    next_path: Mapped[str] = mapped_column(String(500), default="/")
    created_at: Mapped[datetime] = mapped_column(UtcDateTime)
    expires_at: Mapped[datetime | None] = mapped_column(UtcDateTime, default=None)
    revoked_at: Mapped[datetime | None] = mapped_column(UtcDateTime, default=None)
