"""The queue seam: a doorbell. A message says only "there may be work in this queue"; the work is in the database.

Dramatiq's retries, time limits and redelivery are switched off: leases in the database keep work alive.
"""

from collections.abc import Callable, Mapping
from enum import StrEnum

import dramatiq
from dramatiq import Broker, Worker
from dramatiq.brokers.stub import StubBroker


class Queue(StrEnum):
    """The queues, by what their work waits for."""

    IO = "io"
    ENCODE = "encode"


class Doorbell:
    """Rings queues; answers a ring by calling `answer(queue)` on a worker thread."""

    def __init__(self, brokers: Mapping[Queue, Broker], answer: Callable[[Queue], None]) -> None:
        self._brokers = brokers
        self._actors = {queue: _declare_actor(broker, queue, answer) for queue, broker in brokers.items()}

    def ring(self, queue: Queue, times: int = 1) -> None:
        """Wake up to `times` idle workers of `queue`; rings that find no work are harmless."""
        for _ in range(times):
            self._actors[queue].send()

    def start_workers(self, threads: dict[Queue, int]) -> list[Worker]:
        """Start worker threads in this process: one Dramatiq worker per queue, so that none starves another."""
        workers = [
            Worker(self._brokers[queue], queues={queue.value}, worker_threads=count, worker_timeout=200)
            for queue, count in threads.items()
        ]
        for worker in workers:
            worker.start()
        return workers


def embedded_brokers() -> dict[Queue, Broker]:
    """Return an in-memory broker for each queue, without any middleware.

    One each, since a Dramatiq worker expects to be the only one of its broker in a process.
    """
    return {queue: StubBroker(middleware=[]) for queue in Queue}


def _declare_actor(broker: Broker, queue: Queue, answer: Callable[[Queue], None]) -> dramatiq.Actor[[], None]:
    def doorbell() -> None:
        answer(queue)

    return dramatiq.Actor(
        doorbell, broker=broker, actor_name=f"doorbell_{queue}", queue_name=queue.value, priority=0, options={}
    )
