"""D2, D7: whatever workers, sweeps, boots, clocks and people do to each other, it ends well.

Every task has one result a turn, every job one end a run, and every stored byte is known to somebody.
"""

import shutil
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, seed, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    initialize,
    invariant,
    multiple,
    rule,
    run_state_machine_as_test,
)

from sfserver.errors import ConflictError, DamagedMediaError, JobFinishedError, OutageError, PermanentError
from sfserver.infra.queue.contract import Queue
from sfserver.models import Job, Task, Video
from sfserver.tasks import record, repository, sweep
from sfserver.tasks.record import Beat, Recorded
from sfserver.tasks.stage import Claim
from sfserver.tasks.states import OWNED, Happening
from sfserver.videos.service import purge_video
from sfserver.wire.jobs import JobStatus, StageState
from tests.promises.ledger import Proof, sizes
from tests.tasks.harness import DAY_S, build_harness

_MEMORY = Path("/dev/shm")
_MOST_JOBS = 4
WORKERS = ["w1", "w2", "w3"]
SETBACKS = [
    *(Happening.CRASHED, Happening.OUTAGE, Happening.DOUBT, Happening.RELEASED, Happening.VANISHED),
]
# Seconds: within a lease, past one, past every wait, a day; and back.
JUMPS = [1.5, 12.0, 31.0, 65.0, 65.0, 3700.0, DAY_S + 3600, -40.0, -3600.0]


