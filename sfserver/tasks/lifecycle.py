"""What happens to a task and to its job as a whole: moved, started, failed, cancelled, finished.

Whoever calls any of this holds the job's lock (`repository.lock_job`).
"""

from collections.abc import Iterable, Sequence
from dataclasses import asdict, replace
from datetime import datetime, timedelta

from pydantic import TypeAdapter
from sqlalchemy.orm import Session

from sfserver.errors import StreamForgeError
from sfserver.infra.clock import db_now
from sfserver.media.contract import EncodePlan, MediaLimits, MediaWarning
from sfserver.models import Job, JobStage, Task, Video
from sfserver.tasks import announce, garbage, repository
from sfserver.tasks.announce import emit
from sfserver.tasks.stage import Claim, Stages
from sfserver.tasks.states import ACTIVE_JOBS, OWNED, Counters, Happening, RetryPolicy, Step, after
from sfserver.wire.events import DoneEvent, ErrorEvent, EventKind, PlayableEvent, StateEvent
from sfserver.wire.jobs import JobError, JobStatus, StageState

_PLAN = TypeAdapter(EncodePlan)


def find_job(session: Session, job_id: str) -> Job | None:
    """Return the job or None."""
    return session.get(Job, job_id)


def jobs_of(session: Session, video_id: str) -> list[Job]:
    """Return all jobs of a video, oldest first."""
    return list(repository.jobs_of(session, video_id))


def claim_of(task: Task, job: Job, video: Video) -> Claim:
    """Copy what an attempt needs out of the rows."""
    return Claim(
        task_id=task.id,
        job_id=job.id,
        video_id=video.id,
        kind=task.kind,
        index=task.index,
        token=task.token,
        attempt=task.attempts,
        spec=task.spec,
        source_key=video.source_key,
        source_size_bytes=video.source_size_bytes,
        limits=MediaLimits.model_validate(job.limits or {}),
        plan_json=job.plan,
    )


def plan_of(job: Job) -> EncodePlan:
    """Return the plan of a job that has been probed, without its chunks."""
    return _PLAN.validate_python(job.plan)


def may_run(job: Job, row: JobStage) -> bool:
    """Whether tasks of this stage are wanted as the job stands."""
    return job.status in ACTIVE_JOBS or (not row.fatal and job.status == JobStatus.READY)


def move(task: Task, happening: Happening, policy: RetryPolicy, now: datetime) -> Step:
    """Let something happen to a task: its state, its counters and its next time follow. Raises ImpossibleError."""
    counters = Counters(task.attempts, task.crashes, task.losses, task.outages, task.doubts)
    step = after(StageState(task.state), happening, counters, policy)
    task.state, task.attempts, task.crashes = step.state, step.counters.attempts, step.counters.crashes
    task.losses, task.outages, task.doubts = step.counters.losses, step.counters.outages, step.counters.doubts
    task.not_before = now + timedelta(seconds=step.delay_s) if step.delay_s else None
    if step.state is not StageState.RUNNING:
        task.lease_until = None
    if step.state is StageState.WAITING:
        task.progress, task.finished_at, task.ready_at = {}, None, now
    elif step.state is not StageState.RUNNING:
        task.finished_at = now
    return step


def start_job(session: Session, job: Job) -> None:
    """Mark a queued job as being processed; nothing if it already is."""
    if job.status != JobStatus.QUEUED:
        return
    job.status, job.started_at = JobStatus.PROCESSING, db_now(session)
    emit(session, job, EventKind.STATE, StateEvent(job_id=job.id, status=JobStatus.PROCESSING))


def finish_job(session: Session, stages: Stages, job: Job) -> None:
    """Mark a job whose renditions are published as ready; what only its work needed goes."""
    now = db_now(session)
    job.progress, job.error = 1.0, None
    if job.playable_at is None:
        job.playable_at = now
        emit(session, job, EventKind.PLAYABLE, PlayableEvent(job_id=job.id, video_id=job.video_id))
    done = [task for task in repository.tasks_of(session, job.id) if task.state == StageState.DONE]
    passing = [task for task in done if task.kind in stages and not stages[task.kind].lasting]
    garbage.discard(session, recorded_keys(session, stages, job, passing))
    _end(session, job, JobStatus.READY)


def fail_job(session: Session, stages: Stages, job: Job, error: StreamForgeError) -> None:
    """End a job with an error its owner can read; its other tasks stop. What was recorded stays a day for a retry."""
    shown = describe(error)
    job.error = shown.model_dump(mode="json")
    tasks = repository.tasks_of(session, job.id)
    discard_attempts(session, stages, job, tasks)
    mine = [task for task in tasks if _is_fatal(stages, task)]
    kept = recorded_keys(session, stages, job, mine)
    garbage.discard(session, kept, after=garbage.REPRIEVE, reprieve_job_id=job.id)
    _cancel_tasks(session, job, tasks)
    _withdraw(session, stages, job, may_return=True)
    emit(session, job, EventKind.ERROR, ErrorEvent(job_id=job.id, error=shown))
    _end(session, job, JobStatus.FAILED)


