"""What follows what: uploaded → probe → plan → audio + encode[0..n] → package → published.

Each function runs inside the transaction that records a task's result.
"""

from collections.abc import Callable
from dataclasses import asdict
from typing import Any

from pydantic import TypeAdapter
from sqlalchemy.orm import Session

from sfserver.deps import Runtime
from sfserver.errors import DamagedMediaError
from sfserver.infra.db import on_commit
from sfserver.infra.queue import Queue
from sfserver.jobs import repository, service
from sfserver.media.contract import MediaWarning, PackageResult, ProbeResult
from sfserver.models import Job, Task, Video
from sfserver.wire.jobs import StageState

MIN_GOOD_SHARE = 0.9
_PROBE_RESULT = TypeAdapter(ProbeResult)
_PACKAGE_RESULT = TypeAdapter(PackageResult)


def advance(session: Session, runtime: Runtime, job: Job, task: Task) -> None:
    """Do what becomes possible now that `task` is done."""
    _AFTER[task.kind](session, runtime, job, task)


def _after_probe(session: Session, runtime: Runtime, job: Job, task: Task) -> None:
    result = task.result or {}
    probe = _PROBE_RESULT.validate_python(result["probe"])
    plan = probe.plan
    job.plan = asdict(plan)
    session.get_one(Video, job.video_id).source_facts = asdict(probe.facts)
    service.add_warnings(job, probe.warnings)
    service.emit_stage(session, runtime, job, "probe", StageState.DONE)
    shared = {"job_id": job.id, "queue": Queue.ENCODE}
    if plan.audio is not None:
        service.add_task(session, runtime, Task(**shared, kind="audio", priority=5))
    for chunk in plan.chunks:
        spec = {"chunk": asdict(chunk), "index_key": result["index_key"]}
        service.add_task(session, runtime, Task(**shared, kind="encode", index=chunk.index, priority=5, spec=spec))
    needs = len(plan.chunks) + (plan.audio is not None)
    service.add_task(session, runtime, Task(job_id=job.id, kind="package", queue=Queue.IO, priority=5, needs=needs))


def _after_media(session: Session, runtime: Runtime, job: Job, task: Task) -> None:
    siblings = repository.tasks_of(session, job.id, task.kind)
    if all(sibling.state == StageState.DONE for sibling in siblings):
        service.emit_stage(session, runtime, job, task.kind, StageState.DONE)
        if task.kind == "encode":
            _judge_damage(job, [sibling.result or {} for sibling in siblings])
    if repository.satisfy_one_need(session, job.id, "package"):
        on_commit(session, lambda: runtime.ring(Queue.IO, 1))


def _judge_damage(job: Job, results: list[dict[str, Any]]) -> None:
    """Keep a video of which nine tenths could be decoded, with a warning; refuse less."""
    concealed = sum(result["chunk"]["concealed_frames"] for result in results)
    frames = (job.plan or {})["frames"]
    if frames - concealed < frames * MIN_GOOD_SHARE:
        raise DamagedMediaError(f"{concealed} of {frames} frames cannot be decoded")
    if concealed:
        detail = f"{concealed} of {frames} frames were damaged and repeat the picture before them"
        service.add_warnings(job, [MediaWarning("damaged_frames", detail)])


def _after_package(session: Session, runtime: Runtime, job: Job, task: Task) -> None:
    result = task.result or {}
    package = _PACKAGE_RESULT.validate_python(result["package"])
    service.add_warnings(job, package.warnings)
    service.emit_stage(session, runtime, job, "package", StageState.DONE)
    service.publish_job(session, runtime, job, result["prefix"], asdict(package))


_AFTER: dict[str, Callable[[Session, Runtime, Job, Task], None]] = {
    "probe": _after_probe,
    "encode": _after_media,
    "audio": _after_media,
    "package": _after_package,
}
