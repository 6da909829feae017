"""What follows what: stages are laid out with the job, opened when what they need is done, closed by their last task.

Everything here happens in the transaction that records a task's end, under the job's lock.
"""

from collections.abc import Iterable
from datetime import datetime

from sqlalchemy.orm import Session

from sfserver.errors import StreamForgeError, WorkerCrashedError
from sfserver.infra.clock import db_now
from sfserver.infra.db import after_commit
from sfserver.infra.effects import Ring
from sfserver.media.contract import MediaLimits, MediaWarning
from sfserver.models import Job, JobStage, Task, Video
from sfserver.tasks import announce, garbage, lifecycle, repository
from sfserver.tasks.announce import emit
from sfserver.tasks.stage import AnyStage, StageContext, Stages
from sfserver.tasks.states import OWNED, Happening, RetryPolicy
from sfserver.tasks.work import Work
from sfserver.wire.events import EventKind, StateEvent
from sfserver.wire.jobs import JobStatus, StageState


def create_job(session: Session, work: Work, video: Video, formats: str) -> Job:
    """Queue the processing of a video's source; workers are woken once this transaction is committed."""
    job = Job(
        video_id=video.id,
        owner_id=video.owner_id,
        status=JobStatus.QUEUED,
        formats=formats,
        generation=1 + max([video.generation, *(job.generation for job in repository.jobs_of(session, video.id))]),
        limits=work.settings.limits.model_dump(include=set(MediaLimits.model_fields)),
        warnings=[],
        seq=0,
        progress=0.0,
        created_at=db_now(session),
    )
    if "webm" in formats:
        told = MediaWarning("webm_not_made", "this version makes MP4 alone; WebM was asked for too")
        lifecycle.add_warnings(job, [told])
    session.add(job)
    session.flush()
    emit(session, job, EventKind.STATE, StateEvent(job_id=job.id, status=JobStatus.QUEUED))
    lay_out_stages(session, work, job)
    return job


def lay_out_stages(session: Session, work: Work, job: Job) -> None:
    """Give a job the stages it does not have yet: all if it is new, else those an older version had not known."""
    known = repository.stages_of(session, job.id)
    for kind, stage in work.stages.items():
        if kind not in known:
            session.add(_new_row(job, stage))
    session.flush()
    open_stages(session, work, job)


def open_stages(session: Session, work: Work, job: Job) -> None:
    """Make the tasks of every stage whose needs are all done; one that has none to make is done itself."""
    rows = repository.stages_of(session, job.id)
    opened = True
    while opened:
        opened = False
        for kind, stage in work.stages.items():
            row = rows.get(kind)
            if row is None or row.opened_at is not None or row.state != StageState.WAITING:
                continue
            if all(need in rows and rows[need].state == StageState.DONE for need in stage.needs):
                _open(session, stage, job, row)
                opened = True


def record_done(session: Session, work: Work, job: Job, task: Task) -> None:
    """Add a task that was just recorded to its stage; the last one closes it and opens what waited for it."""
    row = repository.find_stage(session, job.id, task.kind)
    assert row is not None
    row.done, row.done_units, row.cpu_s = row.done + 1, row.done_units + task.size, row.cpu_s + (task.cpu_s or 0.0)
    if row.done < row.tasks:
        return
    row.state, row.finished_at, row.error = StageState.DONE, db_now(session), None
    announce.stage_changed(session, job, row)
    work.stages[task.kind].complete(StageContext(session, work.settings, work.stages, job, row, task))
    open_stages(session, work, job)


def fail_stage(session: Session, work: Work, job: Job, task: Task, error: StreamForgeError) -> None:
    """End the stage of a task that failed for good: a fatal one takes the job along, the others only themselves.

    Its last attempt may have stored something, and there is no later claim that would clear it away.
    """
    lifecycle.discard_attempt(session, work.stages, task, job, session.get_one(Video, job.video_id))
    row = repository.find_stage(session, job.id, task.kind)
    assert row is not None
    task.error = row.error = lifecycle.describe(error).model_dump(mode="json")
    row.state, row.finished_at = StageState.FAILED, db_now(session)
    announce.stage_changed(session, job, row)
    if row.fatal:
        lifecycle.fail_job(session, work.stages, job, error)
        return
    _drop_tasks(session, work, job, task.kind)
    _drop_dependents(session, work, job, task.kind)


def give_up(session: Session, work: Work, job: Job, task: Task, reason: str) -> None:
    """Quarantine a task that has been tried too often."""
    fail_stage(session, work, job, task, WorkerCrashedError(f"the {task.kind} process {reason}"))


