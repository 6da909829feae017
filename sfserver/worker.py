"""The worker: threads that answer doorbells, the sandbox they work in, the sweeper and the heartbeat beside them."""

import os
import socket
from collections.abc import Callable, Mapping
from pathlib import Path
from threading import Event, Thread

import structlog
from dramatiq import Broker
from dramatiq import Worker as DramatiqWorker

from sfserver.deps import Runtime
from sfserver.errors import TransientError
from sfserver.infra.db import db_now
from sfserver.infra.queue import Doorbell, Queue
from sfserver.jobs import sweep
from sfserver.jobs.actors import TaskRunner
from sfserver.media.sandbox.parent import Sandbox, SandboxLimits
from sfserver.models import WorkerNode, new_id
from sfserver.settings import Settings
from sfserver.uploads.service import sweep_expired
from sfserver.videos.service import purge_expired

log = structlog.get_logger(__name__)


def sandbox_limits(settings: Settings) -> SandboxLimits:
    """Return the sandbox's limits among the settings."""
    return SandboxLimits(
        memory_bytes=settings.sandbox.memory_bytes,
        stall_s=settings.sandbox.stall_s,
        beat_s=settings.worker.beat_s,
        nice=settings.sandbox.nice,
    )


def encode_concurrency(settings: Settings) -> int:
    """Return how many encode tasks run at once: as set, else half the cores."""
    return settings.worker.concurrency or max(1, (os.cpu_count() or 1) // 2)


def _sweep(runtime: Runtime) -> None:
    sweep.sweep(runtime)
    sweep_expired(runtime)
    purge_expired(runtime)


class WorkerThreads:
    """All threads of one worker process. `bell` is the doorbell this worker answers and rings."""

    def __init__(self, brokers: Mapping[Queue, Broker], sandbox: Sandbox) -> None:
        self.id = f"{socket.gethostname()}-{os.getpid()}-{new_id()[-6:]}"
        self._sandbox = sandbox
        self._runner: TaskRunner | None = None
        self._stopping = Event()
        self._workers: list[DramatiqWorker] = []
        self._threads: list[Thread] = []
        self.bell = Doorbell(brokers, self._answer)

    def start(self, runtime: Runtime, work_dir: Path) -> None:
        """Start answering rings, sweeping and beating."""
        self._runner = TaskRunner(runtime, self._sandbox, self.id, work_dir)
        worker = runtime.settings.worker
        counts = {Queue.ENCODE: encode_concurrency(runtime.settings), Queue.IO: worker.io_concurrency}
        self._workers = self.bell.start_workers(counts)
        self._every(worker.sweep_s, "sweeper", lambda: _sweep(runtime))
        self._every(min(worker.beat_s, worker.lease_s / 3), "heartbeat", lambda: self._beat(runtime))

    def stop(self) -> None:
        """Stop running processes, put their tasks back uncharged, end all threads."""
        self._stopping.set()
        if self._runner is not None:
            self._runner.stop()
        for worker in self._workers:
            worker.stop(timeout=10_000)
        for thread in self._threads:
            thread.join(timeout=5)

    def _answer(self, queue: Queue) -> None:
        if self._runner is not None:
            self._runner.answer(queue)

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

    def _beat(self, runtime: Runtime) -> None:
        with runtime.database.write() as session:
            now = db_now(session)
            node = session.get(WorkerNode, self.id)
            if node is None:
                node = WorkerNode(id=self.id, host=socket.gethostname(), capabilities=list(Queue), started_at=now)
                session.add(node)
            node.seen_at = now
