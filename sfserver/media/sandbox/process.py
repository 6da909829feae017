"""One child process of the fork server: start it, read from it, end it for certain."""

import multiprocessing
import multiprocessing.forkserver
import os
import signal
import stat
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from multiprocessing.connection import Connection, wait
from pathlib import Path
from types import ModuleType

from sfserver.errors import TransientError
from sfserver.media.sandbox import child
from sfserver.media.sandbox.child import Order

# What the fork server imports before its first fork: the child first, which wipes the environment it inherits.
_preloaded = ["sfserver.media.sandbox.child"]
_READ_BYTES = 1 << 20
_TERM_PATIENCE_S = 1.0
_KILL_PATIENCE_S = 10.0

# Process.start() polls every child of this process, and two polls of one child lose its exit code.
_PROCESS_TABLE = threading.Lock()


def start_fork_server(preload: Sequence[str] = ()) -> None:
    """Start the process that children are forked from, unless it runs; it imports `preload` before the first fork."""
    _preloaded.extend(module for module in preload if module not in _preloaded)
    multiprocessing.get_context("forkserver").set_forkserver_preload(_preloaded)
    multiprocessing.forkserver.ensure_running()


class ChildProcess:
    """A running child and the reading end of its pipe."""

    def __init__(self, order: Order) -> None:
        """Fork it. Raises TransientError where the system has no room for another process."""
        context = multiprocessing.get_context("forkserver")
        self._reader, writer = context.Pipe(duplex=False)
        self._process = context.Process(target=child.main, args=(order, writer), daemon=True)
        try:
            with _PROCESS_TABLE, _without_main_module():
                start_fork_server()
                self._process.start()
        except (OSError, EOFError) as error:
            self._reader.close()
            raise TransientError(f"no process for a media stage: {error}") from error
        finally:
            writer.close()
        os.set_blocking(self._reader.fileno(), False)
        self._open = True

    @property
    def pid(self) -> int:
        """Its process id, which is also its process group's."""
        return self._process.pid or 0

    @property
    def exit_code(self) -> int | None:
        """Its exit status, minus the signal that killed it, or None while it runs."""
        with _PROCESS_TABLE:
            return self._process.exitcode

    def wait(self, timeout_s: float) -> None:
        """Wait until it says something, ends, or the time is over."""
        sources: list[Connection | int] = [self._process.sentinel]
        if self._open:
            sources.append(self._reader)
        wait(sources, timeout_s)

    def wait_for_end(self, timeout_s: float) -> bool:
        """Wait until it ended; tell whether it did."""
        return bool(wait([self._process.sentinel], timeout_s))

    def read(self) -> bytes:
        """Take what it has sent, at most 1 MiB; empty when there is nothing now."""
        try:
            data = os.read(self._reader.fileno(), _READ_BYTES)
        except BlockingIOError:
            return b""
        self._open = bool(data)
        return data

    def end(self) -> None:
        """Stop it if it runs, SIGTERM first, and give its resources back."""
        for number, patience_s in ((signal.SIGTERM, _TERM_PATIENCE_S), (signal.SIGKILL, _KILL_PATIENCE_S)):
            if not self.wait_for_end(0):
                self._signal(number)
                self.wait_for_end(patience_s)
        self._reader.close()
        if self.exit_code is not None:
            self._process.close()

    def _signal(self, number: signal.Signals) -> None:
        """Signal the group, or the process alone while it has not made its group yet."""
        for send in (os.killpg, os.kill):
            with suppress(ProcessLookupError):
                send(self.pid, number)
                return


@contextmanager
def _without_main_module() -> Iterator[None]:
    """Hide the parent's script, which multiprocessing would else run again in every child."""
    main = sys.modules["__main__"]
    sys.modules["__main__"] = ModuleType("__main__")
    try:
        yield
    finally:
        sys.modules["__main__"] = main


def memory_in_use(pid: int) -> int:
    """Read resident plus swapped bytes of a process; 0 where the system doesn't tell or it is gone."""
    try:
        status = Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return 0
    fields = dict(line.split(":", 1) for line in status.splitlines())
    return sum(int(fields[name].split()[0]) << 10 for name in ("VmRSS", "VmSwap") if name in fields)


def directory_bytes(directory: Path) -> int:
    """Add up the files below a directory; what vanishes meanwhile counts nothing (so `os.walk`: `rglob` raises)."""
    total = 0
    for folder, _, names in os.walk(directory):
        for name in names:
            with suppress(OSError):
                facts = Path(folder, name).lstat()
                total += facts.st_size if stat.S_ISREG(facts.st_mode) else 0
    return total
