"""A claimed task as a value: what its worker needs after the claiming transaction has ended."""

from dataclasses import dataclass
from typing import Any

from sfserver.models import Job, Task, Video


@dataclass(frozen=True)
class Claim:
    """The task, its fencing token and the facts of its job at claim time."""

    task_id: str
    job_id: str
    kind: str
    index: int
    token: int
    attempt: int
    spec: dict[str, Any]
    plan: dict[str, Any] | None
    source_key: str
    source_size_bytes: int
    publish_prefix: str

    @classmethod
    def of(cls, task: Task, job: Job, video: Video, publish_prefix: str) -> "Claim":
        """Copy what matters out of the rows."""
        return cls(
            task_id=task.id,
            job_id=job.id,
            kind=task.kind,
            index=task.index,
            token=task.token,
            attempt=task.attempts,
            spec=task.spec,
            plan=job.plan,
            source_key=video.source_key,
            source_size_bytes=video.source_size_bytes,
            publish_prefix=publish_prefix,
        )

    @property
    def prefix(self) -> str:
        """Key prefix of what this attempt alone makes; nobody else ever writes there."""
        return f"chunks/{self.job_id}/{self.kind}-{self.index}/{self.token}"
