"""What endpoints and actors are handed: built once by a composition root, passed down, never imported as a global."""

from collections.abc import Callable
from dataclasses import dataclass

from sfserver.infra.db import Database
from sfserver.infra.events import EventBus
from sfserver.infra.queue import Queue
from sfserver.infra.storage import ObjectStore
from sfserver.settings import Settings


@dataclass(frozen=True)
class Runtime:
    """The seams, the settings and the secret that signs media URLs.

    `ring` wakes the workers of a queue; `walls` says what confines the media processes (for health).
    """

    settings: Settings
    database: Database
    store: ObjectStore
    bus: EventBus
    ring: Callable[[Queue, int], None]
    signing_key: bytes
    version: str
    walls: str = "unknown"
