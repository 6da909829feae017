"""What people ask of a job: to stop it, to try again, to do one stage or the whole video once more."""

from sqlalchemy.orm import Session

from sfserver.deps import Runtime
from sfserver.errors import ConflictError, JobFinishedError, SourceMissingError, UnknownStageError
from sfserver.infra.clock import db_now
from sfserver.models import Job, Video
from sfserver.publications.service import bring_back
from sfserver.tasks import garbage, lifecycle, pipeline, repository
from sfserver.tasks.announce import emit
from sfserver.wire.events import EventKind, StateEvent
from sfserver.wire.jobs import JobStatus, StageState


def cancel(session: Session, runtime: Runtime, job: Job) -> None:
    """Cancel a running job. Raises `JobFinishedError` for one that has ended, which nothing happens to."""
    job = _locked(session, job)
    if not lifecycle.cancel_job(session, runtime.stages, job):
        raise JobFinishedError(f"this job is {job.status} already")


def retry(session: Session, runtime: Runtime, job: Job) -> None:
    """Set a job that failed or was cancelled going again.

    What a failed one recorded is kept while it is there (a day); a cancelled one starts anew, and so does one that
    failed because some of it is gone. Raises `ConflictError`.
    """
    job = _locked(session, job)
    if job.status not in {JobStatus.FAILED, JobStatus.CANCELLED}:
        raise ConflictError(f"this job is {job.status}: only one that failed or was cancelled can be tried again")
    if session.get_one(Video, job.video_id).deleted_at is not None:
        raise ConflictError("its video is in the trash", hint="restore the video first")
    if _unfinished(session, job.video_id):
        raise ConflictError("another job works on this video")
    is_whole = (job.error or {}).get("code") != SourceMissingError.code  # else it recorded what is gone by now
    kept = job.status == JobStatus.FAILED and is_whole and garbage.reprieve(session, job.id)
    repository.end_reprieve(session, job.id)  # what is not kept is not for a later retry either
    if not kept:
        job.plan, job.warnings, job.progress = None, [], 0.0
    for kind in runtime.stages:
        row = repository.find_stage(session, job.id, kind)
        if row is None or not kept or row.opened_at is None:
            pipeline.renew_stage(session, runtime, job, kind)
        elif row.state in {StageState.FAILED, StageState.CANCELLED}:
            _revive(session, runtime, job, kind)
    job.status, job.error, job.finished_at, job.started_at = JobStatus.QUEUED, None, None, None
    emit(session, job, EventKind.STATE, StateEvent(job_id=job.id, status=JobStatus.QUEUED))
    if kept:
        bring_back(session, job)
    session.flush()
    pipeline.open_stages(session, runtime, job)


def reprocess(session: Session, runtime: Runtime, video: Video) -> Job:
    """Process a video again, as a new generation that replaces the old one when it is ready. Raises `ConflictError`."""
    for job in lifecycle.jobs_of(session, video.id)[-1:]:
        _locked(session, job)  # so that two who ask at the same time do not both find nothing
    if _unfinished(session, video.id):
        raise ConflictError("this video is being processed already")
    return pipeline.create_job(session, runtime, video, "mp4")


def redo_stage(session: Session, runtime: Runtime, video: Video, kind: str) -> Job:
    """Do one stage of a published video again. Raises `UnknownStageError`, and `ConflictError` where it can't be."""
    stage = runtime.stages.get(kind)
    if stage is None:
        raise UnknownStageError(f"there is no stage {kind[:40]!r}; there is: {', '.join(runtime.stages)}")
    if stage.fatal:
        raise ConflictError(
            f"{kind} can't be done again by itself", hint="process the whole video again: sfctl reprocess"
        )
    ready = [job for job in lifecycle.jobs_of(session, video.id) if job.status == JobStatus.READY]
    if not ready:
        raise ConflictError("this video is not ready yet", hint="see the status of its job")
    job = _locked(session, ready[-1])
    for name in [kind, *pipeline.dependents_of(runtime.stages, kind)]:
        pipeline.renew_stage(session, runtime, job, name)
    pipeline.open_stages(session, runtime, job)
    return job


def _revive(session: Session, runtime: Runtime, job: Job, kind: str) -> None:
    """Have what was not done of a stage done after all; its counters begin at nothing.

    A task without `ready_at` is left from an earlier plan, which had more of them.
    """
    row, now = repository.find_stage(session, job.id, kind), db_now(session)
    assert row is not None
    for task in repository.tasks_of(session, job.id, kind):
        if task.state != StageState.DONE and task.ready_at is not None:
            pipeline.forget_attempts(row, task, now)
    row.state, row.error, row.finished_at = StageState.WAITING, None, None
    pipeline.wake(session, [row.queue])


def _unfinished(session: Session, video_id: str) -> bool:
    return any(not JobStatus(job.status).is_final for job in lifecycle.jobs_of(session, video_id))


def _locked(session: Session, job: Job) -> Job:
    locked = repository.lock_job(session, job.id)
    assert locked is not None  # it was just read in this transaction
    return locked