def cancel_job(session: Session, stages: Stages, job: Job) -> bool:
    """Cancel an unfinished job: its processes stop, what it produced goes. False for one that has ended."""
    if JobStatus(job.status).is_final:
        return False
    tasks = repository.tasks_of(session, job.id)
    discard_attempts(session, stages, job, tasks)
    mine = [task for task in tasks if _is_fatal(stages, task)]
    garbage.discard(session, recorded_keys(session, stages, job, mine))
    _cancel_tasks(session, job, tasks)
    _withdraw(session, stages, job, may_return=False)
    _end(session, job, JobStatus.CANCELLED)
    return True


def discard_job(session: Session, stages: Stages, job: Job) -> list[str]:
    """Stop whatever still runs of a job that is about to be deleted; return the keys of all that it has recorded.

    Of what lasts that is all it ever recorded: some of it may still be waiting for those who watch it to be done.
    """
    tasks, video = repository.tasks_of(session, job.id), session.get_one(Video, job.video_id)
    discard_attempts(session, stages, job, tasks)
    announce.stop_running(session, job)
    lasting = [task for task in tasks if task.kind in stages and stages[task.kind].lasting]
    earlier = [replace(claim_of(task, job, video), token=token) for task in lasting for token in range(1, task.token)]
    keys = [key for claim in earlier for key in stages[claim.kind].keys(claim)]
    return [*keys, *recorded_keys(session, stages, job, tasks)]


def recorded_keys(session: Session, stages: Stages, job: Job, tasks: Sequence[Task]) -> list[str]:
    """Return the keys of everything these tasks have recorded, finished parts of unfinished ones included."""
    video = session.get_one(Video, job.video_id)
    keys = []
    for task in tasks:
        if task.kind in stages and task.state == StageState.DONE:
            keys += stages[task.kind].keys(claim_of(task, job, video))
    mine = {task.id for task in tasks}
    keys += [key for task_id, key in repository.part_keys(session, job.id) if task_id in mine]
    return list(dict.fromkeys(keys))


def discard_attempt(session: Session, stages: Stages, task: Task, job: Job, video: Video) -> None:
    """Make garbage of what the newest attempt may have stored and nobody recorded.

    It may be a sleeper that wakes and stores on: its keys go at once, and once more a day later.
    """
    if task.token and task.kind in stages:
        kept = {part.key for part in repository.parts_of(session, task.id)}
        keys = [key for key in stages[task.kind].keys(claim_of(task, job, video)) if key not in kept]
        garbage.discard(session, keys, zombies=True)


def discard_attempts(session: Session, stages: Stages, job: Job, tasks: Iterable[Task]) -> None:
    """Make garbage of what attempts at these tasks may have stored that are not over yet."""
    video = session.get_one(Video, job.video_id)
    for task in tasks:
        if task.state in OWNED:
            discard_attempt(session, stages, task, job, video)


def add_warnings(job: Job, warnings: Iterable[MediaWarning]) -> None:
    """Append warnings a user should see, each once."""
    new = [asdict(warning) for warning in warnings]
    job.warnings = [*job.warnings, *(warning for warning in new if warning not in job.warnings)]


def describe(error: StreamForgeError) -> JobError:
    """Return an error as its owner sees it."""
    return JobError(code=error.code, detail=error.detail, hint=error.hint)


def _cancel_tasks(session: Session, job: Job, tasks: Iterable[Task]) -> None:
    """End all tasks that are not done; the raised token fences whoever still works on one."""
    now = db_now(session)
    for task in tasks:
        if task.state in OWNED:
            move(task, Happening.CANCELLED, RetryPolicy(), now)
            task.token += 1
    for row in repository.stages_of(session, job.id).values():
        if row.state in OWNED:
            row.state, row.finished_at = StageState.CANCELLED, now
    announce.stop_running(session, job)


def _withdraw(session: Session, stages: Stages, job: Job, *, may_return: bool) -> None:
    for stage in stages.values():
        stage.withdraw(session, job, may_return)


def _is_fatal(stages: Stages, task: Task) -> bool:
    return task.kind not in stages or stages[task.kind].fatal


def _end(session: Session, job: Job, status: JobStatus) -> None:
    job.status, job.finished_at = status, db_now(session)
    emit(session, job, EventKind.STATE, StateEvent(job_id=job.id, status=status))
    emit(session, job, EventKind.DONE, DoneEvent(job_id=job.id, status=status))
