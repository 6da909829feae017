"""The event bus of one process."""

from collections import defaultdict
from collections.abc import Callable
from threading import Lock

from sfserver.infra.events.contract import Listener, Message


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
