"""From rows to what clients see of jobs."""

from collections import defaultdict
from collections.abc import Sequence
from datetime import datetime
from typing import Any

from sqlalchemy.orm import Session

from sfserver.accounts.service import Principal
from sfserver.errors import JobNotFoundError
from sfserver.infra.db import db_now
from sfserver.infra.paging import cut_page
from sfserver.infra.queue import Queue
from sfserver.jobs import repository
from sfserver.jobs.progress import STAGES, JobProgress, TaskProgress, estimate_eta_s, rung_speed, summarise
from sfserver.jobs.repository import JobFilter
from sfserver.models import Job, Task, Video
from sfserver.wire.jobs import (
    JobError,
    JobExplain,
    JobLinks,
    JobRead,
    JobStatus,
    JobStatusRead,
    JobWarning,
    RungExplain,
    RungProgress,
    StageRead,
    StageState,
    TaskExplain,
)
from sfserver.wire.system import WorkerHealth


def get_job(session: Session, caller: Principal | None, job_id: str) -> Job:
    """Return a job of this caller; anybody else's looks like an unknown one."""
    job = repository.find_job(session, job_id)
    if job is None or caller is None or job.owner_id != caller.user_id:
        raise JobNotFoundError
    return job


def list_jobs(
    session: Session, owner_id: str, wanted: JobFilter, *, limit: int, after: str | None
) -> tuple[list[JobRead], str | None]:
    """Return a page of this owner's jobs, newest first, and the id after which the next page begins."""
    jobs, more = cut_page(repository.page_of_jobs(session, owner_id, wanted, limit=limit + 1, after=after), limit)
    return read_jobs(session, jobs), jobs[-1].id if more else None


def active_jobs(session: Session, owner_id: str) -> list[JobRead]:
    """Return all jobs of this owner that are not final."""
    return read_jobs(session, repository.unfinished_jobs(session, owner_id))


def read_jobs(session: Session, jobs: Sequence[Job]) -> list[JobRead]:
    """Return jobs as clients see them, with two queries however many there are."""
    tasks: dict[str, list[Task]] = defaultdict(list)
    for task in repository.light_tasks(session, [job.id for job in jobs]):
        tasks[task.job_id].append(task)
    titles = repository.titles_of(session, [job.video_id for job in jobs])
    now = db_now(session)
    return [_read(job, tasks[job.id], titles.get(job.video_id, ""), now) for job in jobs]


def read_job(session: Session, job: Job) -> JobRead:
    """Return one job as clients see it."""
    return read_jobs(session, [job])[0]


def read_status(session: Session, job: Job) -> JobStatusRead:
    """Return the small poll answer."""
    rows = [TaskProgress.from_row(*row) for row in repository.progress_rows(session, job.id)]
    return JobStatusRead.model_validate(_status(job, summarise(job.plan, rows), db_now(session)))


def explain_job(session: Session, job: Job) -> JobExplain:
    """Return why this ladder, and which task ran where, how often, with what."""
    plan = job.plan or {"rungs": [], "reasons": []}
    video = session.get(Video, job.video_id)
    return JobExplain(
        job_id=job.id,
        source=video.source_facts if video else None,
        rungs=[_explain_rung(plan, rung) for rung in plan["rungs"]],
        reasons=plan["reasons"],
        tasks=[_explain_task(task) for task in repository.tasks_of(session, job.id)],
    )


def read_workers(session: Session, now: datetime) -> list[WorkerHealth]:
    """Return the workers with what each runs."""
    running: dict[str | None, list[str]] = defaultdict(list)
    for task in repository.running_tasks(session):
        running[task.worker].append(f"{task.job_id}/{task.kind}/{task.index}")
    return [
        WorkerHealth(
            id=node.id,
            host=node.host,
            heartbeat_age_s=round(max(0.0, (now - node.seen_at).total_seconds()), 3),
            running=running[node.id],
            capabilities=node.capabilities,
        )
        for node in repository.worker_nodes(session)
    ]


def read_queues(session: Session) -> tuple[dict[str, int], datetime | None]:
    """Return how many tasks of each queue wait, and since when the oldest does."""
    waiting = repository.eligible_counts(session)
    return {queue.value: waiting.get(queue, 0) for queue in Queue}, repository.oldest_waiting(session)


def job_links(job_id: str, video_id: str) -> JobLinks:
    """Return where to go from a job."""
    base = f"/api/jobs/{job_id}"
    return JobLinks(
        self_=base,
        status=f"{base}/status",
        events=f"{base}/events",
        video=f"/api/videos/{video_id}",
        watch=f"/watch/{video_id}",
    )


