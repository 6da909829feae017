"""What a progress write and a recorded chunk cost at 30 and at 3,000 chunks, and how often an idle server rings."""

import argparse
import logging
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from threading import Event, Semaphore

import structlog

from bench.measuring import Row, print_table
from bench.runtime import CountingBell, add_job, open_runtime
from sfserver.infra.queue.contract import Queue
from sfserver.tasks import record
from sfserver.tasks.claim import claim_task
from sfserver.tasks.slots import Slots
from sfserver.tasks.stage import Claim
from sfserver.tasks.sweep import Here, sweep
from tests.tasks.made import RUNG, chunk_result, probe_result, run_of

FEW, MANY = 30, 3000
_SWEEPS_AN_HOUR = 360


class Bench:
    """A runtime whose one job has `chunks` chunks."""

    def __init__(self, folder: Path, chunks: int) -> None:
        self.bell = CountingBell()
        self.runtime = open_runtime(folder, self.bell)
        add_job(self.runtime, source_size_bytes=1 << 30)
        probe = self.claim(Queue.IO)
        record.record_success(self.runtime, probe, run_of(probe_result(chunks, audio=False)))

    def claim(self, queue: Queue) -> Claim:
        claim = claim_task(self.runtime, queue, "bench")
        assert claim is not None
        return claim

    def progress(self, claim: Claim) -> None:
        frames = {RUNG: 30}
        record.record_progress(self.runtime, claim, {"progress": 0.5, "frames": frames, "fps": {}})

    def done(self, claim: Claim) -> None:
        record.record_success(self.runtime, claim, run_of(chunk_result(claim.index)))


def cpu_ms(action: Callable[[], object]) -> float:
    """Return the CPU time of a call."""
    started = time.process_time()
    action()
    return 1000 * (time.process_time() - started)


def measure(bench: Bench, rounds: int) -> dict[str, list[float]]:
    """Claim, write progress and record `rounds` chunks; return the CPU of each, in ms."""
    found: dict[str, list[float]] = {"claim": [], "progress write": [], "recorded chunk": []}
    for _ in range(rounds):
        started = time.process_time()
        claim = bench.claim(Queue.ENCODE)
        found["claim"].append(1000 * (time.process_time() - started))
        found["progress write"].append(cpu_ms(lambda: bench.progress(claim)))  # noqa: B023 - called at once
        found["recorded chunk"].append(cpu_ms(lambda: bench.done(claim)))  # noqa: B023
    return found


def idle_rings(bench: Bench, *, busy: bool) -> int:
    """Return how often an hour of sweeps rings, with every slot busy (and chunks waiting) or all of them idle."""
    taken, freed = Semaphore(0), Event()

    def hold(_queue: Queue) -> Callable[[], None] | None:
        taken.release()
        return wait if busy and not freed.is_set() else None

    def wait() -> None:
        freed.wait()

    slots = Slots(dict.fromkeys(Queue, 1), hold)
    slots.start()
    for queue in Queue if busy else ():
        slots.wake(queue)
        taken.acquire()
    before = bench.bell.rings
    for _ in range(_SWEEPS_AN_HOUR):
        sweep(bench.runtime, Here(slots.has_idle))
    freed.set()
    slots.close(1.0)
    return bench.bell.rings - before


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=25)
    arguments, _ = parser.parse_known_args()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.WARNING))
    with tempfile.TemporaryDirectory(prefix="bench-", dir="/dev/shm") as folder:
        for size in (FEW, MANY):
            (Path(folder) / str(size)).mkdir()
        benches = {size: Bench(Path(folder) / str(size), size) for size in (FEW, MANY)}
        costs = {size: measure(bench, arguments.rounds) for size, bench in benches.items()}
        rows = [_row(what, costs[FEW][what], costs[MANY][what]) for what in costs[FEW]]
        many = benches[MANY]
        waiting = idle_rings(many, busy=True)
        rows.append(Row("rings in an hour, chunks waiting, slots busy", str(waiting), "<= 60", waiting <= 60))
        for queue in (Queue.ENCODE, Queue.INSIGHT):
            while claim_task(many.runtime, queue, "bench"):
                pass  # what is left is somebody's
        rings = idle_rings(many, busy=False)
        rows.append(Row("rings in an hour, nothing to do", str(rings), "<= 60", rings <= 60))
        print_table(f"tasks: CPU at {MANY} chunks against {FEW}", rows)
        for bench in benches.values():
            bench.runtime.database.close()


def _row(what: str, few: list[float], many: list[float]) -> Row:
    ratio = statistics.median(many) / statistics.median(few)
    measured = f"{statistics.median(many):.1f} ms against {statistics.median(few):.1f} ms: {ratio:.2f} x"
    return Row(what, measured, "<= 1.5 x", ratio <= 1.5)


if __name__ == "__main__":
    main()
