"""Jobs brought by hand to where their workers would have brought them."""

from sfserver.errors import StreamForgeError
from sfserver.infra.clock import db_now
from sfserver.jobs import service
from sfserver.models import Job, JobStage, Task
from sfserver.tasks import lifecycle, repository
from sfserver.tasks.announce import emit_progress
from sfserver.wire.events import ProgressEvent
from sfserver.wire.jobs import StageState
from tests.api.conftest import Api, end_stage

PLAN = {
    "fps": {"num": 30, "den": 1},
    "frames": 120,
    "reasons": ["source is 360p"],
    "rungs": [
        {
            "name": "360p",
            "width": 640,
            "height": 360,
            "maxrate_bps": 1_000_000,
            "encoder": "libx264",
            "options": {"crf": "23.5"},
            "reason": "the source's own size",
        }
    ],
    "chunks": [],
    "audio": None,
}


def start(api: Api, job_id: str) -> None:
    """Bring a job to where its second chunk is half encoded."""
    with api.runtime.database.write() as session:
        job = repository.lock_job(session, job_id)
        assert job is not None
        lifecycle.start_job(session, job)
        job.plan, job.progress = PLAN, 0.7
        end_stage(session, job_id, "probe")
        row = session.get_one(JobStage, (job_id, "encode"))
        row.state, row.tasks, row.done, row.units, row.done_units = StageState.RUNNING, 2, 1, 120, 60
        row.tally = {"frames": {"360p": 60}}
        row.attempts, row.opened_at, row.started_at = 2, db_now(session), db_now(session)
        for index, (state, frames) in enumerate([(StageState.DONE, 60), (StageState.RUNNING, 30)]):
            spec = {"index": index, "start_frame": 60 * index, "end_frame": 60 * index + 60, "crf": 23.5 + index}
            is_done = state is StageState.DONE
            task = Task(job_id=job_id, kind="encode", index=index, size=60, state=state, spec=spec, token=1)
            task.progress = {} if is_done else {"progress": 0.5, "frames": {"360p": frames}, "fps": {"360p": 50.0}}
            task.result = {"fingerprint": "x264-165", "parts": {}} if is_done else None
            task.worker, task.attempts, task.losses, task.ready_at = "w1", 1, 0 if is_done else 1, db_now(session)
            session.add(task)


def report(api: Api, job_id: str, progress: float) -> None:
    """Tell listeners how far a job is."""
    with api.runtime.database.write() as session:
        job = session.get_one(Job, job_id)
        emit_progress(session, job, ProgressEvent(job_id=job_id, progress=progress, stage="encode"))


def finish(api: Api, job_id: str) -> None:
    """End a job by cancelling it."""
    with api.runtime.database.write() as session:
        service.cancel(session, api.runtime, session.get_one(Job, job_id))


def fail(api: Api, job_id: str, error: StreamForgeError) -> None:
    """End a job by an error."""
    with api.runtime.database.write() as session:
        job = repository.lock_job(session, job_id)
        assert job is not None
        lifecycle.fail_job(session, api.runtime.stages, job, error)
