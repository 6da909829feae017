"""Doorbells over a Dramatiq broker."""

from collections import Counter
from collections.abc import Iterator
from threading import Event, Lock

import pytest

from sfserver.infra.queue.contract import Queue
from sfserver.infra.queue.dramatiq import BrokerDoorbell, in_memory_doorbell

PATIENCE_S = 30.0


class Ears:
    """Counts the rings it hears; `heard` is set with the one that makes it `enough`."""

    def __init__(self, enough: int) -> None:
        self.rings: Counter[Queue] = Counter()
        self.heard = Event()
        self._enough, self._lock = enough, Lock()

    def __call__(self, queue: Queue) -> None:
        with self._lock:
            self.rings[queue] += 1
            if self.rings.total() >= self._enough:
                self.heard.set()


@pytest.fixture
def bell() -> Iterator[BrokerDoorbell]:
    bell = in_memory_doorbell()
    yield bell
    bell.close()


def test_every_ring_is_answered_on_its_own_queue(bell: BrokerDoorbell) -> None:
    rung = {Queue.IO: 3, Queue.ENCODE: 2, Queue.AUDIO: 1, Queue.INSIGHT: 4}
    ears = Ears(sum(rung.values()))
    bell.answer(ears)
    for queue, times in rung.items():
        for _ in range(times):
            bell.ring(queue)
    assert ears.heard.wait(PATIENCE_S)
    assert ears.rings == rung


def test_what_was_rung_before_anybody_answered_is_heard(bell: BrokerDoorbell) -> None:
    ears = Ears(2)
    bell.ring(Queue.ENCODE)
    bell.ring(Queue.IO)
    bell.answer(ears)
    assert ears.heard.wait(PATIENCE_S)
    assert ears.rings == {Queue.ENCODE: 1, Queue.IO: 1}


def test_an_answer_that_fails_is_not_called_again_for_the_same_ring(bell: BrokerDoorbell) -> None:
    """Dramatiq would retry for days; here the sweeper rings again."""
    calls, last = Counter[Queue](), Event()

    def fail_for_io(queue: Queue) -> None:
        calls[queue] += 1
        if queue is Queue.IO:
            raise ZeroDivisionError
        last.set()

    bell.answer(fail_for_io)
    bell.ring(Queue.IO)
    bell.ring(Queue.ENCODE)
    assert last.wait(PATIENCE_S)
    assert calls == {Queue.IO: 1, Queue.ENCODE: 1}


def test_one_worker_with_one_thread_answers_all_queues(bell: BrokerDoorbell) -> None:
    bell.answer(Ears(1))
    assert bell._worker is not None
    assert (bell._worker.worker_threads, bell._worker.queue_prefetch) == (1, 1)
    assert {actor.options.get("max_retries", 0) for actor in bell._actors.values()} == {0}


def test_a_closed_doorbell_answers_no_more() -> None:
    bell, ears = in_memory_doorbell(), Ears(1)
    bell.answer(ears)
    bell.close()
    bell.ring(Queue.IO)
    assert not ears.rings
