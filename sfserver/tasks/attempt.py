"""One attempt at a claimed task: prepare, run in a sandbox with no transaction open, store, record.

Or end in one of many other ways. This is the edge of the work: no error leaves it.
"""

import errno
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from threading import Event

import structlog

from sfserver.errors import OutageError, PermanentError, StorageFullError, StreamForgeError, TransientError
from sfserver.infra.machine import find_outage
from sfserver.infra.removal import remove_tree
from sfserver.media.sandbox.parent import (
    ChildCrashed,
    ChildLost,
    ChildTrouble,
    Sandbox,
    StageRun,
    Stopped,
    StopReason,
    output_file,
)
from sfserver.tasks import record
from sfserver.tasks.heartbeat import Heartbeat
from sfserver.tasks.inputs import StoredInputs
from sfserver.tasks.lifecycle import describe
from sfserver.tasks.record import Recorded
from sfserver.tasks.reports import Reports
from sfserver.tasks.stage import AnyStage, Claim
from sfserver.tasks.states import Happening, backoff_s
from sfserver.tasks.work import Work

log = structlog.get_logger(__name__)
_ROOM_HINT = "make room on the server's disk: it goes on by itself"
_OUTAGE_HINT = "once the server has what it lacks, it goes on by itself: sfctl doctor"
_INSIST_S = 5.0


@dataclass(frozen=True)
class Bench:
    """Where attempts are made: the sandbox, a folder for their files, and what stops them all."""

    work: Work
    sandbox: Sandbox
    folder: Path
    stopping: Event


