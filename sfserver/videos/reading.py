"""From rows to what clients see of videos."""

from typing import Any

from sfserver.models import Video
from sfserver.videos.repository import VideoRow
from sfserver.wire.jobs import JobStatus
from sfserver.wire.videos import RenditionRead, SourceRead, VideoRead, Visibility

_CODEC_NAMES = {"avc1": "h264", "mp4a": "aac"}


def read_video(row: VideoRow, viewer_id: str | None) -> VideoRead:
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
        duration_s=_duration_s(video),
        created_at=video.created_at,
        published_at=video.published_at,
        source=_read_source(video) if is_owner else None,
        renditions=read_renditions(video),
        watch_url=f"/watch/{video.id}",
        poster_url=f"/api/videos/{video.id}/poster.webp" if row.has_poster else None,
    )


def read_renditions(video: Video) -> list[RenditionRead]:
    """Return what can be played of a video."""
    if video.published is None:
        return []
    fps = video.published["fps"]["num"] / video.published["fps"]["den"]
    duration_s = video.published["duration_s"]
    return [_read_rendition(video.id, facts, fps, duration_s) for facts in video.published["renditions"]]


def _read_rendition(video_id: str, facts: dict[str, Any], fps: float, duration_s: float) -> RenditionRead:
    picture, sound = facts["video_codecs"], facts["audio_codecs"]
    return RenditionRead(
        quality=facts["quality"],
        format="mp4",
        width=facts["width"],
        height=facts["height"],
        fps=round(fps, 3),
        video_codec=_codec_name(picture),
        audio_codec=_codec_name(sound) if sound else None,
        codecs=",".join(filter(None, (picture, sound))),
        size_bytes=facts["progressive_size_bytes"],
        average_bps=facts["average_bps"],
        peak_bps=facts["peak_bps"],
        duration_s=duration_s,
        url=f"/api/stream/{video_id}/{facts['quality']}",
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


def _duration_s(video: Video) -> float | None:
    known = video.published or video.source_facts
    return None if known is None else float(known["duration_s"])


def _status(row: VideoRow) -> JobStatus:
    """Return the newest job's status; a published video stays ready whatever a later job does."""
    if row.video.published is not None or row.job_status is None:
        return JobStatus.READY
    return JobStatus(row.job_status)
