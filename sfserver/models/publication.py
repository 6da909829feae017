"""What players are shown of a video: a generation of it, its tracks, and where each chunk of a track is stored."""

from datetime import datetime
from typing import Any

from sqlalchemy import JSON, BigInteger, Float, ForeignKey, Index, LargeBinary, String, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column

from sfserver.models.base import Base, Keyed, UtcDateTime


class Publication(Keyed, Base):
    """One generation of a video, from the probe of its job on.

    `state` is growing (its job is at work), published (`Video.generation` points here), retired (replaced; served
    `until` the last URL that was signed for it has ended) or withdrawn (its job failed; a retry may bring it back).
    Segments are cut by `segment_gops` and `opening_gops` (`media.mp4.segments.SegmentRule`); none lasts longer than
    `target_s`.
    """

    __tablename__ = "publications"
    __table_args__ = (UniqueConstraint("video_id", "generation"), Index(None, "state", "until"))

    video_id: Mapped[str] = mapped_column(ForeignKey("videos.id", ondelete="CASCADE"))
    job_id: Mapped[str] = mapped_column(ForeignKey("jobs.id", ondelete="CASCADE"), index=True)
    generation: Mapped[int]
    state: Mapped[str] = mapped_column(String(10))
    fps_num: Mapped[int] = mapped_column(BigInteger)
    fps_den: Mapped[int] = mapped_column(BigInteger)
    duration_s: Mapped[float] = mapped_column(Float)
    target_s: Mapped[int]
    segment_gops: Mapped[int]
    opening_gops: Mapped[int]
    created_at: Mapped[datetime] = mapped_column(UtcDateTime)
    published_at: Mapped[datetime | None] = mapped_column(UtcDateTime, default=None)
    until: Mapped[datetime | None] = mapped_column(UtcDateTime, default=None)


class Track(Keyed, Base):
    """One rung's picture or the sound of a publication.

    `init` is the init segment, `ftyp moov`: known, as `codec_config` (hex) is, once the first chunk is recorded.
    Players are shown the first `shown_chunks` chunks, which hold `shown_segments` segments: those before the first one
    that is missing. `peak_bps` is the plan's cap. `facts` is `media.contract.TrackFacts` once it is published, and
    `head_key` the head of the progressive file.
    """

    __tablename__ = "tracks"
    __table_args__ = (UniqueConstraint("publication_id", "name"),)

    publication_id: Mapped[str] = mapped_column(ForeignKey("publications.id", ondelete="CASCADE"))
    kind: Mapped[str] = mapped_column(String(8))
    name: Mapped[str] = mapped_column(String(16))
    place: Mapped[int]
    codecs: Mapped[str] = mapped_column(String(40))
    timescale: Mapped[int] = mapped_column(BigInteger)
    width: Mapped[int] = mapped_column(default=0)
    height: Mapped[int] = mapped_column(default=0)
    channels: Mapped[int] = mapped_column(default=0)
    peak_bps: Mapped[int] = mapped_column(BigInteger)
    codec_config: Mapped[str | None] = mapped_column(String(2000), default=None)
    delay_ticks: Mapped[int] = mapped_column(default=0)
    init: Mapped[bytes | None] = mapped_column(LargeBinary, default=None)
    shown_chunks: Mapped[int] = mapped_column(default=0)
    shown_segments: Mapped[int] = mapped_column(default=0)
    head_key: Mapped[str | None] = mapped_column(String(300), default=None)
    facts: Mapped[dict[str, Any] | None] = mapped_column(JSON, default=None)


class TrackChunk(Base):
    """A chunk of a track: `size_bytes` of whole fragments from `start` on, to the end of the object `key`.

    `fragments` is its `media.mp4.tracks.FragmentIndex`; `samples` its packed `TrackTable`, which packaging needs and
    nobody after it.
    """

    __tablename__ = "track_chunks"

    track_id: Mapped[str] = mapped_column(ForeignKey("tracks.id", ondelete="CASCADE"), primary_key=True)
    index: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    key: Mapped[str] = mapped_column(String(300))
    start: Mapped[int] = mapped_column(BigInteger, default=0)
    size_bytes: Mapped[int] = mapped_column(BigInteger)
    first_gop: Mapped[int]
    fragments: Mapped[bytes] = mapped_column(LargeBinary)
    samples: Mapped[bytes | None] = mapped_column(LargeBinary, default=None, deferred=True)
