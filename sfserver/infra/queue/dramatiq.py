"""Doorbells over a Dramatiq broker: in memory for one process, Redis for many.

Dramatiq's retries, time limits and redelivery are switched off: leases in the database keep work alive. One worker of
one thread answers all queues, since an answer only wakes a slot (`tasks.slots`); the work never runs in an actor.
"""

from collections.abc import Callable

import dramatiq
from dramatiq import Broker, Worker
from dramatiq.brokers.stub import StubBroker

from sfserver.infra.queue.contract import Queue

_IDLE_WAKE_MS = 1000
_STOP_MS = 2000


class BrokerDoorbell:
    """Rings by messages; each queue's messages carry nothing but its name."""

    def __init__(self, broker: Broker) -> None:
        self._broker = broker
        self._on_ring: Callable[[Queue], None] | None = None
        self._worker: Worker | None = None
        self._actors = {queue: self._declare(queue) for queue in Queue}

    def ring(self, queue: Queue) -> None:
        """Send one message."""
        self._actors[queue].send()

    def answer(self, on_ring: Callable[[Queue], None]) -> None:
        """Start the one worker of this process, which fetches a message at a time."""
        self._on_ring = on_ring
        self._worker = Worker(self._broker, worker_threads=1, worker_timeout=_IDLE_WAKE_MS)
        self._worker.queue_prefetch = 1
        self._worker.start()

    def close(self) -> None:
        """Stop the worker and forget the broker."""
        if self._worker is not None:
            self._worker.stop(timeout=_STOP_MS)
        self._broker.close()

    def _declare(self, queue: Queue) -> dramatiq.Actor[[], None]:
        def doorbell() -> None:
            if self._on_ring is not None:
                self._on_ring(queue)

        return dramatiq.Actor(
            doorbell,
            broker=self._broker,
            actor_name=f"doorbell_{queue}",
            queue_name=queue.value,
            priority=0,
            options={},
        )


def in_memory_doorbell() -> BrokerDoorbell:
    """Return a doorbell within this process, on a broker without any middleware."""
    return BrokerDoorbell(StubBroker(middleware=[]))
