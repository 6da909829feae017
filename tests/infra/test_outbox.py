"""Effects go to the doorbell and to the bus, and none keeps back another."""

from collections.abc import Callable

import pytest

from sfserver.infra.effects import Effect, Publish, Ring, deliver
from sfserver.infra.events.contract import Message
from sfserver.infra.events.memory import InProcessBus
from sfserver.infra.outbox import Outbox
from sfserver.infra.queue.contract import Queue

EFFECTS: list[Effect] = [
    Ring(Queue.IO),
    Publish("a", {"n": 1}),
    Ring(Queue.ENCODE),
    Publish("a", {"n": 2}),
    Ring(Queue.AUDIO),
]


class Bell:
    """Notes rings; those of `broken` raise."""

    def __init__(self, *broken: Queue) -> None:
        self.rings: list[Queue] = []
        self._broken = broken

    def ring(self, queue: Queue) -> None:
        if queue in self._broken:
            raise ConnectionError("no broker")
        self.rings.append(queue)

    def answer(self, on_ring: Callable[[Queue], None]) -> None:
        del on_ring

    def close(self) -> None:
        pass


def listen(bus: InProcessBus, *, broken: bool = False) -> list[Message]:
    heard: list[Message] = []

    def hear(message: Message) -> None:
        heard.append(message)
        if broken:
            raise ConnectionError("no bus")

    bus.subscribe("a", hear)
    return heard


def test_effects_are_delivered_in_order() -> None:
    bell, bus = Bell(), InProcessBus()
    heard = listen(bus)
    Outbox(bell, bus).deliver(EFFECTS)
    assert bell.rings == [Queue.IO, Queue.ENCODE, Queue.AUDIO]
    assert heard == [{"n": 1}, {"n": 2}]


@pytest.mark.parametrize("broken", [Queue.IO, Queue.ENCODE, Queue.AUDIO])
def test_a_bell_that_raises_keeps_nothing_back(broken: Queue) -> None:
    bell, bus = Bell(broken), InProcessBus()
    heard = listen(bus)
    Outbox(bell, bus).deliver(EFFECTS)
    assert bell.rings == [queue for queue in (Queue.IO, Queue.ENCODE, Queue.AUDIO) if queue is not broken]
    assert heard == [{"n": 1}, {"n": 2}]


def test_a_listener_that_raises_keeps_nothing_back() -> None:
    bell, bus = Bell(), InProcessBus()
    heard = listen(bus, broken=True)
    Outbox(bell, bus).deliver(EFFECTS)
    assert bell.rings == [Queue.IO, Queue.ENCODE, Queue.AUDIO]
    assert heard == [{"n": 1}, {"n": 2}]


def test_a_ring_for_a_queue_nobody_knows_is_logged_and_lost() -> None:
    bell = Bell()
    Outbox(bell, InProcessBus()).deliver([Ring("nonsense"), Ring(Queue.IO)])
    assert bell.rings == [Queue.IO]


def test_whoever_delivers_hears_nothing_of_a_sink_that_raises() -> None:
    class Broken:
        called = 0

        def deliver(self, effects: object) -> None:
            del effects
            self.called += 1
            raise ZeroDivisionError

    sink = Broken()
    deliver(sink, EFFECTS)
    deliver(None, EFFECTS)
    deliver(sink, [])
    assert sink.called == 1
