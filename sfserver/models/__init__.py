"""ORM models, one file per aggregate."""

from sfserver.models.base import Base, new_id
from sfserver.models.job import Job, JobEvent, Task, TaskPart
from sfserver.models.upload import Upload
from sfserver.models.user import Credential, User
from sfserver.models.video import Video
from sfserver.models.worker import WorkerNode

__all__ = [
    "Base",
    "Credential",
    "Job",
    "JobEvent",
    "Task",
    "TaskPart",
    "Upload",
    "User",
    "Video",
    "WorkerNode",
    "new_id",
]