def _read(job: Job, tasks: Sequence[Task], title: str, now: datetime) -> JobRead:
    rows = [TaskProgress.from_row(task.kind, task.state, task.progress) for task in tasks]
    summary = summarise(job.plan, rows)
    return JobRead(
        **_status(job, summary, now),
        title=title,
        created_at=job.created_at,
        started_at=job.started_at,
        finished_at=job.finished_at,
        speed=rung_speed(job.plan, summary.rungs, _elapsed_s(job, now)),
        rungs=_finished_rungs(summary) if job.status == JobStatus.READY else summary.rungs,
        stages=_stages(tasks),
        warnings=[JobWarning.model_validate(warning) for warning in job.warnings],
        links=job_links(job.id, job.video_id),
    )


def _status(job: Job, summary: JobProgress, now: datetime) -> dict[str, Any]:
    running = job.status == JobStatus.PROCESSING
    return {
        "id": job.id,
        "video_id": job.video_id,
        "status": job.status,
        "progress": job.progress,
        "stage": summary.stage if running else None,
        "eta_s": estimate_eta_s(job.progress, _elapsed_s(job, now)) if running else None,
        "playable_at": job.playable_at,
        "error": _error(job.error),
    }


def _elapsed_s(job: Job, now: datetime) -> float:
    if job.started_at is None:
        return 0.0
    return ((job.finished_at or now) - job.started_at).total_seconds()


def _finished_rungs(summary: JobProgress) -> dict[str, RungProgress]:
    return {name: RungProgress(progress=1.0) for name in summary.rungs}


def _stages(tasks: Sequence[Task]) -> list[StageRead]:
    by_kind: dict[str, list[Task]] = defaultdict(list)
    for task in tasks:
        by_kind[task.kind].append(task)
    return [_stage(kind, by_kind[kind]) for kind in STAGES if kind in by_kind]


def _stage(kind: str, tasks: Sequence[Task]) -> StageRead:
    started = [task.started_at for task in tasks if task.started_at]
    finished = [task.finished_at for task in tasks if task.finished_at]
    done = sum(task.state == StageState.DONE for task in tasks)
    shares = [TaskProgress.from_row(task.kind, task.state, task.progress).share for task in tasks]
    return StageRead(
        name=kind,
        state=_stage_state({StageState(task.state) for task in tasks}, done),
        progress=sum(shares) / len(shares),
        tasks=len(tasks),
        tasks_done=done,
        attempts=sum(task.attempts for task in tasks),
        crashes=sum(task.crashes for task in tasks),
        losses=sum(task.losses for task in tasks),
        started_at=min(started, default=None),
        finished_at=max(finished, default=None) if done == len(tasks) else None,
        cpu_s=sum(task.cpu_s or 0.0 for task in tasks),
        workers=sorted({task.worker for task in tasks if task.worker}),
        error=next((_error(task.error) for task in tasks if task.error), None),
    )


def _stage_state(states: set[StageState], done: int) -> StageState:
    for state in (StageState.FAILED, StageState.CANCELLED, StageState.RUNNING):
        if state in states:
            return state
    if states == {StageState.DONE}:
        return StageState.DONE
    return StageState.RUNNING if done else StageState.WAITING


def _error(error: dict[str, Any] | None) -> JobError | None:
    return None if error is None else JobError.model_validate(error)


def _explain_rung(plan: dict[str, Any], rung: dict[str, Any]) -> RungExplain:
    return RungExplain(
        name=rung["name"],
        width=rung["width"],
        height=rung["height"],
        fps=round(plan["fps"]["num"] / plan["fps"]["den"], 3),
        maxrate_bps=rung["maxrate_bps"],
        encoder=rung["encoder"],
        options=rung["options"],
        reason=rung["reason"],
    )


def _explain_task(task: Task) -> TaskExplain:
    chunk = task.spec.get("chunk", {})
    return TaskExplain(
        kind=task.kind,
        index=task.index,
        state=StageState(task.state),
        worker=task.worker,
        attempts=task.attempts,
        crashes=task.crashes,
        losses=task.losses,
        started_at=task.started_at,
        finished_at=task.finished_at,
        cpu_s=task.cpu_s,
        wall_s=task.wall_s,
        start_frame=chunk.get("start_frame"),
        end_frame=chunk.get("end_frame"),
        fingerprint=(task.result or {}).get("chunk", {}).get("fingerprint"),
        error=_error(task.error),
    )
