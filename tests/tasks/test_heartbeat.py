"""The heartbeat of an attempt: it holds the lease as long as something gets on, and says when the task is lost."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from threading import Event

import pytest

from sfserver.errors import DatabaseUnavailableError
from sfserver.tasks import record
from sfserver.tasks.heartbeat import Heartbeat
from sfserver.tasks.record import Beat
from sfserver.tasks.stage import Claim
from sfserver.wire.jobs import StageState
from tests.tasks.harness import Harness

PATIENCE_S = 30.0


class Beats:
    """Answers each beat in turn as told, the last answer for ever; an exception is raised, None asks the database."""

    def __init__(self, *answers: Beat | Exception | None) -> None:
        self._answers = list(answers)
        self._asked = 0
        self.reached: dict[int, Event] = {}
        self._real = record.beat

    def __call__(self, work: object, claim: Claim) -> Beat:
        answer = self._answers[min(self._asked, len(self._answers) - 1)]
        self._asked += 1
        outcome = self._real(work, claim) if answer is None else answer  # type: ignore[arg-type]
        for number, event in self.reached.items():
            if self._asked >= number:
                event.set()
        if isinstance(outcome, Exception):
            raise outcome
        return outcome

    def wait(self, number: int) -> bool:
        return self.reached.setdefault(number, Event()).wait(PATIENCE_S)


@pytest.fixture
def claim(harness: Harness) -> Claim:
    harness.runtime.settings.worker.beat_s = 0.001
    harness.probed(chunks=1, audio=False)
    return harness.take()


@contextmanager
def beating(harness: Harness, claim: Claim, on_stall: Callable[[], None] = lambda: None) -> Iterator[Heartbeat]:
    with Heartbeat(harness.runtime, claim, on_stall) as heartbeat:
        yield heartbeat
    heartbeat._thread.join(PATIENCE_S)
    assert not heartbeat._thread.is_alive()


def test_beats_extend_the_lease_until_the_attempt_is_over(
    harness: Harness, claim: Claim, monkeypatch: pytest.MonkeyPatch
) -> None:
    beats = Beats(None)
    monkeypatch.setattr(record, "beat", beats)
    before = harness.task(claim).lease_until
    with beating(harness, claim) as heartbeat:
        assert beats.wait(20)
        assert not heartbeat.lost
    after = harness.task(claim).lease_until
    assert before is not None
    assert after is not None
    assert after > before
    told = beats._asked
    assert heartbeat._ended.is_set()
    assert beats._asked == told


def test_a_task_that_was_put_back_is_taken_again(
    harness: Harness, claim: Claim, monkeypatch: pytest.MonkeyPatch
) -> None:
    harness.sweep(after_s=31)
    assert harness.task(claim).state == StageState.WAITING
    beats = Beats(None)
    monkeypatch.setattr(record, "beat", beats)
    with beating(harness, claim) as heartbeat:
        assert beats.wait(2)
    assert not heartbeat.lost
    assert harness.task(claim).state == StageState.RUNNING
    assert harness.claim(worker="w2") is None


def test_a_task_that_is_lost_is_said_to_be_and_beats_no_more(harness: Harness, claim: Claim) -> None:
    harness.sweep(after_s=31)
    fresh = harness.take(worker="w2")
    with beating(harness, claim) as heartbeat:
        heartbeat._thread.join(PATIENCE_S)
        assert heartbeat.lost
    assert harness.task(fresh).worker == "w2"


def test_an_outage_of_the_database_changes_nothing(
    harness: Harness, claim: Claim, monkeypatch: pytest.MonkeyPatch
) -> None:
    beats = Beats(*[DatabaseUnavailableError("locked")] * 5, None)
    monkeypatch.setattr(record, "beat", beats)
    with beating(harness, claim) as heartbeat:
        assert beats.wait(8)
        assert not heartbeat.lost
    assert harness.task(claim).state == StageState.RUNNING


def test_silence_outside_the_run_is_a_stall_and_told_once(harness: Harness, claim: Claim) -> None:
    harness.runtime.settings.sandbox.stall_s = 0.0
    stalls: list[int] = []
    with beating(harness, claim, lambda: stalls.append(1)) as heartbeat:
        heartbeat._thread.join(PATIENCE_S)
        assert not heartbeat._thread.is_alive()
    assert stalls == [1]
    assert heartbeat.lost


def test_silence_in_the_run_is_the_sandboxs_to_judge(
    harness: Harness, claim: Claim, monkeypatch: pytest.MonkeyPatch
) -> None:
    harness.runtime.settings.sandbox.stall_s = 0.0
    beats, stalls = Beats(None), []
    monkeypatch.setattr(record, "beat", beats)
    heartbeat = Heartbeat(harness.runtime, claim, lambda: stalls.append(1))
    heartbeat.is_watched = True
    with heartbeat:
        assert beats.wait(10)
    heartbeat._thread.join(PATIENCE_S)
    assert (stalls, heartbeat.lost) == ([], False)


def test_whatever_is_moved_or_told_is_progress(harness: Harness, claim: Claim, monkeypatch: pytest.MonkeyPatch) -> None:
    harness.runtime.settings.sandbox.stall_s = 10.0
    beats, stalls, clock = Beats(None), [], [0.0]
    monkeypatch.setattr(record, "beat", beats)
    monkeypatch.setattr("sfserver.tasks.heartbeat.time.monotonic", lambda: clock[0])
    with beating(harness, claim, lambda: stalls.append(1)) as heartbeat:
        for turn in range(1, 6):
            clock[0] += 9.0
            heartbeat.progressed(1)
            assert beats.wait(beats._asked + 2), turn
        assert stalls == []
        clock[0] += 11.0
        heartbeat._thread.join(PATIENCE_S)
    assert stalls == [1]


def test_beats_come_at_least_three_times_a_lease(harness: Harness, claim: Claim) -> None:
    harness.runtime.settings.worker.beat_s, harness.runtime.settings.worker.lease_s = 600.0, 30.0
    assert Heartbeat(harness.runtime, claim, lambda: None)._interval_s == 10.0
