"""What both sides of the queue seam can do."""

from collections.abc import Callable
from enum import StrEnum
from typing import Protocol


class Queue(StrEnum):
    """The queues, by what their work waits for. `insight` is work that no job waits for."""

    IO = "io"
    ENCODE = "encode"
    AUDIO = "audio"
    INSIGHT = "insight"


class Doorbell(Protocol):
    """Rings queues. Losing every ring, or hearing each three times, is harmless: the sweeper rings again."""

    def ring(self, queue: Queue) -> None:
        """Tell whoever answers `queue` that there may be work."""

    def answer(self, on_ring: Callable[[Queue], None]) -> None:
        """Call `on_ring` for every ring from now on; it must return at once."""

    def close(self) -> None:
        """Answer no more."""
