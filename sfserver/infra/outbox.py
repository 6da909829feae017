"""Where effects go: bells to the doorbell, events to the bus."""

from collections.abc import Sequence

import structlog

from sfserver.infra.effects import Effect, Ring
from sfserver.infra.events.contract import EventBus
from sfserver.infra.queue.contract import Doorbell, Queue

log = structlog.get_logger(__name__)


class Outbox:
    """Rings and publishes what a transaction left to be told; one that fails does not keep back the others."""

    def __init__(self, doorbell: Doorbell, bus: EventBus) -> None:
        self._doorbell, self._bus = doorbell, bus

    def deliver(self, effects: Sequence[Effect]) -> None:
        """Ring and publish, in the order given; log what goes wrong: the sweeper rings again, clients ask again."""
        for effect in effects:
            try:
                if isinstance(effect, Ring):
                    self._doorbell.ring(Queue(effect.queue))
                else:
                    self._bus.publish(effect.topic, effect.message)
            except Exception:
                log.exception("effect.lost", effect=type(effect).__name__)
