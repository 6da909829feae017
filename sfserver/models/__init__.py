"""ORM models, one file per aggregate."""

from sfserver.models.asset import Asset
from sfserver.models.base import Base, new_id
from sfserver.models.garbage import Garbage
from sfserver.models.job import Job, JobEvent, JobStage
from sfserver.models.publication import Publication, Track, TrackChunk
from sfserver.models.task import Task, TaskPart
from sfserver.models.upload import Upload
from sfserver.models.user import Credential, User
from sfserver.models.video import Video
from sfserver.models.worker import WorkerNode

__all__ = [
    "Asset",
    "Base",
    "Credential",
    "Garbage",
    "Job",
    "JobEvent",
    "JobStage",
    "Publication",
    "Task",
    "TaskPart",
    "Track",
    "TrackChunk",
    "Upload",
    "User",
    "Video",
    "WorkerNode",
    "new_id",
]
