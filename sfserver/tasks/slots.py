"""Slots: how many tasks of each queue run at once in this process, each on a thread of its own."""

from collections.abc import Callable, Mapping
from threading import Condition, Thread

import structlog

from sfserver.infra.queue.contract import Queue

log = structlog.get_logger(__name__)
FindWork = Callable[[Queue], Callable[[], None] | None]


class Slots:
    """Threads that sleep until their queue is rung, then work until it is empty.

    Rings coalesce: there are never more unanswered ones than threads of their queue. One that comes while a thread
    looks for its last time is kept, so none is lost.
    """

    def __init__(self, counts: Mapping[Queue, int], find_work: FindWork) -> None:
        """Take the number of slots a queue, and what finds one piece of work for it."""
        self._counts, self._find_work = dict(counts), find_work
        self._changed = Condition()
        self._rings = dict.fromkeys(self._counts, 0)
        self._asleep = dict.fromkeys(self._counts, 0)
        self._closed = False
        self._threads = [
            Thread(target=self._serve, args=(queue,), name=f"slot-{queue}-{number}", daemon=True)
            for queue, count in self._counts.items()
            for number in range(count)
        ]

    def start(self) -> None:
        """Start all threads."""
        for thread in self._threads:
            thread.start()

    def wake(self, queue: Queue) -> None:
        """Hear a ring; returns at once."""
        with self._changed:
            if queue in self._rings and self._rings[queue] < self._counts[queue]:
                self._rings[queue] += 1
                self._changed.notify_all()

    def has_idle(self, queue: Queue) -> bool:
        """Whether a thread of this queue sleeps."""
        with self._changed:
            return self._asleep.get(queue, 0) > 0

    def close(self, timeout_s: float) -> None:
        """Take no more work and wait for what runs."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
        for thread in self._threads:
            if thread.is_alive():
                thread.join(timeout_s)

    def _serve(self, queue: Queue) -> None:
        while self._take_ring(queue):
            try:
                while not self._closed and (work := self._find_work(queue)) is not None:
                    self.wake(queue)  # there was work, so there may be more, for a neighbour that sleeps
                    work()
            except Exception:
                # The sweeper rings again; the claim, if there was one, comes back when its lease is over.
                log.exception("slot.failed", queue=queue)

    def _take_ring(self, queue: Queue) -> bool:
        with self._changed:
            self._asleep[queue] += 1
            while not self._closed and not self._rings[queue]:
                self._changed.wait()
            self._asleep[queue] -= 1
            if self._closed:
                return False
            self._rings[queue] -= 1
            return True
