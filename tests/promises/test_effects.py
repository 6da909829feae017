"""D9: a fault after any commit harms nothing: no published byte is deleted, no job done twice, nothing orphaned.

A whole life of a video (processed, its poster made again, processed once more, cancelled and tried again) runs on one
thread with stub stages, so that its commits have numbers. Each cell puts one fault behind one of them.
"""

import shutil
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy.orm import Session

from sfserver.errors import DatabaseUnavailableError, StoreUnavailableError, TransientError
from sfserver.infra.effects import Effect
from sfserver.infra.queue.contract import Queue
from sfserver.models import Job, JobEvent
from sfserver.publications.service import published_keys
from sfserver.tasks import attempt as attempts
from sfserver.wire.jobs import JobStatus
from tests.promises.ledger import Proof, sizes
from tests.tasks.harness import Harness, build_harness
from tests.tasks.stub_sandbox import StubSandbox
from tests.tasks.workshop import Workshop

pytestmark = pytest.mark.promise("D9")
FAULTS = ("effects lost", "effects raise", "bells raise", "events raise", "acknowledgement lost", "garbage raises")
_MEMORY = Path("/dev/shm")


class Fault:
    """One fault, behind the commit that is number `at` of those that write; it is over before the next one."""

    def __init__(self, harness: Harness, kind: str, at: int) -> None:
        self._harness, self.kind, self._at = harness, kind, at
        self.commits = 0
        self._is_delivering = False
        self._sink = harness.runtime.database.effects

    @property
    def runs_more(self) -> set[int]:
        """How many more runs of media processes it may cost: the sound goes on after a part nobody is sure of."""
        return {0, 1} if self.kind == "acknowledgement lost" else {0}

    def is_now(self) -> bool:
        return self.commits == self._at

    def deliver(self, effects: list[Effect]) -> None:
        """Stand between the database and its sink."""
        if self.is_now() and self.kind == "effects lost":
            return
        if self.is_now() and self.kind == "effects raise":
            raise ZeroDivisionError
        assert self._sink is not None
        self._is_delivering = True
        self._sink.deliver(effects)
        self._is_delivering = False

    def fail_if(self, kind: str, error: Exception) -> None:
        """Raise where it is time; bells and events fail for what the one commit left to be told, not for a sweep."""
        is_told = self._is_delivering or kind not in {"bells raise", "events raise"}
        if self.kind == kind and self.is_now() and is_told:
            raise error


@contextmanager
def armed(harness: Harness, kind: str, at: int, monkeypatch: pytest.MonkeyPatch) -> Iterator[Fault]:
    """Count the commits of the block, and have the fault behind one of them."""
    fault = Fault(harness, kind, at)
    commit, ring, publish = Session.commit, harness.doorbell.ring, harness.runtime.bus.publish
    delete = harness.store.delete

    def counted(session: Session) -> None:
        commit(session)
        if session.get_bind().get_execution_options().get("sf_read_only", False):
            return
        fault.commits += 1
        fault.fail_if("acknowledgement lost", DatabaseUnavailableError("the connection broke in mid-commit"))

    def guarded(kind: str, error: Exception, function: Callable[..., Any]) -> Callable[..., Any]:
        def call(*of: Any) -> Any:
            fault.fail_if(kind, error)
            return function(*of)

        return call

    with monkeypatch.context() as patched:
        patched.setattr(Session, "commit", counted)
        patched.setattr(harness.doorbell, "ring", guarded("bells raise", ConnectionError("no broker"), ring))
        patched.setattr(harness.runtime.bus, "publish", guarded("events raise", ConnectionError("no bus"), publish))
        patched.setattr(harness.store, "delete", guarded("garbage raises", StoreUnavailableError("no store"), delete))
        harness.runtime.database.effects = fault  # type: ignore[assignment]
        yield fault
        harness.runtime.database.effects = fault._sink


