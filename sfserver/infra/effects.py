"""What follows a commit: bells and events. Both may be lost, so neither is work that must be done."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import structlog

log = structlog.get_logger(__name__)


@dataclass(frozen=True)
class Ring:
    """Tell whoever works on a queue that there may be work."""

    queue: str


@dataclass(frozen=True)
class Publish:
    """Hand a message to everybody who listens to a topic."""

    topic: str
    message: dict[str, Any]


Effect = Ring | Publish


class EffectSink(Protocol):
    """Where effects go once they are true."""

    def deliver(self, effects: Sequence[Effect]) -> None:
        """Ring and publish, in the order given; never raise, and do no I/O but bells and events."""


def deliver(sink: EffectSink | None, effects: Sequence[Effect]) -> None:
    """Hand effects over; log what a sink raises against its contract.

    The transaction is committed: an error here would tell a caller that nothing happened.
    """
    if sink is None or not effects:
        return
    try:
        sink.deliver(effects)
    except Exception:
        log.exception("effects.lost", effects=len(effects))
