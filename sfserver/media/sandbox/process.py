"""One child process: have it forked, read from it, end it for certain."""

import atexit
import os
import select
import signal
import time
from collections.abc import Sequence
from contextlib import suppress

from sfserver.media.sandbox.child import Order, dump_order
from sfserver.media.sandbox.forkserver import ForkServers, is_readable, read_word
from sfserver.media.sandbox.usage import has_ended

_KEPT_ENVIRONMENT = ("PATH", "HOME", "LANG", "LC_ALL", "TMPDIR", "TZ")
_READ_BYTES = 1 << 20
_TERM_PATIENCE_S = 1.0
_KILL_PATIENCE_S = 10.0
_LOOK_S = 0.05
_REAP_S = 0.5
_UNTOLD_S = 5.0

_servers = ForkServers(["sfserver.media.sandbox.child"])
atexit.register(_servers.stop)


def start_fork_server(preload: Sequence[str] = ()) -> int:
    """Start the process that children are forked from, unless it runs, and return its id; it imports `preload` first.

    Raises OSError.
    """
    return _servers.start(preload, _clean_environment()).pid


def stop_fork_server() -> None:
    """Kill the process that children are forked from, and them; the next child gets a new one."""
    _servers.stop()


def _clean_environment() -> dict[str, str]:
    """Keep a few variables; the rest may hold secrets."""
    kept = {name: os.environ[name] for name in _KEPT_ENVIRONMENT if name in os.environ}
    # thread pools that start at import could not be confined afterwards
    return kept | {"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}


class ChildProcess:
    """A running child and the reading ends of its pipes."""

    def __init__(self, order: Order) -> None:
        """Fork it. Raises TransientError where the system has no room for another process."""
        forked = _servers.fork(dump_order(order), _clean_environment())
        self.pid = forked.pid
        self._messages, self._status = forked.messages, forked.status
        self.exit_code: int | None = None
        self.is_lost = False
        self._silent_since: float | None = None

    @property
    def has_ended(self) -> bool:
        """Whether its end was told, or nobody is left to tell it."""
        return self.exit_code is not None or self.is_lost

    @property
    def is_untold(self) -> bool:
        """Whether it ended a while ago and nobody told: the fork server is stopped."""
        if self._silent_since is None or self.has_ended or time.monotonic() < self._silent_since + _UNTOLD_S:
            return False
        return has_ended(self.pid)

    def wait(self, timeout_s: float) -> None:
        """Wait until it says something, ends, or the time is over."""
        poll = select.poll()
        if not self.has_ended:
            poll.register(self._status, select.POLLIN)
        if self._silent_since is None:
            poll.register(self._messages, select.POLLIN)
        if self._status in (fd for fd, _ in poll.poll(timeout_s * 1000)):
            self._take_status()

    def wait_for_end(self, timeout_s: float) -> bool:
        """Wait until it ended; tell whether it did."""
        if not self.has_ended and is_readable(self._status, timeout_s):
            self._take_status()
        return self.has_ended

    def _take_status(self) -> None:
        self.exit_code = read_word(self._status)
        if self.exit_code is None:
            self.is_lost = True
            self._signal(signal.SIGKILL)  # the kernel does this too, where it has a signal for a parent's death

    def read(self) -> bytes:
        """Take what it has sent, at most 1 MiB; empty when there is nothing now."""
        try:
            data = os.read(self._messages, _READ_BYTES)
        except BlockingIOError:
            return b""
        if not data and self._silent_since is None:
            self._silent_since = time.monotonic()
        return data

    def end(self) -> None:
        """Stop it if it runs, SIGTERM first, and give its resources back."""
        for number, patience_s in ((signal.SIGTERM, _TERM_PATIENCE_S), (signal.SIGKILL, _KILL_PATIENCE_S)):
            if not self.wait_for_end(0):
                self._signal(number)
                self._outwait(patience_s)
        if self.is_lost:
            self._outwait(_KILL_PATIENCE_S)
        os.close(self._messages)
        os.close(self._status)

    def _outwait(self, patience_s: float) -> None:
        """Wait until its end is told; where it can be seen, a stopped fork server is not waited for."""
        deadline = time.monotonic() + patience_s
        while self.exit_code is None and not has_ended(self.pid) and time.monotonic() < deadline:
            if self.is_lost:
                time.sleep(_LOOK_S)
            self.wait_for_end(_LOOK_S)
        self.wait_for_end(_REAP_S)

    def _signal(self, number: signal.Signals) -> None:
        """Signal the group, or the process alone while it has not made its group yet."""
        for send in (os.killpg, os.kill):
            with suppress(ProcessLookupError, PermissionError):  # gone, or its number is another's by now
                send(self.pid, number)
                return
