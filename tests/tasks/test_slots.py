"""Slots: how many tasks run at once, and rings of which none is lost."""

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from threading import Event, Lock

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sfserver.infra.queue.contract import Queue
from sfserver.settings import WorkerSettings
from sfserver.tasks.runner import slot_counts
from sfserver.tasks.slots import Slots

PATIENCE_S = 30.0


class Pile:
    """Work that is taken away piece by piece; `looks` counts how often somebody asked for some."""

    def __init__(self, pieces: int = 0) -> None:
        self._lock = Lock()
        self._left = pieces
        self.looks: Counter[Queue] = Counter()
        self.done, self.busy, self.most = 0, 0, 0
        self.emptied = Event()
        self.action: Callable[[], None] = lambda: None

    def add(self, pieces: int) -> None:
        with self._lock:
            self._left += pieces
            self.emptied.clear()

    def find(self, queue: Queue) -> Callable[[], None] | None:
        with self._lock:
            self.looks[queue] += 1
            if not self._left:
                if not self.busy:
                    self.emptied.set()
                return None
            self._left -= 1
            self.busy += 1
            self.most = max(self.most, self.busy)
        return self._work

    def _work(self) -> None:
        try:
            self.action()
        finally:
            with self._lock:
                self.busy -= 1
                self.done += 1


@contextmanager
def serving(counts: dict[Queue, int], pile: Pile) -> Iterator[Slots]:
    slots = Slots(counts, pile.find)
    slots.start()
    try:
        yield slots
    finally:
        slots.close(PATIENCE_S)
        assert not any(thread.is_alive() for thread in slots._threads)


def test_nobody_looks_for_work_before_a_ring() -> None:
    pile = Pile(3)
    with serving({Queue.IO: 2}, pile):
        pass
    assert (pile.looks.total(), pile.done) == (0, 0)


def test_one_ring_does_all_the_work_there_is() -> None:
    pile = Pile(20)
    with serving({Queue.IO: 1}, pile) as slots:
        slots.wake(Queue.IO)
        assert pile.emptied.wait(PATIENCE_S)
    assert pile.done == 20


def test_one_ring_wakes_all_neighbours_where_there_is_work_for_them() -> None:
    pile, together = Pile(3), Event()

    def wait_for_the_others() -> None:
        if pile.busy == 3:
            together.set()
        assert together.wait(PATIENCE_S)

    pile.action = wait_for_the_others
    with serving({Queue.ENCODE: 3}, pile) as slots:
        slots.wake(Queue.ENCODE)
        assert together.wait(PATIENCE_S)
    assert pile.most == 3


def test_never_more_at_once_than_there_are_slots() -> None:
    pile = Pile(200)
    with serving({Queue.ENCODE: 3}, pile) as slots:
        for _ in range(50):
            slots.wake(Queue.ENCODE)
        assert pile.emptied.wait(PATIENCE_S)
    assert (pile.done, pile.most <= 3) == (200, True)


def test_rings_coalesce() -> None:
    """A thousand rings while all are busy are answered once by each, not a thousand times."""
    pile, begun, go_on = Pile(2), Event(), Event()

    def hold() -> None:
        if pile.busy == 2:
            begun.set()
        assert go_on.wait(PATIENCE_S)

    pile.action = hold
    with serving({Queue.IO: 2}, pile) as slots:
        slots.wake(Queue.IO)
        assert begun.wait(PATIENCE_S)
        for _ in range(1000):
            slots.wake(Queue.IO)
        go_on.set()
        assert pile.emptied.wait(PATIENCE_S)
    assert pile.looks[Queue.IO] <= 2 + 2 * 2 + 2


def test_a_ring_that_comes_while_somebody_looks_for_the_last_time_is_not_lost() -> None:
    """The thread found nothing, more came, the bell rang, and only then did the thread fall asleep."""
    pile, looked = Pile(), Event()
    find = pile.find

    def find_late(queue: Queue) -> Callable[[], None] | None:
        found = find(queue)
        if found is None and not looked.is_set():
            looked.set()
            pile.add(1)
            slots.wake(queue)
        return found

    came = Event()
    pile.find, pile.action = find_late, came.set  # type: ignore[method-assign]
    with serving({Queue.IO: 1}, pile) as slots:
        slots.wake(Queue.IO)
        assert came.wait(PATIENCE_S)
    assert pile.done == 1


@settings(max_examples=15)
@given(st.lists(st.integers(0, 4), max_size=12), st.integers(1, 3))
def test_whatever_comes_is_done_if_a_ring_follows_it(batches: list[int], count: int) -> None:
    pile = Pile()
    with serving({Queue.IO: count}, pile) as slots:
        for pieces in [*batches, 0]:
            pile.add(pieces)
            slots.wake(Queue.IO)
        assert pile.emptied.wait(PATIENCE_S)
    assert pile.done == sum(batches)


def test_a_queue_whose_slots_are_busy_does_not_hold_up_the_other() -> None:
    begun, go_on, other = Event(), Event(), Event()

    def find(queue: Queue) -> Callable[[], None] | None:
        if queue is Queue.ENCODE and not begun.is_set():
            begun.set()
            return lambda: assert_set(go_on)
        if queue is Queue.IO and not other.is_set():
            return other.set
        return None

    slots = Slots({Queue.ENCODE: 1, Queue.IO: 1}, find)
    slots.start()
    slots.wake(Queue.ENCODE)
    assert begun.wait(PATIENCE_S)
    slots.wake(Queue.IO)
    assert other.wait(PATIENCE_S)
    go_on.set()
    slots.close(PATIENCE_S)


def assert_set(event: Event) -> None:
    assert event.wait(PATIENCE_S)


def test_a_piece_that_fails_ends_no_thread() -> None:
    pile, failed = Pile(3), Event()

    def fail_once() -> None:
        if not failed.is_set():
            failed.set()
            raise ZeroDivisionError

    pile.action = fail_once
    with serving({Queue.IO: 1}, pile) as slots:
        slots.wake(Queue.IO)
        assert failed.wait(PATIENCE_S)
        slots.wake(Queue.IO)
        assert pile.emptied.wait(PATIENCE_S)
    assert pile.done == 3


def test_a_ring_for_a_queue_without_slots_is_ignored() -> None:
    pile = Pile(1)
    with serving({Queue.IO: 0}, pile) as slots:
        slots.wake(Queue.IO)
        slots.wake(Queue.INSIGHT)
    assert pile.looks.total() == 0


def test_closing_waits_for_what_runs_and_takes_nothing_more() -> None:
    pile, begun, go_on = Pile(5), Event(), Event()

    def hold() -> None:
        begun.set()
        assert go_on.wait(PATIENCE_S)

    pile.action = hold
    slots = Slots({Queue.IO: 1}, pile.find)
    slots.start()
    slots.wake(Queue.IO)
    assert begun.wait(PATIENCE_S)
    slots.close(0.0)
    assert slots._threads[0].is_alive()
    go_on.set()
    slots.close(PATIENCE_S)
    slots.wake(Queue.IO)
    assert (pile.done, slots._threads[0].is_alive()) == (1, False)


def test_encodes_are_as_many_as_cores_unless_set(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.cpu_count", lambda: 12)
    assert slot_counts(WorkerSettings())[Queue.ENCODE] == 12
    assert slot_counts(WorkerSettings(concurrency=3))[Queue.ENCODE] == 3
    assert set(slot_counts(WorkerSettings())) == set(Queue)
