"""What processes read and write, as the kernel counts it (proc(5), /proc/PID/io).

A process's counters include those of the children it has waited for: `wait_task_zombie` in the kernel adds them, and
`check` sees to it that this one does. So those of the server and of its fork server tell of every media process, too.
"""

import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import psutil

_CHECK_BYTES = 8 << 20
_CHILD = "import subprocess, sys; subprocess.run([sys.executable, '-c', *sys.argv[1:]], check=True)"
_GRANDCHILD = "import os, sys; f = open(sys.argv[1], 'wb'); f.write(bytes(int(sys.argv[2]))); f.flush(); os.fsync(f)"


@dataclass(frozen=True)
class Moved:
    """Bytes by system calls (`read`, `written`, pipes and files in memory too), and those that made pages of a disk."""

    read: int
    written: int
    to_disk: int

    def __sub__(self, other: "Moved") -> "Moved":
        return Moved(self.read - other.read, self.written - other.written, self.to_disk - other.to_disk)


def moved_by(pid: int) -> Moved:
    """Return what a process, its living descendants and all whom any of them has waited for have moved so far."""
    root = psutil.Process(pid)
    counts = [_counters(process.pid) for process in (root, *root.children(recursive=True))]
    return Moved(*(sum(each[name] for each in counts) for name in ("rchar", "wchar", "write_bytes")))


def check(folder: Path) -> str | None:
    """Say what is wrong with the kernel's counting of what children of children write, or nothing."""
    path = folder / "accounting"
    before = moved_by(os.getpid())
    subprocess.run([sys.executable, "-c", _CHILD, _GRANDCHILD, path, str(_CHECK_BYTES)], check=True)
    path.unlink()
    found = (moved_by(os.getpid()) - before).to_disk
    if not _CHECK_BYTES <= found <= 1.1 * _CHECK_BYTES:
        return f"{_CHECK_BYTES} bytes that a grandchild wrote count as {found}"
    return None


def _counters(pid: int) -> dict[str, int]:
    lines = Path(f"/proc/{pid}/io").read_text().splitlines()
    return {name: int(value) for name, _, value in (line.partition(": ") for line in lines)}
