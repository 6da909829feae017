"""Which objects somebody knows, and why: read from the rows alone."""

from sqlalchemy import select
from sqlalchemy.orm import Session

from sfserver.models import Asset, Garbage, Job, Task, TaskPart, Upload, Video
from sfserver.publications.repository import find_publication_of_job
from sfserver.publications.service import published_keys
from sfserver.stages.registry import STAGES
from sfserver.tasks.lifecycle import claim_of
from sfserver.tasks.stage import Stages
from sfserver.tasks.states import OWNED
from sfserver.wire.jobs import JobStatus, StageState


def live_keys(session: Session, stages: Stages = STAGES) -> set[str]:
    """Return every key that somebody may still ask for."""
    videos = {video.id: video for video in session.scalars(select(Video))}
    keys = {video.source_key for video in videos.values()} | set(session.scalars(select(Asset.key)))
    for video in videos.values():
        keys |= set(published_keys(session, video.id))
    for job in session.scalars(select(Job)):
        keys |= _live_of(session, stages, job, videos[job.video_id])
    return keys


def garbage_keys(session: Session) -> set[str]:
    """Return every key that will be deleted one day."""
    return {key for keys in session.scalars(select(Garbage.keys)) for key in keys}


def keys_in_the_making(session: Session, stages: Stages = STAGES) -> set[str]:
    """Return what the newest attempts at open tasks may have stored, and what is being uploaded.

    The next claim, a cancel or an expiry discards it.
    """
    keys = set(session.scalars(select(Upload.key).where(Upload.video_id.is_(None))))
    for task in session.scalars(select(Task).where(Task.state.in_(OWNED))):
        job = session.get_one(Job, task.job_id)
        keys |= set(stages[task.kind].keys(claim_of(task, job, session.get_one(Video, job.video_id))))
    return keys


def _live_of(session: Session, stages: Stages, job: Job, video: Video) -> set[str]:
    """Return what an unfinished job has recorded, and of a published one what lasts."""
    is_active = not JobStatus(job.status).is_final
    shown = find_publication_of_job(session, job.id)
    is_published = shown is not None and shown.generation == video.generation and job.status == JobStatus.READY
    keys: set[str] = set()
    for task in session.scalars(select(Task).where(Task.job_id == job.id)):
        stage = stages.get(task.kind)
        if stage is None or not (is_active or is_published):
            continue
        if stage.fatal and task.state == StageState.DONE and (is_active or stage.lasting):
            keys |= set(stage.keys(claim_of(task, job, video)))
        if is_active:
            keys |= set(session.scalars(select(TaskPart.key).where(TaskPart.task_id == task.id)))
    return keys
