"""What working on tasks needs of the house: built by a composition root, handed down, never global."""

from dataclasses import dataclass

from sfserver.infra.db import Database
from sfserver.infra.events.contract import EventBus
from sfserver.infra.queue.contract import Doorbell
from sfserver.infra.storage.contract import ObjectStore
from sfserver.settings import Settings
from sfserver.tasks.stage import Stages
from sfserver.tasks.states import RetryPolicy
from sfserver.wire.jobs import JobError


@dataclass(frozen=True)
class Work:
    """The four seams, the settings, and the stages there are.

    `troubles` says by job what its tasks wait for while the database is away and can't be told.
    """

    settings: Settings
    database: Database
    store: ObjectStore
    bus: EventBus
    doorbell: Doorbell
    stages: Stages
    troubles: dict[str, JobError]

    @property
    def retry_policy(self) -> RetryPolicy:
        """How much a task may go through."""
        worker = self.settings.worker
        return RetryPolicy(
            max_crashes=worker.max_crashes,
            max_losses=worker.max_losses,
            max_doubts=worker.max_doubts,
            lonely_after_losses=worker.lonely_after_losses,
            backoff_max_s=worker.backoff_max_s,
        )