class Attempt:
    """What happens to one claim. `folder` is where its files lie. `cancel` may be called from any thread."""

    def __init__(self, bench: Bench, claim: Claim) -> None:
        self.claim = claim
        self._bench, self._work = bench, bench.work
        self._stage: AnyStage = bench.work.stages[claim.kind]
        self.folder = bench.folder / claim.name
        self._heartbeat = Heartbeat(bench.work, claim, self._stalled)
        self._cancelled = Event()
        self._inputs = StoredInputs(bench.work, claim, self.folder / "in", self._heartbeat.progressed)

    def cancel(self) -> None:
        """Say that the job is not wanted any more."""
        self._cancelled.set()

    def run(self) -> None:
        """Make the attempt and record how it ended."""
        try:
            with self._heartbeat:
                self._record_end()
        finally:
            remove_tree(self.folder)

    def _record_end(self) -> None:
        claim, said = self.claim, {"job_id": self.claim.job_id, "kind": self.claim.kind, "index": self.claim.index}
        try:
            run = self._make()
            self._insist(lambda: record.record_success(self._work, claim, run))
        except Stopped as stopped:
            # A cancel that comes late may mean an earlier turn of the job: what is still wanted waits again at once.
            if stopped.reason is not StopReason.LOST:
                self._set_back(Happening.RELEASED, "was stopped")
        except ChildLost as lost:
            log.warning("task.child_lost", **said, reason=str(lost))
            self._set_back(Happening.VANISHED, "vanished")
        except ChildTrouble as trouble:
            self._judge(str(trouble), Happening.DOUBT)
        except ChildCrashed as crash:
            log.warning("task.crashed", **said, reason=str(crash))
            self._judge(str(crash), Happening.CRASHED)
        except TransientError as error:
            log.warning("task.outage", **said, code=error.code, detail=error.detail)
            self._set_back(Happening.OUTAGE, error.detail, error)
        except PermanentError as error:
            self._refuse(error)
        except OSError as error:
            self._judge(f"met {error}", Happening.DOUBT)
        except Exception as error:
            log.exception("task.bug", **said)
            self._set_back(Happening.CRASHED, f"met an internal error ({type(error).__name__})")

    def _make(self) -> StageRun:
        self.folder.mkdir(parents=True)
        arguments = self._stage.arguments(self._inputs)
        most = 3 * self.claim.source_size_bytes + self._work.settings.sandbox.output_slack_bytes
        bound = min(most, self._stage.bound_bytes(self._inputs))
        self._make_room(bound)
        reports = Reports(self._work, self._stage, self.claim, self.folder, self._heartbeat.progressed)
        self._heartbeat.is_watched = True
        run = self._bench.sandbox.run(
            self._stage.run,
            arguments,
            self.folder,
            readable=self._inputs.readable(),
            output_bytes=bound,
            on_report=reports.take,
            should_stop=self._why_stop,
            nice=self._stage.nice(self.claim),
            cpu_s=self._stage.cpu_s(self._work.settings.sandbox, self.claim),
        )
        self._heartbeat.progressed()
        self._heartbeat.is_watched = False
        self._store(run)
        return run

    def _store(self, run: StageRun) -> None:
        """Store the files that the result names; those that nobody announced would never be found again."""
        allowed = set(self._stage.outputs(self.claim))
        for name in self._stage.made(run.result):
            if name not in allowed:
                raise ChildCrashed(f"made a file that is not its own: {name[:100]!r}")
            self._work.store.put_file(
                self._stage.key(self.claim, name), output_file(self.folder, name), self._heartbeat.progressed
            )

    def _make_room(self, bound: int) -> None:
        """Raise `StorageFullError` unless everything the attempt may make will find room."""
        needed = bound + self._work.settings.storage.reserve_bytes
        free = self._work.store.free_bytes()
        if free is not None and free < needed:
            detail = f"this step may need {needed >> 20} MiB, {free >> 20} MiB are free"
            raise StorageFullError(detail, hint=_ROOM_HINT, errno=errno.ENOSPC)

    def _judge(self, reason: str, otherwise: Happening) -> None:
        """Tell an outage, which this worker sees itself, from the word or death of a process that its input owns."""
        reserve = self._work.settings.storage.memory_reserve_bytes
        source = self._inputs.fetched.get(self.claim.source_key)
        outage = find_outage(self._bench.folder, source, memory_reserve_bytes=reserve)
        # A media process may write in its folder, but no wall of its lets it remove that.
        if outage is None and not self.folder.exists():
            outage = "the folder of a running step was removed under it"
        if outage is not None:
            log.warning("task.outage", job_id=self.claim.job_id, kind=self.claim.kind, detail=outage, reason=reason)
            self._set_back(Happening.OUTAGE, outage, OutageError(outage, hint=_OUTAGE_HINT))
        else:
            self._set_back(otherwise, reason, OutageError(reason) if otherwise is Happening.DOUBT else None)

    def _stalled(self) -> None:
        """Give the task up from the heartbeat's thread: its own is stuck in the store or the file system."""
        stall_s = self._work.settings.sandbox.stall_s
        error = OutageError(f"nothing was read or stored for {stall_s:g} s")
        log.warning("task.stalled", job_id=self.claim.job_id, kind=self.claim.kind, index=self.claim.index)
        self._set_back(Happening.OUTAGE, error.detail, error)

    def _refuse(self, error: PermanentError) -> None:
        log.info("task.failed", job_id=self.claim.job_id, kind=self.claim.kind, code=error.code, detail=error.detail)
        self._insist(lambda: record.record_failure(self._work, self.claim, error))

    def _set_back(self, happening: Happening, reason: str, error: StreamForgeError | None = None) -> None:
        self._insist(lambda: record.record_setback(self._work, self.claim, happening, reason, error))

    def _insist(self, recording: Callable[[], Recorded]) -> None:
        """Record through an outage of the database, however long: what has been done is done, and must not be charged.

        A worker that stops leaves it to the lease. Recording twice is harmless (`Recorded.ALREADY_RECORDED`).
        """
        for tries in range(1, 1 << 62):
            try:
                outcome = recording()
            except TransientError as error:
                log.warning("task.record_outage", job_id=self.claim.job_id, code=error.code, tries=tries)
                self._heartbeat.progressed()
                self._work.troubles[self.claim.job_id] = describe(error)
                if self._bench.stopping.wait(backoff_s(tries, _INSIST_S)):
                    return
                continue
            self._work.troubles.pop(self.claim.job_id, None)
            if outcome is Recorded.LOST:
                log.info("task.lost", job_id=self.claim.job_id, kind=self.claim.kind, index=self.claim.index)
            return

    def _why_stop(self) -> StopReason | None:
        if self._cancelled.is_set():
            return StopReason.CANCELLED
        if self._heartbeat.lost:
            return StopReason.LOST
        return StopReason.SHUTDOWN if self._bench.stopping.is_set() else None
