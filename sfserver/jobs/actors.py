"""The worker's side of a doorbell: claim the best task, work in a sandbox with no transaction open, record, repeat."""

import time
from dataclasses import dataclass, field
from pathlib import Path
from threading import Event, Lock
from typing import Any

import structlog

from sfserver.deps import Runtime
from sfserver.errors import PermanentError, TransientError
from sfserver.infra.events import Message
from sfserver.infra.queue import Queue
from sfserver.infra.storage import remove_tree
from sfserver.jobs import recording, stages
from sfserver.jobs.claims import Claim
from sfserver.jobs.notify import CANCEL_TOPIC
from sfserver.media.sandbox.parent import ChildCrashed, LeaseLost, Sandbox, StageRun, Stopped, StopReason

log = structlog.get_logger(__name__)
_PROGRESS_EVERY_S = 1.0
_RECORD_RETRY_S = 1.0


class TaskRunner:
    """Runs tasks for the worker threads of one process."""

    def __init__(self, runtime: Runtime, sandbox: Sandbox, worker: str, work_dir: Path) -> None:
        self._runtime, self._sandbox, self._worker, self._work_dir = runtime, sandbox, worker, work_dir
        self._stopping = Event()
        self._lock = Lock()
        self._running: dict[str, Claim] = {}
        self._cancelled: set[str] = set()
        runtime.bus.subscribe(CANCEL_TOPIC, self._note_cancel)

    def stop(self) -> None:
        """Stop claiming; processes that run are stopped and their tasks put back uncharged."""
        self._stopping.set()

    def answer(self, queue: Queue) -> None:
        """Work until the queue has nothing to claim. This is the worker's edge: no error leaves it."""
        try:
            while not self._stopping.is_set():
                claim = recording.claim_task(self._runtime, queue, self._worker)
                if claim is None:
                    return
                self._run(claim)
        except Exception:
            # The sweeper rings again; the claim, if there was one, comes back when its lease is over.
            log.exception("worker.failed", queue=queue)

    def _run(self, claim: Claim) -> None:
        workdir = self._work_dir / f"{claim.task_id}-{claim.token}"
        with self._lock:
            self._running[claim.task_id] = claim
        try:
            workdir.mkdir(parents=True)
            self._attempt(claim, workdir)
        except (Stopped, LeaseLost) as end:
            self._give_up(claim, end)
        except ChildCrashed as crash:
            log.warning("task.crashed", job_id=claim.job_id, kind=claim.kind, index=claim.index, reason=str(crash))
            recording.record_crash(self._runtime, claim, str(crash))
        except TransientError as error:
            log.warning("task.outage", job_id=claim.job_id, kind=claim.kind, code=error.code, detail=error.detail)
            recording.record_outage(self._runtime, claim, error)
        except PermanentError as error:
            log.info("task.failed", job_id=claim.job_id, kind=claim.kind, code=error.code, detail=error.detail)
            recording.record_failure(self._runtime, claim, error)
        except Exception as error:
            log.exception("task.bug", job_id=claim.job_id, kind=claim.kind, index=claim.index)
            recording.record_crash(self._runtime, claim, f"met an internal error ({type(error).__name__})")
        finally:
            self._forget(claim, workdir)

    def _attempt(self, claim: Claim, workdir: Path) -> None:
        call = stages.prepare(self._runtime, claim, workdir / "in")
        watch = _Watch(self._runtime, claim, workdir)
        settings = self._runtime.settings
        run = self._sandbox.run(
            stages.RUN[claim.kind],
            call.arguments,
            workdir,
            readable=call.readable,
            output_bytes=3 * claim.source_size_bytes + settings.sandbox.output_slack_bytes,
            on_report=watch.on_report,
            should_stop=lambda: self._why_stop(claim),
            beat=lambda: recording.beat(self._runtime, claim),
        )
        kept = stages.keep(self._runtime, claim, run.result, workdir)
        if not self._record(claim, run, kept):
            stages.discard(self._runtime, claim)

    def _record(self, claim: Claim, run: StageRun, kept: dict[str, Any]) -> bool:
        """Record through a short outage of the database: the work is done and stored, only the note is missing."""
        deadline = time.monotonic() + self._runtime.settings.worker.lease_s
        while True:
            try:
                return recording.record_success(self._runtime, claim, run, kept)
            except TransientError:
                if time.monotonic() > deadline:
                    raise
                time.sleep(_RECORD_RETRY_S)

    def _give_up(self, claim: Claim, end: Stopped | LeaseLost) -> None:
        if isinstance(end, Stopped) and end.reason is StopReason.SHUTDOWN:
            recording.release(self._runtime, claim)
        stages.discard(self._runtime, claim)

    def _why_stop(self, claim: Claim) -> StopReason | None:
        if self._is_cancelled(claim):
            return StopReason.CANCELLED
        return StopReason.SHUTDOWN if self._stopping.is_set() else None

    def _is_cancelled(self, claim: Claim) -> bool:
        with self._lock:
            return claim.job_id in self._cancelled

    def _note_cancel(self, message: Message) -> None:
        with self._lock:
            if any(claim.job_id == message["job_id"] for claim in self._running.values()):
                self._cancelled.add(message["job_id"])

    def _forget(self, claim: Claim, workdir: Path) -> None:
        with self._lock:
            self._running.pop(claim.task_id, None)
            if all(other.job_id != claim.job_id for other in self._running.values()):
                self._cancelled.discard(claim.job_id)
        remove_tree(workdir)


@dataclass
class _Watch:
    """Turns a stage's reports into recorded parts and, once a second, recorded progress."""

    runtime: Runtime
    claim: Claim
    workdir: Path
    written_at: float = 0.0
    counted_at: float = field(default_factory=time.monotonic)
    frames: dict[str, int] = field(default_factory=dict)

    def on_report(self, report: dict[str, Any]) -> None:
        """Take one report of the child; a lost lease shows at the next beat."""
        if "part" in report:
            part = report["part"]
            key = stages.keep_part(self.runtime, self.claim, part, self.workdir)
            if not recording.record_part(self.runtime, self.claim, report["index"], key, part):
                self.runtime.store.delete(key)
            return
        now = time.monotonic()
        if now - self.written_at < _PROGRESS_EVERY_S:
            return
        progress: dict[str, Any] = {"progress": self._share(report)}
        if frames := report.get("frames"):
            progress |= {"frames": frames, "fps": self._speeds(frames, now)}
        self.written_at = self.counted_at = now
        self.frames = frames or {}
        recording.record_progress(self.runtime, self.claim, progress)

    def _share(self, report: dict[str, Any]) -> float:
        """Return how far a stage is by what it reports: a share of its own, or seconds of sound."""
        if "audio_s" in report and self.claim.plan is not None:
            plan = self.claim.plan
            duration_s = plan["frames"] * plan["fps"]["den"] / plan["fps"]["num"]
            return min(1.0, float(report["audio_s"] / duration_s))
        return float(report.get("progress", 0.0))

    def _speeds(self, frames: dict[str, int], now: float) -> dict[str, float]:
        elapsed_s = max(now - self.counted_at, 0.001)
        return {name: round((count - self.frames.get(name, 0)) / elapsed_s, 1) for name, count in frames.items()}
