"""ORM models, one file per aggregate."""

from sfserver.models.asset import Asset
from sfserver.models.base import Base, new_id
from sfserver.models.garbage import Garbage
from sfserver.models.job import Job, JobEvent, JobStage
from sfserver.models.task import Task, TaskPart
from sfserver.models.upload import Upload
from sfserver.models.user import Credential, User
from sfserver.models.video import RetiredPublication, Video
from sfserver.models.worker import WorkerNode

__all__ = [
    "Asset",
    "Base",
    "Credential",
    "Garbage",
    "Job",
    "JobEvent",
    "JobStage",
    "RetiredPublication",
    "Task",
    "TaskPart",
    "Upload",
    "User",
    "Video",
    "WorkerNode",
    "new_id",
]
