"""What both sides of the event seam can do."""

from collections.abc import Callable
from typing import Any, Protocol

Message = dict[str, Any]
Listener = Callable[[Message], None]


class EventBus(Protocol):
    """Fan-out by topic. Listeners are called on the publisher's thread, or the bus's own, and must not block."""

    def publish(self, topic: str, message: Message) -> None:
        """Hand `message` to everybody who listens to `topic` now."""

    def subscribe(self, topic: str, listener: Listener) -> Callable[[], None]:
        """Call `listener` for every message on `topic` until the returned function is called."""
