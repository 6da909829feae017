"""D2: whatever workers, sweeps, boots and cancels do to each other, every task has one result and every job one end."""

import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, seed, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    consumes,
    invariant,
    multiple,
    rule,
    run_state_machine_as_test,
)

from sfserver.deps import Runtime
from sfserver.errors import DamagedMediaError, StoreUnavailableError
from sfserver.infra.queue import Queue
from sfserver.jobs import recording, repository, service, sweep
from sfserver.jobs.claims import Claim
from sfserver.models import Job, Task
from sfserver.wire.jobs import JobStatus, StageState
from tests.jobs.conftest import RUN, encode_result, probe_result
from tests.promises.house import build_house
from tests.promises.ledger import Proof, sizes

_MEMORY = Path("/dev/shm")
FINAL = {JobStatus.READY, JobStatus.FAILED, JobStatus.CANCELLED}
ENDS: list[Callable[[Runtime, Claim], None]] = [
    lambda runtime, claim: recording.record_crash(runtime, claim, "was killed by SIGSEGV"),
    lambda runtime, claim: recording.record_outage(runtime, claim, StoreUnavailableError()),
    lambda runtime, claim: recording.record_failure(runtime, claim, DamagedMediaError()),
    recording.release,
]
PACKAGE = {
    "files": {"v/360p.mp4": 1},
    "renditions": [],
    "audio_average_bps": 0,
    "audio_peak_bps": 0,
    "duration_s": 2.0,
    "fps": {"num": 30, "den": 1},
}


