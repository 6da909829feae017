"""Health of the server and its parts."""

from pydantic import BaseModel, Field


class PartHealth(BaseModel):
    """One part of the server: `ok`, or what is wrong with it."""

    ok: bool
    detail: str | None = None


class WorkerHealth(BaseModel):
    """One worker process."""

    id: str
    host: str
    heartbeat_age_s: float
    running: list[str] = Field(default_factory=list, description="Running tasks as job/kind/index.")
    capabilities: list[str] = Field(default_factory=list)


class HealthRead(BaseModel):
    """`status` and `version` for everybody; the parts only for a signed-in user."""

    status: str = Field(description="ok, degraded or down")
    version: str
    database: PartHealth | None = None
    queue: PartHealth | None = None
    storage: PartHealth | None = None
    tasks: PartHealth | None = Field(default=None, description="Whether work waits for something the server lacks.")
    sandbox: str | None = Field(default=None, description="Which walls stand round the media processes.")
    workers: list[WorkerHealth] | None = None
    queue_depths: dict[str, int] | None = None
    oldest_waiting_s: float | None = None
