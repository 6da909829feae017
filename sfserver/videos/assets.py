"""What a video has beside its renditions: published by the stage that made it, with a revision of its own."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

from sqlalchemy.orm import Session

from sfserver.infra.clock import db_now
from sfserver.models import Asset, Video
from sfserver.tasks import garbage
from sfserver.videos import repository

# An answer that is being sent still reads the file that was replaced.
_LINGER = timedelta(minutes=10)


@dataclass(frozen=True)
class NewAsset:
    """A stored file that becomes an asset; `facts` is what its kind says of it."""

    name: str
    media_type: str
    key: str
    size_bytes: int
    facts: dict[str, Any] = field(default_factory=dict)


def replace_assets(session: Session, video: Video, kind: str, assets: Sequence[NewAsset]) -> None:
    """Make these files the video's assets of a kind, as its next revision; those before them become garbage."""
    old = assets_of(session, video.id, kind)
    revision = 1 + max((asset.revision for asset in old), default=0)
    garbage.discard(session, [asset.key for asset in old], after=_LINGER)
    for asset in old:
        session.delete(asset)
    session.flush()
    for new in assets:
        session.add(
            Asset(
                video_id=video.id,
                kind=kind,
                name=new.name,
                revision=revision,
                media_type=new.media_type,
                key=new.key,
                size_bytes=new.size_bytes,
                facts=new.facts,
                created_at=db_now(session),
            )
        )


def assets_of(session: Session, video_id: str, kind: str | None = None) -> list[Asset]:
    """Return the assets of a video, of one kind or all."""
    return list(repository.find_assets(session, video_id, kind))