class Workers(RuleBasedStateMachine):
    """Two jobs at once on three workers; claims are held, lost, and come back late."""

    claims = Bundle("claims")

    def __init__(self) -> None:
        super().__init__()
        self._folder = Path(tempfile.mkdtemp(prefix="sf-states-", dir=_MEMORY if _MEMORY.is_dir() else None))
        self._house = build_house(self._folder)
        self._newest: dict[str, int] = {}
        self._recorded: set[str] = set()
        self._dead: set[tuple[str, int]] = set()
        self._ended: dict[str, str] = {}
        self._progress: dict[str, float] = {}
        self._chunks: dict[str, int] = {}

    def teardown(self) -> None:
        self._house.runtime.database.close()
        shutil.rmtree(self._folder)

    @rule(chunks=st.integers(1, 3), audio=st.booleans())
    def upload(self, chunks: int, audio: bool) -> None:
        if len(self._chunks) < 3:
            self._chunks[self._house.new_job()] = chunks * (1 if audio else -1)

    @rule(target=claims, queue=st.sampled_from(Queue), worker=st.sampled_from(["w1", "w2", "w3"]))
    def claim(self, queue: Queue, worker: str) -> Any:
        claim = self._house.claim(queue, worker)
        if claim is None:
            return multiple()
        assert claim.token > self._newest.get(claim.task_id, 0)
        assert claim.task_id not in self._recorded
        self._newest[claim.task_id] = claim.token
        return claim

    @rule(claim=claims)
    def beat(self, claim: Claim) -> None:
        if self._lives(claim):
            assert not (recording.beat(self._house.runtime, claim) and self._is_stale(claim))

    @rule(claim=claims, share=st.floats(0, 1))
    def report(self, claim: Claim, share: float) -> None:
        frames = {"360p": int(60 * share)} if claim.kind == "encode" else {}
        if self._lives(claim):
            recording.record_progress(self._house.runtime, claim, {"progress": share, "frames": frames})

    @rule(claim=claims, index=st.integers(0, 2))
    def record_part(self, claim: Claim, index: int) -> None:
        if self._lives(claim) and claim.kind == "audio" and index not in self._parts(claim):
            assert not (recording.record_part(self._house.runtime, claim, index, "k", {}) and self._is_stale(claim))

    @rule(claim=consumes(claims))
    def succeed(self, claim: Claim) -> None:
        if self._lives(claim) and recording.record_success(self._house.runtime, claim, RUN, self._result(claim)):
            assert not self._is_stale(claim), "a stale commit"
            assert claim.task_id not in self._recorded, "a second commit"
            self._recorded.add(claim.task_id)

    @rule(claim=consumes(claims), end=st.sampled_from(ENDS))
    def end_otherwise(self, claim: Claim, end: Callable[[Runtime, Claim], None]) -> None:
        if self._lives(claim):
            end(self._house.runtime, claim)

    @rule(seconds=st.sampled_from([1.5, 12.0, 31.0, 65.0]))
    def wait_and_sweep(self, seconds: float) -> None:
        self._house.shift_clock(seconds)
        sweep.sweep(self._house.runtime)

    @rule()
    def restart(self) -> None:
        """Whoever held a claim is dead: that is what the lock on the data directory proves."""
        self._dead |= set(self._newest.items())
        sweep.resume_after_boot(self._house.runtime)

    @rule(data=st.data())
    def cancel(self, data: st.DataObject) -> None:
        if self._chunks and data.draw(st.integers(0, 5)) == 0:
            job_id = data.draw(st.sampled_from(sorted(self._chunks)))
            with self._house.runtime.database.write() as session:
                service.cancel_job(session, self._house.runtime, session.get_one(Job, job_id))

    @invariant()
    def every_row_makes_sense(self) -> None:
        with self._house.runtime.database.read() as session:
            jobs, tasks = session.query(Job).all(), session.query(Task).all()
        for task in tasks:
            assert task.needs >= 0
            assert task.losses >= 0, (task.kind, task.losses)
            assert 0 <= task.crashes <= 3
            assert task.attempts >= 0
            assert (task.state == StageState.DONE) == (task.id in self._recorded)
            assert (task.lease_until is not None) <= (task.state in {StageState.RUNNING, StageState.CANCELLED})
        for job in jobs:
            self._check_job(job, [task.state for task in tasks if task.job_id == job.id])
        told = [event["data"]["job_id"] for event in self._house.events if event["kind"] == "done"]
        assert sorted(told) == sorted(self._ended)

    def _check_job(self, job: Job, states: list[str]) -> None:
        assert job.progress >= self._progress.get(job.id, 0.0)
        assert (job.progress == 1.0) == (job.status == JobStatus.READY)
        assert self._ended.get(job.id, job.status) == job.status, "a final job changed"
        self._progress[job.id] = job.progress
        if job.status in FINAL:
            self._ended[job.id] = job.status
            assert not {StageState.RUNNING, StageState.WAITING} & set(states)

    def _lives(self, claim: Claim) -> bool:
        return (claim.task_id, claim.token) not in self._dead

    def _is_stale(self, claim: Claim) -> bool:
        return self._newest[claim.task_id] != claim.token

    def _result(self, claim: Claim) -> dict[str, Any]:
        chunks = self._chunks[claim.job_id]
        match claim.kind:
            case "probe":
                return probe_result(abs(chunks), audio=chunks > 0)
            case "encode":
                return encode_result()
            case "package":
                return {"package": PACKAGE, "prefix": claim.publish_prefix}
            case _:
                return {"audio": {}}

    def _parts(self, claim: Claim) -> set[int]:
        with self._house.runtime.database.read() as session:
            return {part.index for part in repository.parts_of(session, claim.task_id)}


@pytest.mark.promise("D2")
@sizes(12, 1500)
def test_one_result_a_task_and_one_end_a_job(proof: Proof, size: int) -> None:
    machine = seed(proof.seed)(Workers)
    health = [HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.filter_too_much]
    rules = settings(
        max_examples=size,
        stateful_step_count=40,
        deadline=None,
        database=None,
        phases=[Phase.generate],
        suppress_health_check=health,
    )
    proof.count(size)
    run_state_machine_as_test(machine, settings=rules)
    assert size > 0
