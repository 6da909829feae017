"""The heartbeat of one attempt, from its claim to its record: the lease lives as long as something gets on."""

import time
from collections.abc import Callable
from threading import Event, Thread
from typing import Self

import structlog

from sfserver.errors import TransientError
from sfserver.tasks import record
from sfserver.tasks.record import Beat
from sfserver.tasks.stage import Claim
from sfserver.tasks.work import Work

log = structlog.get_logger(__name__)


class Heartbeat:
    """Beats from a thread of its own, through preparing and storing too; a context manager.

    `progressed` is called for every block moved and every report. Where nothing has been heard for `stall_s` the beats
    end and `on_stall` is called once, unless the sandbox watches for silence itself (`is_watched`). `lost` says that
    somebody else owns the task, or may soon.
    """

    def __init__(self, work: Work, claim: Claim, on_stall: Callable[[], None]) -> None:
        self._work, self._claim, self._on_stall = work, claim, on_stall
        worker = work.settings.worker
        self._interval_s = min(worker.beat_s, worker.lease_s / 3)
        self._stall_s = work.settings.sandbox.stall_s
        self._ended = Event()
        self._heard = time.monotonic()
        self._thread = Thread(target=self._run, name=f"heartbeat-{claim.name}", daemon=True)
        self.is_watched = False
        self.lost = False

    def progressed(self, _count: int = 0) -> None:
        """Hear that the attempt gets on."""
        self._heard = time.monotonic()

    def __enter__(self) -> Self:
        """Start beating."""
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Beat no more; returns at once, whatever a last beat waits for."""
        self._ended.set()

    def _run(self) -> None:
        while not self._ended.wait(self._interval_s):
            if not self.is_watched and time.monotonic() - self._heard > self._stall_s:
                self.lost = True
                self._on_stall()
                return
            try:
                answer = record.beat(self._work, self._claim)
            except TransientError as error:
                log.warning("heartbeat.outage", job_id=self._claim.job_id, code=error.code)
                continue
            if answer is Beat.LOST:
                self.lost = True
                return