def renew_stage(session: Session, work: Work, job: Job, kind: str) -> None:
    """Take a stage back to where nothing of it was done, and open it again once its needs are met.

    Tokens go on rising, so that no key is ever written twice; results and counters are forgotten.
    """
    stage, row = work.stages[kind], repository.find_stage(session, job.id, kind)
    if row is None:
        session.add(row := _new_row(job, stage))
        session.flush()
    video, now = session.get_one(Video, job.video_id), db_now(session)
    for task in repository.tasks_of(session, job.id, kind):
        if task.state != StageState.DONE or not stage.lasting:  # what lasts is served until something replaces it
            lifecycle.discard_attempt(session, work.stages, task, job, video)
        garbage.discard(session, [part.key for part in repository.parts_of(session, task.id)])
        repository.delete_parts(session, task.id)
        lifecycle.move(task, Happening.RENEWED, RetryPolicy(), now)
        task.token, task.result, task.error = task.token + 1, None, None
        # Whether it is wanted again shows when the stage is opened.
        task.state, task.ready_at = StageState.CANCELLED, None
    row.state, row.opened_at, row.started_at, row.finished_at = StageState.WAITING, None, None, None
    row.tasks = row.done = row.units = row.done_units = row.attempts = row.crashes = row.losses = 0
    row.tally, row.error, row.cpu_s = {}, None, 0.0


def renew_task(context: StageContext, task: Task) -> None:
    """Have one recorded task of the stage at hand done again, as the same unit of work."""
    session, video = context.session, context.session.get_one(Video, context.job.video_id)
    lifecycle.discard_attempt(session, context.stages, task, context.job, video)
    if task.state == StageState.DONE:
        context.row.done, context.row.done_units = context.row.done - 1, context.row.done_units - task.size
    forget_attempts(context.row, task, db_now(session))
    task.result = None
    wake(session, [context.row.queue])


def forget_attempts(row: JobStage, task: Task, now: datetime) -> None:
    """Have a task wait again as if it were new, its stage's sums without it; the raised token fences its worker."""
    row.attempts, row.crashes = row.attempts - task.attempts, row.crashes - task.crashes
    row.losses -= task.losses - (task.state == StageState.RUNNING)  # a running attempt is charged in advance
    lifecycle.move(task, Happening.RENEWED, RetryPolicy(), now)
    task.token, task.error = task.token + 1, None


def wake(session: Session, queues: Iterable[str]) -> None:
    """Ring these queues after the commit."""
    for queue in dict.fromkeys(queues):
        after_commit(session, Ring(queue))


def dependents_of(stages: Stages, kind: str) -> list[str]:
    """Return the kinds that need this one, directly or by way of another, in the order of the pipeline."""
    found = {kind}
    for name, stage in stages.items():
        if found & set(stage.needs):
            found.add(name)
    return [name for name in stages if name in found and name != kind]


def _new_row(job: Job, stage: AnyStage) -> JobStage:
    return JobStage(
        job_id=job.id,
        kind=stage.kind,
        queue=stage.queue,
        priority=stage.priority,
        fatal=stage.fatal,
        state=StageState.WAITING,
        tasks=0,
        done=0,
        units=0,
        done_units=0,
        attempts=0,
        crashes=0,
        losses=0,
        cpu_s=0.0,
        tally={},
    )


def _open(session: Session, stage: AnyStage, job: Job, row: JobStage) -> None:
    units, now = list(stage.units(session, job)), db_now(session)
    known = {task.index: task for task in repository.tasks_of(session, job.id, stage.kind)}
    for unit in units:
        task = known.get(unit.index)
        if task is None:
            session.add(task := Task(job_id=job.id, kind=stage.kind, index=unit.index))
        task.spec, task.size, task.state, task.ready_at = unit.spec_json(), unit.size, StageState.WAITING, now
    row.opened_at, row.tasks, row.units = now, len(units), sum(unit.size for unit in units)
    if not units:
        row.state, row.finished_at = StageState.DONE, now
    session.flush()
    wake(session, [stage.queue] * bool(units))


def _drop_tasks(session: Session, work: Work, job: Job, kind: str) -> None:
    video, now = session.get_one(Video, job.video_id), db_now(session)
    for task in repository.tasks_of(session, job.id, kind):
        if task.state in OWNED:
            lifecycle.discard_attempt(session, work.stages, task, job, video)
            lifecycle.move(task, Happening.CANCELLED, RetryPolicy(), now)
            task.token += 1


def _drop_dependents(session: Session, work: Work, job: Job, kind: str) -> None:
    """Close the stages that need one that failed: they would never be opened."""
    rows = repository.stages_of(session, job.id)
    for name in dependents_of(work.stages, kind):
        row = rows.get(name)
        if row is not None and row.state == StageState.WAITING:
            row.state, row.finished_at = StageState.CANCELLED, db_now(session)
            announce.stage_changed(session, job, row)
