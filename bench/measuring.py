"""How things are measured here: CPU of whole process trees, paired runs, medians of ratios, one table."""

import contextlib
import os
import statistics
import subprocess
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from threading import Event, Thread
from types import TracebackType
from typing import Self

import psutil


@dataclass(frozen=True)
class Cost:
    """What a run took: wall clock, user + system CPU of all its processes, and its biggest process."""

    wall_s: float
    cpu_s: float
    peak_rss_bytes: int = 0


@dataclass(frozen=True)
class Row:
    """One line of the table. `is_met` is None where nothing was promised."""

    what: str
    measured: str
    target: str = ""
    is_met: bool | None = None


def run_command(command: Sequence[str | Path]) -> Cost:
    """Run a command to its end. Raises CalledProcessError."""
    started = time.monotonic()
    with subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL) as process:
        # wait4 counts the process and all it has waited for.
        _, status, used = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise subprocess.CalledProcessError(process.returncode, command)
    return Cost(time.monotonic() - started, used.ru_utime + used.ru_stime, used.ru_maxrss * 1024)


def tree_cpu_s(pid: int) -> float:
    """Return the CPU so far of a running process, its living descendants, and all that any of them has waited for."""
    root = psutil.Process(pid)
    times = [process.cpu_times() for process in (root, *root.children(recursive=True))]
    return sum(t.user + t.system + t.children_user + t.children_system for t in times)


def rss_bytes(pid: int) -> int:
    """Return the resident memory of a process."""
    return int(psutil.Process(pid).memory_info().rss)


def folder_bytes(folder: Path) -> int:
    """Return what the files of a folder take now; files that go meanwhile count nothing."""
    total = 0
    # os.walk passes over folders that are gone by the time it gets there.
    for path in (Path(parent, name) for parent, _, names in os.walk(folder) for name in names):
        with contextlib.suppress(FileNotFoundError):
            total += path.stat().st_size
    return total


class Peak:
    """Watch a number while a block runs: `with Peak(probe) as peak: …`, then `peak.value`."""

    def __init__(self, probe: Callable[[], int], interval_s: float = 0.1) -> None:
        self.value = 0
        self._probe, self._interval_s, self._ended = probe, interval_s, Event()
        self._thread = Thread(target=self._watch, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._ended.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._ended.wait(self._interval_s):
            try:
                self.value = max(self.value, self._probe())
            except psutil.NoSuchProcess:
                continue


def median_ratio(pairs: Sequence[tuple[float, float]]) -> float:
    """Return the median of a ÷ b over paired runs: what slows both runs of a pair cancels out."""
    return statistics.median(a / b for a, b in pairs)


def spread(values: Sequence[float]) -> str:
    """Write values shortly: the median and, of several, the range."""
    if len(values) == 1:
        return f"{values[0]:.2f}"
    return f"{statistics.median(values):.2f} ({min(values):.2f}–{max(values):.2f})"


def ratio_row(what: str, pairs: Sequence[tuple[float, float]], most: float) -> Row:
    """Judge the median of a ÷ b against the most it may be."""
    return Row(what, f"{spread([a / b for a, b in pairs])} ×", f"≤ {most:.2f} ×", median_ratio(pairs) <= most)


def print_table(title: str, rows: Sequence[Row]) -> None:
    """Print rows as a Markdown table."""
    marks = {True: "yes", False: "**no**", None: ""}
    print(f"\n### {title}\n\n| what | measured | promised | met |\n|---|---|---|---|")
    for row in rows:
        print(f"| {row.what} | {row.measured} | {row.target} | {marks[row.is_met]} |", flush=True)
