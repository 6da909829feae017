"""All SQL about uploads in flight."""

from collections.abc import Sequence
from datetime import datetime

from sqlalchemy import select
from sqlalchemy.orm import Session

from sfserver.models import Upload


def unfinished_uploads(session: Session, *, expired_before: datetime | None) -> Sequence[Upload]:
    """Return uploads that never became a video: all, or those whose time was over before a moment."""
    query = select(Upload).where(Upload.video_id.is_(None))
    if expired_before is not None:
        query = query.where(Upload.expires_at < expired_before)
    return session.scalars(query).all()
