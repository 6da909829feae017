"""Every setting of the server, with its default and its meaning.

Only the composition roots (`app`, `worker`, `up`, `__main__`) read the environment; everything below them is handed
a section of this. Environment names are `SF_<SECTION>__<FIELD>`, e.g. `SF_LIMITS__MAX_UPLOAD_BYTES`.
"""

from pathlib import Path
from typing import Literal

from platformdirs import user_data_path
from pydantic import BaseModel, Field
from pydantic_settings import BaseSettings, SettingsConfigDict


class HttpSettings(BaseModel):
    """The public listener."""

    host: str = Field(default="127.0.0.1", description="Address to listen on.")
    port: int = Field(default=8420, ge=0, le=65535, description="Port to listen on; 0 takes a free one.")
    allowed_hosts: list[str] = Field(
        default=["localhost", "127.0.0.1", "[::1]"],
        description="Names this server goes by; requests for any other `Host` get 421 (DNS rebinding).",
    )
    cors_origins: list[str] = Field(default=["*"], description="Origins that may read media (never with cookies).")


class DatabaseSettings(BaseModel):
    """Where the truth is kept."""

    url: str | None = Field(default=None, description="SQLAlchemy URL; default is SQLite in the data directory.")
    busy_timeout_s: float = Field(default=10.0, description="How long SQLite waits for another writer.")


class MediaLimits(BaseModel):
    """What the media of one upload may cost (docs/concepts/untrusted-media.md); every stage is given it."""

    max_pixels: int = Field(default=35_600_000, description="Largest picture, width x height.")
    max_pixel_rate: float = Field(
        default=2.4e9, description="Most pixels decoded per second of video (8K at 60 frames has 2.1e9)."
    )
    max_streams: int = Field(default=32, description="Most streams in one file.")
    max_duration_s: float = Field(default=12 * 3600, description="Longest video.")
    max_fps: float = Field(default=120.0, description="Highest frame rate of a source.")
    max_fill_ratio: float = Field(default=20.0, description="Most filled frames per decoded frame.")
    fill_slack_frames: int = Field(default=3600, description="Filled frames that are allowed whatever the ratio.")
    max_gap_s: float = Field(default=600.0, description="Longest gap between two frames.")
    probe_bytes: int = Field(default=5_000_000, description="Most bytes read to recognise a file.")


class LimitSettings(MediaLimits):
    """What one upload may cost; beyond it a job fails with `limit_<name>`."""

    max_upload_bytes: int = Field(default=524_288_000, description="Largest upload, checked while it streams.")


class SandboxSettings(BaseModel):
    """The walls round the processes that touch media bytes."""

    memory_bytes: int = Field(default=2 << 30, description="Most memory of one media process.")
    stall_s: float = Field(default=60.0, description="A media process without progress for so long is killed.")
    nice: int = Field(default=15, description="Niceness of media processes; those of an opening are less nice.")
    output_slack_bytes: int = Field(default=512 << 20, description="Output allowed beyond three times the input.")
    probe_cpu_s: float = Field(default=60.0, description="CPU time of a probe, whatever the size of the file.")
    probe_cpu_s_per_gib: float = Field(default=600.0, description="CPU time of a probe for each GiB of the file.")
    encode_cpu_s: float = Field(default=300.0, description="CPU time of an encode task, however short its chunk.")
    encode_cpu_s_per_s: float = Field(default=60.0, description="CPU time of an encode task for each second of video.")
    require_walls: bool = Field(default=False, description="Refuse to start where Landlock or seccomp is missing.")
    omit_walls: list[Literal["landlock", "seccomp"]] = Field(
        default=[], description="Walls to do without, as on a system that lacks them; for tests."
    )


class WorkerSettings(BaseModel):
    """Tasks and their leases."""

    concurrency: int | None = Field(default=None, description="Encode tasks at once; default the number of cores.")
    io_concurrency: int = Field(default=2, description="Probe and package tasks at once.")
    lease_s: float = Field(default=30.0, description="How long a claim holds without a beat.")
    beat_s: float = Field(default=10.0, description="How often a running task extends its lease.")
    sweep_s: float = Field(default=10.0, description="How often the sweeper looks for what was left behind.")
    max_crashes: int = Field(default=3, description="Crashes of its process before a task is quarantined.")
    lonely_after_losses: int = Field(default=3, description="Lost workers after which a task runs alone.")
    max_losses: int = Field(default=10, description="Lost workers before a task is quarantined.")
    max_doubts: int = Field(
        default=10, description="Troubles a media process had and nobody could confirm before a task is quarantined."
    )
    backoff_max_s: float = Field(default=60.0, description="Longest wait after an error of store or database.")


class StorageSettings(BaseModel):
    """Room that is kept free."""

    reserve_bytes: int = Field(default=64 << 20, description="Disk space that no work may take.")
    memory_reserve_bytes: int = Field(default=128 << 20, description="Memory below which this machine is short of it.")


class AccessSettings(BaseModel):
    """Signed URLs and browser sessions."""

    media_url_min_s: float = Field(default=6 * 3600, description="Least validity of a signed media URL.")
    grant_cache_s: float = Field(default=2.0, description="How long the answer of the media gate is remembered.")
    sign_in_link_s: float = Field(default=120.0, description="Validity of a one-time sign-in URL.")
    session_days: float = Field(default=30.0, description="Validity of a browser session.")


class VideoSettings(BaseModel):
    """Life of a video."""

    trash_days: float = Field(default=30.0, description="How long a deleted video can be restored.")


class Settings(BaseSettings):
    """All of it."""

    model_config = SettingsConfigDict(env_prefix="SF_", env_nested_delimiter="__", extra="ignore")

    data_dir: Path = Field(
        default_factory=lambda: user_data_path("streamforge"),
        description="Everything the embedded server keeps: database, objects, secrets, log.",
    )
    http: HttpSettings = HttpSettings()
    database: DatabaseSettings = DatabaseSettings()
    limits: LimitSettings = LimitSettings()
    sandbox: SandboxSettings = SandboxSettings()
    worker: WorkerSettings = WorkerSettings()
    storage: StorageSettings = StorageSettings()
    access: AccessSettings = AccessSettings()
    videos: VideoSettings = VideoSettings()

    @property
    def database_url(self) -> str:
        """The database's SQLAlchemy URL."""
        return self.database.url or f"sqlite:///{self.data_dir / 'streamforge.db'}"
