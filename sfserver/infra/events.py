"""The event seam: fan-out of small messages that may be lost; what must not be lost is in the database."""

from collections import defaultdict
from collections.abc import Callable
from threading import Lock
from typing import Any, Protocol

Message = dict[str, Any]
Listener = Callable[[Message], None]


class EventBus(Protocol):
    """What both sides of the seam can do. Listeners are called on the publisher's thread and must not block."""

    def publish(self, topic: str, message: Message) -> None:
        """Hand `message` to everybody who listens to `topic` now."""

    def subscribe(self, topic: str, listener: Listener) -> Callable[[], None]:
        """Call `listener` for every message on `topic` until the returned function is called."""


class InProcessBus:
    """Fan-out within one process."""

    def __init__(self) -> None:
        self._listeners: dict[str, list[Listener]] = defaultdict(list)
        self._lock = Lock()

    def publish(self, topic: str, message: Message) -> None:
        """Call every listener of `topic`."""
        with self._lock:
            listeners = list(self._listeners.get(topic, ()))
        for listener in listeners:
            listener(message)

    def subscribe(self, topic: str, listener: Listener) -> Callable[[], None]:
        """Add a listener; the returned function removes it."""
        with self._lock:
            self._listeners[topic].append(listener)

        def unsubscribe() -> None:
            with self._lock:
                self._listeners[topic].remove(listener)
                if not self._listeners[topic]:
                    del self._listeners[topic]

        return unsubscribe
