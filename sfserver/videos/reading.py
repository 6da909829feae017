"""From rows to what clients see of videos."""

from collections.abc import Iterable, Sequence

from sqlalchemy.orm import Session

from sfserver.models import Video
from sfserver.publications.reading import Publication, published_of
from sfserver.videos.repository import VideoRow
from sfserver.wire.jobs import JobStatus
from sfserver.wire.videos import RenditionRead, SourceRead, VideoRead, Visibility

_CODEC_NAMES = {"avc1": "h264", "mp4a": "aac"}


def read_videos(session: Session, rows: Sequence[VideoRow], viewer_id: str | None) -> list[VideoRead]:
    """Return videos as this viewer sees them, with a handful of queries."""
    renditions = _renditions_of(session, [row.video.id for row in rows])
    return [_read_video(row, renditions.get(row.video.id, []), viewer_id) for row in rows]


def read_renditions(session: Session, video_id: str) -> list[RenditionRead]:
    """Return what can be played of a video."""
    return _renditions_of(session, [video_id]).get(video_id, [])


def _read_video(row: VideoRow, renditions: list[RenditionRead], viewer_id: str | None) -> VideoRead:
    """Return a video as this viewer sees it: its source and job are the owner's business."""
    video, is_owner = row.video, row.video.owner_id == viewer_id
    return VideoRead(
        id=video.id,
        job_id=row.job_id if is_owner else None,
        title=video.title,
        description=video.description,
        visibility=Visibility(video.visibility),
        language=video.language,
        status=_status(row),
        duration_s=_duration_s(video, renditions),
        created_at=video.created_at,
        published_at=video.published_at,
        source=_read_source(video) if is_owner else None,
        renditions=renditions,
        watch_url=f"/watch/{video.id}",
        poster_url=f"/api/videos/{video.id}/poster.webp" if row.has_poster else None,
    )


def _renditions_of(session: Session, video_ids: Sequence[str]) -> dict[str, list[RenditionRead]]:
    published = published_of(session, video_ids)
    return {video_id: list(_read_renditions(each)) for video_id, each in published.items()}


def _read_renditions(published: Publication) -> Iterable[RenditionRead]:
    sound = published.sound
    heard = sound.facts if sound else None
    for track in published.pictures:
        facts = track.facts
        if facts is None:
            continue
        yield RenditionRead(
            quality=track.name,
            format="mp4",
            width=track.width,
            height=track.height,
            fps=round(published.fps.num / published.fps.den, 3),
            video_codec=_codec_name(track.codecs),
            audio_codec=_codec_name(sound.codecs) if sound else None,
            codecs=",".join([track.codecs, *([sound.codecs] if sound else [])]),
            size_bytes=facts.progressive_bytes,
            average_bps=facts.average_bps + (heard.average_bps if heard else 0),
            peak_bps=facts.peak_bps + (heard.peak_bps if heard else 0),
            duration_s=published.duration_s,
            url=f"/api/stream/{published.video_id}/{track.name}",
        )


def _read_source(video: Video) -> SourceRead:
    facts = video.source_facts or {}
    picture, sound = facts.get("video") or {}, facts.get("audio") or {}
    return SourceRead(
        file_name=video.source_name,
        size_bytes=video.source_size_bytes,
        sha256=video.source_sha256,
        container=facts.get("container"),
        duration_s=facts.get("duration_s"),
        video_codec=picture.get("codec"),
        width=picture.get("display_width"),
        height=picture.get("display_height"),
        fps=picture.get("average_fps"),
        rotation=picture.get("rotation"),
        audio_codec=sound.get("codec"),
        audio_channels=sound.get("channels"),
        bitrate_bps=picture.get("bitrate_bps"),
    )


def _codec_name(codecs: str) -> str:
    """Return the everyday name for an RFC 6381 codecs string."""
    family = codecs.partition(".")[0]
    return _CODEC_NAMES.get(family, family)


def _duration_s(video: Video, renditions: Sequence[RenditionRead]) -> float | None:
    if renditions:
        return renditions[0].duration_s
    return None if video.source_facts is None else float(video.source_facts["duration_s"])


def _status(row: VideoRow) -> JobStatus:
    """Return the newest job's status; a published video stays ready whatever a later job does."""
    if row.video.generation or row.job_status is None:
        return JobStatus.READY
    return JobStatus(row.job_status)