class Workers(RuleBasedStateMachine):
    """A few jobs at once on three workers; claims are held, lost, come back late, and end twice."""

    claims = Bundle("claims")
    empty_database: Path

    def __init__(self) -> None:
        super().__init__()
        self._folder = Path(tempfile.mkdtemp(prefix="sf-states-", dir=_MEMORY if _MEMORY.is_dir() else None))
        self._harness = build_harness(self._folder, self.empty_database)
        self._plans: dict[str, dict[str, Any]] = {}
        self._newest: dict[str, int] = {}
        self._recorded: set[tuple[str, int]] = set()
        self._done: set[str] = set()
        self._dead: set[tuple[str, int]] = set()
        self._runs: dict[str, int] = {}
        self._ended: dict[str, str] = {}
        self._progress: dict[str, float] = {}
        self._behind_s = 0.0

    def teardown(self) -> None:
        """Let everything come to its end: nothing hangs, nothing leaks."""
        try:
            self._drain()
        finally:
            self._harness.runtime.database.close()
            shutil.rmtree(self._folder)

    # --- people ---

    @rule(chunks=st.integers(1, 3), audio=st.booleans(), parts=st.integers(1, 2))
    def upload(self, chunks: int, audio: bool, parts: int) -> None:
        if len(self._plans) < _MOST_JOBS:
            self._begin(self._harness.new_job(), {"chunks": chunks, "audio": audio, "parts": parts})

    @rule(data=st.data())
    def cancel(self, data: st.DataObject) -> None:
        if self._is_rare(data) and (job_id := self._some_job(data)):
            with suppress(JobFinishedError):
                self._harness.cancel(job_id)

    @rule(data=st.data())
    def retry(self, data: st.DataObject) -> None:
        if job_id := self._some_job(data):
            with suppress(ConflictError):
                self._harness.retry(job_id)
                self._runs[job_id] += 1
                del self._ended[job_id], self._progress[job_id]
                self._forget_renewed()

    @rule(data=st.data())
    def reprocess(self, data: st.DataObject) -> None:
        if len(self._plans) < _MOST_JOBS and (job_id := self._some_job(data)):
            with suppress(ConflictError):
                self._begin(self._harness.reprocess(job_id), self._plans[job_id])

    @rule(data=st.data())
    def redo(self, data: st.DataObject) -> None:
        if job_id := self._some_job(data):
            with suppress(ConflictError):
                self._harness.redo(job_id, "poster")
                self._forget_renewed()

    @rule(data=st.data())
    def purge(self, data: st.DataObject) -> None:
        if self._is_rare(data) and (job_id := self._some_job(data)):
            video_id = self._harness.video(job_id).id
            gone = [job.id for job in self._harness.rows(Job) if job.video_id == video_id]
            with self._harness.runtime.database.write() as session:
                purge_video(session, self._harness.runtime, session.get_one(Video, video_id))
            for name in gone:
                for known in (self._plans, self._runs, self._ended, self._progress):
                    known.pop(name, None)
            self._forget_renewed()

    # --- workers ---

    @initialize(chunks=st.integers(1, 3), audio=st.booleans())
    def begin(self, chunks: int, audio: bool) -> None:
        self.upload(chunks, audio, 2)
        self.finish_one(Queue.IO)

    @rule(target=claims, queue=st.sampled_from(Queue), worker=st.sampled_from(WORKERS))
    def claim(self, queue: Queue, worker: str) -> Any:
        return self._claim(queue, worker) or multiple()

    @rule(queue=st.sampled_from(Queue))
    def finish_one(self, queue: Queue) -> None:
        """Have one task done by a worker that nothing happens to."""
        if claim := self._claim(queue, "w4"):
            self.store(claim)
            self.succeed(claim, "01", twice=False)

    @rule(queue=st.sampled_from(Queue), happening=st.sampled_from(SETBACKS), times=st.integers(1, 10))
    def hurt(self, queue: Queue, happening: Happening, times: int) -> None:
        """Have the same thing happen to what is next in a queue, until it is given up, or not."""
        for _ in range(times):
            if claim := self._claim(queue, "w4"):
                self.store(claim)
                self.set_back(claim, happening, twice=False)
            self._harness.shift_clock(61)

    @rule(target=claims, queue=st.sampled_from(Queue))
    def oversleep(self, queue: Queue) -> Any:
        """A worker sleeps past its lease, somebody takes its task, and it wakes and stores on."""
        sleeper = self._claim(queue, "w1")
        self.wait_and_sweep(31.0)
        other = self._claim(queue, "w2")
        self._harness.sweep()
        if sleeper is not None:
            self.store(sleeper)
        return multiple(*(claim for claim in (sleeper, other) if claim is not None))

    @rule(claim=claims)
    def beat(self, claim: Claim) -> None:
        if self._lives(claim) and record.beat(self._harness.runtime, claim) is not Beat.LOST:
            assert not self._is_stale(claim)
            assert (claim.task_id, claim.token) not in self._recorded

    @rule(claim=claims, share=st.floats(0, 1))
    def report(self, claim: Claim, share: float) -> None:
        frames = {"360p": int(60 * share)} if claim.kind == "encode" else {}
        if self._lives(claim):
            record.record_progress(self._harness.runtime, claim, {"progress": share, "frames": frames})

    @rule(claim=claims)
    def store(self, claim: Claim) -> None:
        """Whoever works stores, be it the task's owner, a sleeper, or one that is given up as stuck."""
        if self._lives(claim) and (claim.task_id, claim.token) not in self._recorded:
            recorded = {part.key for part in self._harness.parts(claim)}
            self._put(*(key for key in self._harness.runtime.stages[claim.kind].keys(claim) if key not in recorded))

    @rule(claim=claims, index=st.integers(0, 1))
    def record_part(self, claim: Claim, index: int) -> None:
        is_at_work = self._lives(claim) and (claim.task_id, claim.token) not in self._recorded
        if is_at_work and claim.kind == "audio" and index == self._harness.count_parts(claim):
            assert not (self._harness.part(claim, index) and self._is_stale(claim))

    @rule(claim=claims, header=st.sampled_from(["01"] * 6 + ["02"]), twice=st.booleans())
    def succeed(self, claim: Claim, header: str, twice: bool) -> None:
        """Record what was made, once more if the acknowledgement was lost."""
        if not self._lives(claim):
            return
        facts = {"encode": {"header": header}, "probe": self._plans.get(claim.job_id, {})}.get(claim.kind, {})
        try:
            outcome = self._harness.done(claim, **facts)
        except PermanentError as error:
            outcome = record.record_failure(self._harness.runtime, claim, error)
            self._note(claim, outcome, succeeded=False)
        else:
            self._note(claim, outcome, succeeded=True)
            if twice:
                assert self._harness.done(claim, **facts) is not Recorded.RECORDED

    @rule(claim=claims, happening=st.sampled_from(SETBACKS), twice=st.booleans())
    def set_back(self, claim: Claim, happening: Happening, twice: bool) -> None:
        """Record a setback, once more if the acknowledgement was lost."""
        if not self._lives(claim):
            return
        error = OutageError() if happening in {Happening.OUTAGE, Happening.DOUBT} else None
        before = self._counted(claim)
        outcome = record.record_setback(self._harness.runtime, claim, happening, "was hurt", error)
        assert outcome is Recorded.RECORDED or self._counted(claim) == before
        assert outcome is not Recorded.RECORDED or not self._is_stale(claim)
        if twice:
            before = self._counted(claim)
            again = record.record_setback(self._harness.runtime, claim, happening, "was hurt", error)
            assert (again is Recorded.RECORDED, self._counted(claim)) == (False, before)

    @rule(claim=claims, data=st.data())
    def refuse(self, claim: Claim, data: st.DataObject) -> None:
        if self._is_rare(data) and self._lives(claim):
            outcome = record.record_failure(self._harness.runtime, claim, DamagedMediaError())
            self._note(claim, outcome, succeeded=False)

    # --- the world ---

    @rule(seconds=st.sampled_from(JUMPS))
    def wait_and_sweep(self, seconds: float) -> None:
        if seconds > DAY_S / 2:  # nobody sleeps for so long and wakes again
            self._dead |= set(self._newest.items()) | self._dead_of_all()
        self._behind_s += max(0.0, -seconds)
        self._harness.shift_clock(seconds)
        self._harness.doorbell.rings.clear()
        self._harness.sweep()
        assert set(self._harness.doorbell.rings) == self._claimable(), "the sweeper rings for what can be claimed"

    @rule()
    def restart(self) -> None:
        """Whoever held a claim is dead: that is what the lock on the data directory proves."""
        self._dead |= self._dead_of_all()
        sweep.resume_after_boot(self._harness.runtime)

    # --- what must hold ---

    @invariant()
    def every_row_makes_sense(self) -> None:
        jobs, tasks = self._harness.rows(Job), self._harness.rows(Task)
        for task in tasks:
            assert min(task.losses, task.attempts, task.outages, task.doubts, task.crashes) >= 0, task.kind
            assert task.crashes <= 3
            assert (task.lease_until is not None) == (task.state == StageState.RUNNING)
        assert {task.id for task in tasks if task.state == StageState.DONE} == self._done
        for job in jobs:
            self._check_job(job, [task for task in tasks if task.job_id == job.id])

    @invariant()
    def sums_events_and_keys_are_right(self) -> None:
        self._harness.check()

    @invariant()
    def every_byte_is_known(self) -> None:
        harness = self._harness
        live, objects = harness.live_keys(), harness.objects()
        assert live & harness.store.stored <= objects, "what is wanted was deleted"
        assert objects <= live | set(harness.garbage()) | harness.keys_in_the_making(), "nobody knows it"

    def _check_job(self, job: Job, tasks: list[Task]) -> None:
        assert job.progress >= self._progress.get(job.id, 0.0)
        assert (job.progress == 1.0) == (job.status == JobStatus.READY)
        assert self._ended.get(job.id, job.status) == job.status, "a final job changed"
        self._progress[job.id] = job.progress
        if JobStatus(job.status).is_final:
            self._ended[job.id] = job.status
        open_kinds = {task.kind for task in tasks if task.state in OWNED}
        if job.status == JobStatus.READY:
            assert open_kinds <= {"poster"}
        elif JobStatus(job.status).is_final:
            assert not open_kinds
        ends = self._harness.kinds_told(job.id).count("done")
        assert ends == self._runs[job.id] - (not JobStatus(job.status).is_final), "one end a run"

    # --- the model ---

    def _claim(self, queue: Queue, worker: str) -> Claim | None:
        claim = self._harness.claim(queue, worker)
        if claim is not None:
            assert claim.token > self._newest.get(claim.task_id, 0)
            assert claim.task_id not in self._done
            self._newest[claim.task_id] = claim.token
        return claim

    def _begin(self, job_id: str, plan: dict[str, Any]) -> None:
        self._plans[job_id], self._runs[job_id] = plan, 1

    def _note(self, claim: Claim, outcome: Recorded, *, succeeded: bool) -> None:
        """Keep what was recorded; a change of encoder may have renewed others."""
        if outcome is not Recorded.RECORDED:
            return
        assert not self._is_stale(claim), "a stale commit"
        assert (claim.task_id, claim.token) not in self._recorded, "a second commit"
        self._recorded.add((claim.task_id, claim.token))
        if succeeded:
            self._done.add(claim.task_id)
        if claim.kind == "encode":
            self._forget_renewed()

    def _forget_renewed(self) -> None:
        self._done &= {task.id for task in self._harness.rows(Task) if task.state == StageState.DONE}

    def _some_job(self, data: st.DataObject) -> str | None:
        return data.draw(st.sampled_from(sorted(self._plans))) if self._plans else None

    def _is_rare(self, data: st.DataObject) -> bool:
        return bool(data.draw(st.integers(0, 5)) == 0)

    def _lives(self, claim: Claim) -> bool:
        return (claim.task_id, claim.token) not in self._dead

    def _is_stale(self, claim: Claim) -> bool:
        return self._newest[claim.task_id] != claim.token

    def _dead_of_all(self) -> set[tuple[str, int]]:
        return {(task_id, token) for task_id, newest in self._newest.items() for token in range(newest + 1)}

    def _counted(self, claim: Claim) -> list[tuple[Any, ...]]:
        found = [task for task in self._harness.rows(Task) if task.id == claim.task_id]
        return [(t.state, t.attempts, t.crashes, t.losses, t.outages, t.doubts, t.not_before) for t in found]

    def _claimable(self) -> set[Queue]:
        longest = self._harness.runtime.settings.worker.backoff_max_s
        with self._harness.runtime.database.read() as session:
            found = {q: repository.find_candidate(session, q, below_losses=99, longest_wait_s=longest) for q in Queue}
        return {queue for queue, candidate in found.items() if candidate is not None}

    def _put(self, *keys: str) -> None:
        for key in keys:
            writer = self._harness.store.create(key)
            writer.write(b"0123456789")
            writer.commit()
            self._harness.store.stored.add(key)

    def _drain(self) -> None:
        """Do all that is left: every job ends, and a day later only what is wanted is stored."""
        harness = self._harness
        for _ in range(40):
            harness.sweep(after_s=65)
            for queue in Queue:
                while (claim := harness.claim(queue, "w9")) is not None:
                    facts = self._plans[claim.job_id] if claim.kind == "probe" else {}
                    with suppress(PermanentError):
                        harness.done(claim, **facts)
            if all(JobStatus(job.status).is_final for job in harness.rows(Job)):
                break
        assert all(JobStatus(job.status).is_final for job in harness.rows(Job)), "a job hangs"
        harness.check()
        harness.shift_clock(self._behind_s)  # what was to go a day after a time that has not come again
        harness.check_nothing_leaked()


@pytest.mark.promise("D2")
@sizes(20, 1500)
def test_one_result_a_task_and_one_end_a_job(proof: Proof, empty_database: Path, size: int) -> None:
    Workers.empty_database = empty_database
    machine = seed(proof.seed)(Workers)
    health = [HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.filter_too_much]
    rules = settings(
        max_examples=size,
        stateful_step_count=50,
        deadline=None,
        database=None,
        phases=[Phase.generate],
        suppress_health_check=health,
    )
    proof.count(size)
    run_state_machine_as_test(machine, settings=rules)
    assert size > 0
