"""A worker's loop: slots that claim and attempt, a sweeper, and the beat that says it is alive."""

import os
import socket
from collections.abc import Callable, Mapping
from pathlib import Path
from threading import Event, Lock, Thread

import structlog

from sfserver.errors import TransientError
from sfserver.infra.clock import db_now
from sfserver.infra.events.contract import Message
from sfserver.infra.queue.contract import Queue
from sfserver.infra.removal import remove_tree
from sfserver.media.sandbox.parent import Sandbox
from sfserver.models import WorkerNode, new_id
from sfserver.settings import WorkerSettings
from sfserver.tasks.announce import CANCEL_TOPIC
from sfserver.tasks.attempt import Attempt, Bench
from sfserver.tasks.claim import claim_task
from sfserver.tasks.slots import Slots
from sfserver.tasks.sweep import Here
from sfserver.tasks.work import Work

log = structlog.get_logger(__name__)
_PATIENCE_S = 10.0
Sweep = Callable[[Here], None]


def slot_counts(worker: WorkerSettings) -> dict[Queue, int]:
    """Return how many tasks of each queue run at once: as many encodes as cores, unless it is set."""
    encode = worker.concurrency or os.cpu_count() or 1
    return {Queue.IO: worker.io_concurrency, Queue.ENCODE: encode, Queue.AUDIO: 1, Queue.INSIGHT: 1}


class Runner:
    """All threads of one worker process.

    `sweep` is what its sweeper does every so often, told what this process knows of itself.
    """

    def __init__(self, work: Work, sandbox: Sandbox, folder: Path, sweep: Sweep) -> None:
        self.id = f"{socket.gethostname()}-{os.getpid()}-{new_id()[-6:]}"
        self._work, self._sweep = work, sweep
        self._stopping = Event()
        self._bench = Bench(work, sandbox, folder, self._stopping)
        self._lock = Lock()
        self._running: dict[str, Attempt] = {}
        self._left: set[Path] = set()
        counts: Mapping[Queue, int] = slot_counts(work.settings.worker)
        self._slots = Slots(counts, self._find_work)
        self._threads: list[Thread] = []
        work.bus.subscribe(CANCEL_TOPIC, self._on_cancel)

    def start(self) -> None:
        """Start answering rings, sweeping and beating."""
        worker = self._work.settings.worker
        self._slots.start()
        self._work.doorbell.answer(self._slots.wake)
        self._every(min(worker.beat_s, worker.lease_s / 3), "worker", self._beat)
        self._every(worker.sweep_s, "sweeper", self._beat_and_sweep)

    def stop(self) -> None:
        """Stop running processes, put their tasks back uncharged, end all threads."""
        self._stopping.set()
        self._work.doorbell.close()
        self._slots.close(_PATIENCE_S)
        for thread in self._threads:
            thread.join(timeout=_PATIENCE_S / 2)

    def _find_work(self, queue: Queue) -> Callable[[], None] | None:
        if self._stopping.is_set():
            return None
        with self._lock:  # one at a time: a task that must run alone is not claimed beside another
            claim = claim_task(self._work, queue, self.id)
            if claim is None:
                return None
            attempt = self._running[claim.task_id] = Attempt(self._bench, claim)
        return lambda: self._run(attempt)

    def _run(self, attempt: Attempt) -> None:
        try:
            attempt.run()
        finally:
            with self._lock:
                if self._running.get(attempt.claim.task_id) is attempt:
                    del self._running[attempt.claim.task_id]
                if attempt.folder.exists():
                    self._left.add(attempt.folder)

    def _on_cancel(self, message: Message) -> None:
        with self._lock:
            for attempt in self._running.values():
                if attempt.claim.job_id == message["job_id"]:
                    attempt.cancel()

    def _is_running(self, task_id: str) -> bool:
        with self._lock:
            return task_id in self._running

    def _every(self, seconds: float, name: str, action: Callable[[], None]) -> None:
        def loop() -> None:
            while True:
                try:
                    action()
                except TransientError as error:
                    log.warning(f"{name}.outage", code=error.code, detail=error.detail)
                except Exception:
                    log.exception(f"{name}.failed")
                if self._stopping.wait(seconds):
                    return

        thread = Thread(target=loop, name=name, daemon=True)
        thread.start()
        self._threads.append(thread)

    def _beat_and_sweep(self) -> None:
        """Say that this worker lives before leases are judged: after an outage of the database nobody has said so."""
        self._beat()
        self._sweep(Here(self._slots.has_idle, self._is_running))
        self._remove_left()

    def _remove_left(self) -> None:
        """Try again to remove the folders that an outage of the disk kept."""
        with self._lock:
            left, self._left = self._left, set()
        for folder in left:
            remove_tree(folder)
        with self._lock:
            self._left |= {folder for folder in left if folder.exists()}

    def _beat(self) -> None:
        with self._work.database.write() as session:
            now = db_now(session)
            node = session.get(WorkerNode, self.id)
            if node is None:
                node = WorkerNode(id=self.id, host=socket.gethostname(), capabilities=list(Queue), started_at=now)
                session.add(node)
            node.seen_at = now
