"""One way to build a runtime, whatever stands behind its seams."""

from collections.abc import Callable

from sfserver.deps import Runtime
from sfserver.infra.db import Database
from sfserver.infra.events.contract import EventBus
from sfserver.infra.outbox import Outbox
from sfserver.infra.queue.contract import Doorbell
from sfserver.infra.storage.contract import ObjectStore
from sfserver.settings import Settings
from sfserver.stages.registry import STAGES
from sfserver.tasks.stage import Stages


def make_runtime(  # noqa: PLR0913 - the four seams, and what is no seam, by name
    settings: Settings,
    *,
    database: Database,
    doorbell: Doorbell,
    store: ObjectStore,
    bus: EventBus,
    signing_key: bytes,
    version: str,
    walls: Callable[[], str] = lambda: "unknown",
    stages: Stages = STAGES,
) -> Runtime:
    """Put the seams together: what a transaction leaves to be told goes through this doorbell and this bus."""
    database.effects = Outbox(doorbell, bus)
    return Runtime(
        settings=settings,
        database=database,
        store=store,
        bus=bus,
        doorbell=doorbell,
        stages=stages,
        troubles={},
        signing_key=signing_key,
        version=version,
        walls=walls,
    )
