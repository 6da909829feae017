"""Hurts media processes of a running server from outside: by job, by stage, by signal."""

import os
import signal
import sqlite3
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from threading import Event, Thread

STAGES = ("probe", "encode", "audio", "package")


@dataclass(frozen=True)
class Child:
    """A media process and the task it works on."""

    pid: int
    task_id: str
    job_id: str
    stage: str


@dataclass
class Order:
    """Send `number` to processes of `stage`, at most `times` often, each up to `delay_s` after it is seen."""

    stage: str
    number: signal.Signals
    times: int = 9
    delay_s: float = 0.0
    done: int = 0


@dataclass
class Reaper:
    """Watches the media processes of a server and carries out one order a job."""

    data_dir: Path
    server_pid: int
    random: Random
    orders: dict[str, Order] = field(default_factory=dict)
    hits: Counter[str] = field(default_factory=Counter)
    _due: dict[int, tuple[float, Child]] = field(default_factory=dict)
    _hit: set[int] = field(default_factory=set)
    _tasks: dict[str, tuple[str, str]] = field(default_factory=dict)

    @contextmanager
    def at_work(self) -> Iterator["Reaper"]:
        """Watch from a thread while the block runs."""
        stop = Event()
        thread = Thread(target=self._watch, args=(stop,), daemon=True)
        thread.start()
        try:
            yield self
        finally:
            stop.set()
            thread.join(timeout=10)

    def children(self) -> list[Child]:
        """Return the media processes that have begun their work."""
        found = []
        for fork_server in _children(self.server_pid):
            for pid in _children(fork_server):
                with suppress(OSError):
                    task_id = Path(f"/proc/{pid}/cwd").readlink().name.rpartition("-")[0]
                    if facts := self._facts(task_id):
                        found.append(Child(pid, task_id, *facts))
        return found

    def _watch(self, stop: Event) -> None:
        while not stop.wait(0.004):
            now = time.monotonic()
            for child in self.children():
                order = self.orders.get(child.job_id)
                if order and child.stage == order.stage and child.pid not in self._due and child.pid not in self._hit:
                    self._due[child.pid] = (now + self.random.uniform(0, order.delay_s), child)
            for pid, (at, child) in list(self._due.items()):
                if now >= at:
                    del self._due[pid]
                    self._strike(child)

    def _strike(self, child: Child) -> None:
        order = self.orders[child.job_id]
        self._hit.add(child.pid)
        if order.done < order.times and any(alive.pid == child.pid for alive in self.children()):
            with suppress(ProcessLookupError):
                os.kill(child.pid, order.number)
                order.done += 1
                self.hits[f"{child.stage} {order.number.name}"] += 1

    def _facts(self, task_id: str) -> tuple[str, str] | None:
        """Return a task's job and kind, which the database alone knows."""
        if not self._tasks.get(task_id):
            with sqlite3.connect(f"file:{self.data_dir / 'streamforge.db'}?mode=ro", uri=True) as database:
                row = database.execute("SELECT job_id, kind FROM tasks WHERE id = ?", (task_id,)).fetchone()
            database.close()
            if row is None:
                return None
            self._tasks[task_id] = row
        return self._tasks[task_id]


def _children(pid: int) -> list[int]:
    found: list[int] = []
    with suppress(OSError):  # the process is gone
        for thread in Path(f"/proc/{pid}/task").iterdir():
            with suppress(OSError):
                found += map(int, (thread / "children").read_text().split())
    return found


def wait_until(condition: Callable[[], bool], timeout_s: float) -> float:
    """Wait for a condition; return the seconds it took, asserting that it came at all."""
    started = time.monotonic()
    while not condition():
        assert time.monotonic() - started < timeout_s, f"not within {timeout_s} s"
        time.sleep(0.01)
    return time.monotonic() - started