class Life:
    """What is done to one video, step by step, as people and workers do it: who is told of an error tries again."""

    def __init__(self, harness: Harness) -> None:
        self.harness = harness
        self.shop = Workshop(harness, StubSandbox())
        self.shop.folder.mkdir(exist_ok=True)

    def live(self) -> str:
        """Process, make the poster again, process again; cancel a third time and try that again; return that job."""
        job_id = self._ask(self.harness.new_job, lambda: self._newest(JobStatus.QUEUED))
        self._work()
        self._ask(lambda: self.harness.redo(job_id, "poster"), lambda: None)
        self._work()
        again = self._ask(lambda: self.harness.reprocess(job_id), lambda: self._newest(JobStatus.QUEUED))
        self._work()
        third: str = self._ask(lambda: self.harness.reprocess(again), lambda: self._newest(JobStatus.QUEUED))
        self._work(Queue.IO, Queue.ENCODE, attempts_left=3)
        self._ask(lambda: self.harness.cancel(third), lambda: None)
        self._sweep()
        self._ask(lambda: self.harness.retry(third), lambda: None)
        self._work()
        return third

    def _ask(self, what: Callable[[], Any], found: Callable[[], Any]) -> Any:
        """Do what a request does; one that met an outage looks whether it happened before it asks again."""
        try:
            return what()
        except TransientError:
            return found()

    def _newest(self, status: JobStatus) -> str:
        jobs = [job for job in self.harness.rows(Job) if job.status == status]
        assert len(jobs) == 1, "asked once, done once"
        return str(jobs[0].id)

    def _work(self, *queues: Queue, attempts_left: int = 1000) -> None:
        """Have workers do what they find, and a sweeper look after them, until there is nothing left."""
        idle = 0
        while idle < 2 and attempts_left:
            claimed = self._claim_one(queues or tuple(Queue))
            if claimed:
                attempts_left -= 1
            else:
                self._sweep(after_s=40)
                idle += 1

    def _claim_one(self, queues: Sequence[Queue]) -> bool:
        """Look where the bell was rung; a queue that turns out to be empty is not looked at again before it is rung."""
        rings = self.harness.doorbell.rings
        for queue in [queue for queue in queues if rings[queue]]:
            try:
                claim = self.harness.claim(queue)
            except TransientError:
                del rings[queue]  # the slot logs it and sleeps; the sweeper finds the task when its lease is over
                continue
            if claim is not None:
                self.shop.run(claim)
                return True
            del rings[queue]
        return False

    def _sweep(self, after_s: float = 0.0) -> None:
        with suppress(TransientError, ConnectionError):  # the sweeper's thread logs it and comes again
            self.harness.sweep(after_s=after_s)


@pytest.fixture
def harness(empty_database: Path) -> Iterator[Harness]:
    folder = Path(tempfile.mkdtemp(prefix="sf-effects-", dir=_MEMORY if _MEMORY.is_dir() else None))
    harness = build_harness(folder, empty_database)
    try:
        yield harness
    finally:
        harness.runtime.database.close()
        shutil.rmtree(folder)


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    monkeypatch.setattr(attempts, "_INSIST_S", 0.0)
    monkeypatch.setattr(attempts, "find_outage", lambda *_of, **_how: None)
    return monkeypatch


def check(harness: Harness, last: str) -> None:
    """Check what one life must have come to, whatever happened on the way."""
    jobs = harness.rows(Job)
    assert [job.status for job in jobs] == [JobStatus.READY] * 3
    numbers = [job.generation for job in jobs]
    assert harness.video(last).generation == harness.job(last).generation == max(numbers) >= len(set(numbers)) == 3
    ends = Counter(event.job_id for event in harness.rows(JobEvent) if event.kind == "done")
    assert [ends[job.id] for job in jobs] == [1, 1, 2], "each run ends once"
    harness.check_sums()
    harness.check_nothing_leaked()
    with harness.runtime.database.read() as session:
        published = published_keys(session, harness.video(last).id)
    assert published
    assert set(published) <= harness.objects()


@sizes(30, 2000)
def test_a_fault_behind_any_commit_harms_nothing(
    proof: Proof, harness: Harness, quick: pytest.MonkeyPatch, size: int
) -> None:
    with armed(harness, "none", -1, quick) as fault:
        undisturbed = Life(harness)
        undisturbed.live()
    commits, runs, stored = fault.commits, undisturbed.shop.sandbox.runs, len(harness.store.stored)
    assert commits > 40
    cells = [(kind, at) for kind in FAULTS for at in range(1, commits + 1)]
    for kind, at in proof.random.sample(cells, min(size, len(cells))):
        harness.reset()
        with proof.cell(f"{kind} behind commit {at}"):
            with armed(harness, kind, at, quick) as fault:
                life = Life(harness)
                last = life.live()
            assert fault.commits >= at
            check(harness, last)
            assert len(harness.store.stored) == stored, "nothing is made twice"
            assert life.shop.sandbox.runs.total() - runs.total() in fault.runs_more
