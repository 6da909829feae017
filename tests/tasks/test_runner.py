"""A worker's loop, with stub stages: it answers rings, hears cancels, and stops without charging anybody."""

from collections.abc import Callable, Iterator
from threading import Event

import pytest

from sfserver.infra.events.contract import Message
from sfserver.models import Task, WorkerNode
from sfserver.tasks import attempt as attempts
from sfserver.tasks.runner import Runner
from sfserver.tasks.sweep import Here
from sfserver.wire.jobs import JobStatus, StageState
from tests.tasks.harness import Harness
from tests.tasks.stub_sandbox import StubSandbox

PATIENCE_S = 30.0


def sweep_nothing(_here: Here) -> None:
    """Find out what happens by bells alone."""


@pytest.fixture
def sandbox() -> StubSandbox:
    return StubSandbox()


@pytest.fixture
def runner(harness: Harness, sandbox: StubSandbox, monkeypatch: pytest.MonkeyPatch) -> Iterator[Runner]:
    monkeypatch.setattr(attempts, "find_outage", lambda *_of, **_how: None)
    harness.runtime.settings.worker.concurrency = 2
    folder = harness.runtime.settings.data_dir / "work"
    runner = Runner(harness.runtime, sandbox, folder, sweep_nothing)  # type: ignore[arg-type]
    runner.start()
    yield runner
    runner.stop()
    assert not any(thread.is_alive() for thread in [*runner._threads, *runner._slots._threads])
    assert list(folder.iterdir()) == []


def when(harness: Harness, is_it: Callable[[Message], bool]) -> Event:
    """Return an event that is set by the first message that is the one."""
    happened = Event()
    (topic,) = [topic for topic in harness.runtime.bus._listeners if topic.startswith("user:")]  # type: ignore[attr-defined]
    harness.runtime.bus.subscribe(topic, lambda message: happened.set() if is_it(message) else None)
    return happened


def ended(stage: str) -> Callable[[Message], bool]:
    return lambda message: message["data"].get("stage") == stage and message["data"].get("state") == "done"


def test_a_job_needs_no_more_than_the_bells_its_transactions_ring(harness: Harness, runner: Runner) -> None:
    poster, done = when(harness, ended("poster")), when(harness, lambda message: message["kind"] == "done")
    job_id = harness.new_job()
    assert done.wait(PATIENCE_S)
    assert poster.wait(PATIENCE_S)
    assert harness.job(job_id).status == JobStatus.READY
    assert {task.worker for task in harness.rows(Task)} == {runner.id}
    assert {task.attempts for task in harness.rows(Task)} == {1}


def test_a_worker_says_that_it_lives(harness: Harness, runner: Runner) -> None:
    done = when(harness, lambda message: message["kind"] == "done")
    harness.new_job()
    assert done.wait(PATIENCE_S)
    (node,) = [node for node in harness.rows(WorkerNode) if node.id == runner.id]
    assert set(node.capabilities) == {"io", "encode", "audio", "insight"}


def test_a_cancel_reaches_the_attempts_of_its_job_alone(harness: Harness, sandbox: StubSandbox, runner: Runner) -> None:
    begun, cancelled, done = (
        Event(),
        Event(),
        when(harness, lambda m: m["kind"] == "done" and m["data"]["status"] == "ready"),
    )

    def hold() -> None:
        begun.set()
        assert cancelled.wait(PATIENCE_S)

    sandbox.during = hold
    doomed = harness.new_job()
    assert begun.wait(PATIENCE_S)
    good = harness.new_job()
    harness.cancel(doomed)
    cancelled.set()
    assert done.wait(PATIENCE_S)
    assert (harness.job(doomed).status, harness.job(good).status) == (JobStatus.CANCELLED, JobStatus.READY)
    assert [task.state for task in harness.tasks(doomed, "probe")] == [StageState.CANCELLED]
    assert harness.tasks(doomed, "encode") == []


def test_a_worker_that_stops_puts_its_tasks_back_uncharged(harness: Harness, sandbox: StubSandbox) -> None:
    begun, stopping = Event(), Event()
    folder = harness.runtime.settings.data_dir / "work"
    runner = Runner(harness.runtime, sandbox, folder, sweep_nothing)  # type: ignore[arg-type]

    def hold() -> None:
        begun.set()
        assert runner._stopping.wait(PATIENCE_S)
        stopping.set()

    sandbox.during = hold
    runner.start()
    job_id = harness.new_job()
    assert begun.wait(PATIENCE_S)
    runner.stop()
    assert stopping.is_set()
    (task,) = harness.tasks(job_id, "probe")
    assert (task.state, task.attempts, task.losses, task.lease_until) == (StageState.WAITING, 0, 0, None)
    harness.finish()
    assert harness.job(job_id).status == JobStatus.READY


def test_folders_that_a_disk_would_not_let_go_are_removed_by_a_later_sweep(
    harness: Harness, sandbox: StubSandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(attempts, "remove_tree", lambda _folder: None)
    harness.runtime.settings.worker.sweep_s = PATIENCE_S
    folder = harness.runtime.settings.data_dir / "work"
    runner = Runner(harness.runtime, sandbox, folder, sweep_nothing)  # type: ignore[arg-type]
    done = when(harness, lambda message: message["kind"] == "done")
    runner.start()
    harness.new_job()
    assert done.wait(PATIENCE_S)
    runner.stop()
    assert len(list(folder.iterdir())) >= sum(sandbox.runs.values()) > 0
    runner._beat_and_sweep()
    assert list(folder.iterdir()) == []
    assert runner._left == set()
