"""What a child uses, as the parent sees it from outside; a number the system doesn't tell, or of what is gone, is 0."""

import os
import stat
import sys
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

_CLOCK_TICKS = os.sysconf("SC_CLK_TCK")
MOST_ENTRIES = 4096
MOST_DEPTH = 4


@dataclass(frozen=True)
class ProcessUse:
    """Resident plus swapped bytes, threads, and seconds of CPU time so far."""

    memory_bytes: int = 0
    threads: int = 0
    cpu_s: float = 0.0


@dataclass(frozen=True)
class DirectoryUse:
    """Bytes and entries below a directory, and how deep the deepest lies (1: in the directory itself)."""

    size_bytes: int = 0
    entries: int = 0
    depth: int = 0


def process_use(pid: int) -> ProcessUse:
    """Ask the system what a process uses."""
    try:
        status = Path(f"/proc/{pid}/status").read_text()
        times = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[11:13]
    except OSError:
        return ProcessUse()
    fields = dict(line.split(":", 1) for line in status.splitlines())
    memory = sum(int(fields[name].split()[0]) << 10 for name in ("VmRSS", "VmSwap") if name in fields)
    return ProcessUse(memory, int(fields["Threads"]), sum(map(int, times)) / _CLOCK_TICKS)


def has_ended(pid: int) -> bool:
    """Tell whether a process is gone or waits to be reaped; False where the system doesn't tell the difference."""
    try:
        os.kill(pid, 0)
    except OSError:
        return True  # gone, or its number is another user's by now
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] in {"Z", "X"}
    except (FileNotFoundError, ProcessLookupError):
        return sys.platform.startswith("linux")
    except OSError:
        return False


def memory_available() -> int | None:
    """Return the bytes that can be had without swapping (MemAvailable, proc(5)), or None."""
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
    except OSError:
        return None
    fields = dict(line.split(":", 1) for line in lines)
    return int(fields["MemAvailable"].split()[0]) << 10 if "MemAvailable" in fields else None


def file_system_bytes(directory: Path) -> int:
    """Return the used bytes of the file system that holds a directory."""
    try:
        facts = os.statvfs(directory)
    except OSError:
        return 0
    return (facts.f_blocks - facts.f_bfree) * facts.f_frsize


def directory_use(directory: Path) -> DirectoryUse:
    """Measure what lies below a directory; what vanishes meanwhile counts nothing.

    It stops soon after `MOST_ENTRIES` or `MOST_DEPTH`: a child may have nested folders deeper than a path can say.
    """
    size = entries = depth = 0
    folders = [(str(directory), 1)]
    while folders and entries <= MOST_ENTRIES and depth <= MOST_DEPTH:
        folder, level = folders.pop()
        with suppress(OSError), os.scandir(folder) as listing:
            for entry in listing:
                entries, depth = entries + 1, max(depth, level)
                size += _size_of(entry)
                if entry.is_dir(follow_symlinks=False):
                    folders.append((entry.path, level + 1))
                if entries > MOST_ENTRIES:
                    break
    return DirectoryUse(size, entries, depth)


def _size_of(entry: os.DirEntry[str]) -> int:
    with suppress(OSError):
        facts = entry.stat(follow_symlinks=False)
        return facts.st_size if stat.S_ISREG(facts.st_mode) else 0
    return 0
