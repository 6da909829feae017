"""Videos as clients see them."""

import unicodedata
from datetime import datetime
from enum import StrEnum
from typing import Annotated

from pydantic import BaseModel, BeforeValidator, Field, StringConstraints

from sfserver.wire.jobs import JobStatus


class Visibility(StrEnum):
    """Who may watch: everybody and listed, everybody with the link, or the owner alone."""

    PUBLIC = "public"
    UNLISTED = "unlisted"
    PRIVATE = "private"


class SourceRead(BaseModel):
    """The uploaded file as probed. Durations in seconds, bit rates in bit/s, sizes in bytes."""

    file_name: str
    size_bytes: int
    sha256: str
    container: str | None = None
    duration_s: float | None = None
    video_codec: str | None = None
    width: int | None = None
    height: int | None = None
    fps: float | None = None
    rotation: int | None = None
    audio_codec: str | None = None
    audio_channels: int | None = None
    bitrate_bps: int | None = None


class RenditionRead(BaseModel):
    """One playable quality of a video."""

    quality: str
    format: str
    width: int
    height: int
    fps: float
    video_codec: str
    audio_codec: str | None
    codecs: str = Field(description="RFC 6381 codecs string, video and audio.")
    size_bytes: int = Field(description="Size of the progressive file.")
    average_bps: int
    peak_bps: int
    duration_s: float
    url: str


class VideoRead(BaseModel):
    """A video of the library."""

    id: str
    job_id: str | None
    title: str
    description: str
    visibility: Visibility
    language: str | None
    status: JobStatus
    duration_s: float | None
    created_at: datetime
    published_at: datetime | None
    source: SourceRead | None
    renditions: list[RenditionRead] = Field(default_factory=list)
    watch_url: str
    poster_url: str | None = Field(default=None, description="A picture of it; `?size=small` for a smaller one.")


def remove_controls(text: str, keep: str = "") -> str:
    """Drop what steers terminals or fits no database: control characters, but for those in `keep`, and surrogates."""
    return "".join(char for char in text if char in keep or unicodedata.category(char) not in {"Cc", "Cs"})


def _clean_line(value: object) -> object:
    return remove_controls(value).strip() if isinstance(value, str) else value


def _clean_text(value: object) -> object:
    return remove_controls(value, keep="\n\t") if isinstance(value, str) else value


Title = Annotated[str, BeforeValidator(_clean_line), StringConstraints(min_length=1, max_length=300)]
Description = Annotated[str, BeforeValidator(_clean_text), StringConstraints(max_length=20_000)]
Language = Annotated[str, StringConstraints(max_length=35, pattern=r"^[A-Za-z]{2,8}(-[A-Za-z0-9]{1,8})*$")]


class VideoChange(BaseModel):
    """What a client may change; what is left out stays as it is. `language` is a BCP 47 tag, null for unknown."""

    title: Title | None = None
    description: Description | None = None
    visibility: Visibility | None = None
    language: Language | None = None


class FileLink(BaseModel):
    """A signed progressive file."""

    quality: str
    format: str
    url: str


class VideoLinks(BaseModel):
    """Signed URLs for players that send no header; they end at `expires_at`.

    While a video encodes (`live`) there is HLS alone, of lists that grow; its segments keep their URLs afterwards.
    """

    hls: str
    dash: str | None = None
    files: list[FileLink]
    live: bool = False
    expires_at: datetime
