"""From rows to what clients see of jobs."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy.orm import Session

from sfserver.accounts.service import Principal
from sfserver.errors import JobNotFoundError
from sfserver.infra.clock import db_now
from sfserver.infra.paging import cut_page
from sfserver.jobs import repository
from sfserver.jobs.repository import JobFilter
from sfserver.models import Job, JobStage, Task, Video
from sfserver.tasks import lifecycle
from sfserver.tasks.progress import (
    JobProgress,
    StageProgress,
    TaskProgress,
    estimate_eta_s,
    rung_speed,
    summarise,
)
from sfserver.tasks.repository import running_tasks, tasks_of, worker_nodes
from sfserver.tasks.stage import Stages
from sfserver.tasks.work import Work
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
    job = lifecycle.find_job(session, job_id)
    if job is None or caller is None or job.owner_id != caller.user_id:
        raise JobNotFoundError
    return job


class JobReader:
    """Reads jobs as clients see them."""

    def __init__(self, session: Session, work: Work) -> None:
        self._session, self._stages, self._troubles = session, work.stages, work.troubles

    def page(
        self, owner_id: str, wanted: JobFilter, *, limit: int, after: str | None
    ) -> tuple[list[JobRead], str | None]:
        """Return a page of this owner's jobs, newest first, and the id after which the next page begins."""
        found = repository.page_of_jobs(self._session, owner_id, wanted, limit=limit + 1, after=after)
        jobs, more = cut_page(found, limit)
        return self.many(jobs), jobs[-1].id if more else None

    def active(self, owner_id: str) -> list[JobRead]:
        """Return all jobs of this owner that are not final."""
        return self.many(repository.unfinished_jobs(self._session, owner_id))

    def one(self, job: Job) -> JobRead:
        """Return one job, with who worked on it."""
        read = self.many([job])[0]
        workers = repository.workers_of(self._session, job.id)
        for stage in read.stages:
            stage.workers = workers.get(stage.name, [])
        return read

    def many(self, jobs: Sequence[Job]) -> list[JobRead]:
        """Return jobs with a handful of queries, however many there are and however long their videos."""
        ids = [job.id for job in jobs]
        rows: dict[str, dict[str, JobStage]] = defaultdict(dict)
        for row in repository.stages_of_jobs(self._session, ids):
            rows[row.job_id][row.kind] = row
        busy: dict[str, list[Task]] = defaultdict(list)
        for task in repository.busy_tasks(self._session, ids):
            busy[task.job_id].append(task)
        titles = repository.titles_of(self._session, [job.video_id for job in jobs])
        now = db_now(self._session)
        return [self._read(job, rows[job.id], busy[job.id], titles.get(job.video_id, ""), now) for job in jobs]

    def status(self, job: Job) -> JobStatusRead:
        """Return the small poll answer."""
        return JobStatusRead.model_validate(self.many([job])[0].model_dump())

    def _read(self, job: Job, rows: Mapping[str, JobStage], busy: Sequence[Task], title: str, now: datetime) -> JobRead:
        stages = {kind: _progress(row, busy) for kind, row in rows.items()}
        summary = summarise(job.plan, list(stages.values()), self._stages.shares())
        ordered = [kind for kind in (*self._stages, *rows) if kind in rows]
        return JobRead(
            **_status(job, summary, now),
            title=title,
            created_at=job.created_at,
            started_at=job.started_at,
            finished_at=job.finished_at,
            speed=rung_speed(job.plan, summary.rungs, _elapsed_s(job, now)),
            rungs=_finished_rungs(summary) if job.status == JobStatus.READY else summary.rungs,
            stages=[_stage(rows[kind], stages[kind], busy) for kind in dict.fromkeys(ordered) if _is_shown(rows[kind])],
            waiting=_waiting(job, busy) or self._troubles.get(job.id),
            warnings=[JobWarning.model_validate(warning) for warning in job.warnings],
            links=job_links(job.id, job.video_id),
        )


def explain_job(session: Session, stages: Stages, job: Job) -> JobExplain:
    """Return why this ladder, and which task ran where, how often, with what, in the order of the pipeline."""
    order = list(stages)

    def place(task: Task) -> tuple[int, int]:
        return order.index(task.kind) if task.kind in order else len(order), task.index

    plan = job.plan or {"rungs": [], "reasons": []}
    video = session.get(Video, job.video_id)
    return JobExplain(
        job_id=job.id,
        source=video.source_facts if video else None,
        rungs=[_explain_rung(plan, rung) for rung in plan["rungs"]],
        reasons=plan["reasons"],
        tasks=[_explain_task(task) for task in sorted(tasks_of(session, job.id), key=place)],
    )


def read_workers(session: Session, now: datetime) -> list[WorkerHealth]:
    """Return the workers with what each runs."""
    running: dict[str | None, list[str]] = defaultdict(list)
    for task in running_tasks(session):
        running[task.worker].append(f"{task.job_id}/{task.kind}/{task.index}")
    return [
        WorkerHealth(
            id=node.id,
            host=node.host,
            heartbeat_age_s=round(max(0.0, (now - node.seen_at).total_seconds()), 3),
            running=running[node.id],
            capabilities=node.capabilities,
        )
        for node in worker_nodes(session)
    ]


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


def _progress(row: JobStage, busy: Sequence[Task]) -> StageProgress:
    running = [
        TaskProgress.from_row(task.size, task.progress)
        for task in busy
        if task.kind == row.kind and task.state == StageState.RUNNING
    ]
    return StageProgress.from_row(row, running)


def _is_shown(row: JobStage) -> bool:
    """Leave out a stage that found nothing to do (no sound)."""
    return row.opened_at is None or row.tasks > 0


def _stage(row: JobStage, progress: StageProgress, busy: Sequence[Task]) -> StageRead:
    troubled = [task.error for task in busy if task.kind == row.kind and task.error]
    return StageRead(
        name=row.kind,
        state=StageState(row.state),
        fatal=row.fatal,
        progress=progress.share,
        tasks=row.tasks or 1,
        tasks_done=row.done,
        attempts=row.attempts,
        crashes=row.crashes,
        losses=row.losses,
        started_at=row.started_at,
        finished_at=row.finished_at,
        cpu_s=row.cpu_s,
        error=_error(row.error or next(iter(troubled), None)),
    )


def _waiting(job: Job, busy: Sequence[Task]) -> JobError | None:
    """Say what an unfinished job waits for, where something is wrong with the server and not with the video."""
    if JobStatus(job.status).is_final:
        return None
    troubled = [task.error for task in busy if task.state == StageState.WAITING and task.error]
    return _error(next(iter(troubled), None))


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
    past = task.losses - (task.state == StageState.RUNNING)
    return TaskExplain(
        kind=task.kind,
        index=task.index,
        state=StageState(task.state),
        worker=task.worker,
        attempts=task.attempts,
        crashes=task.crashes,
        losses=max(0, past),
        started_at=task.started_at,
        finished_at=task.finished_at,
        cpu_s=task.cpu_s,
        wall_s=task.wall_s,
        start_frame=task.spec.get("start_frame"),
        end_frame=task.spec.get("end_frame"),
        rungs=task.spec.get("rungs", []),
        crf=task.spec.get("crf"),
        fingerprint=(task.result or {}).get("fingerprint"),
        error=_error(task.error),
    )
