"""The process that media processes are forked from: the libraries are loaded once, so that a child starts in 10 ms.

It is our own because the standard library's can't be given a deadline: a stopped one holds a lock for ever, and the
death of one reads as the death of each of its children. A child is asked for by one byte with three descriptors: its
order, the pipe for its messages, and the pipe on which this process says what becomes of it: its process id (or
minus the errno of a fork that failed), then its exit status. End of file without a status: the fork server died.
"""

import errno
import json
import os
import select
import socket
import struct
import subprocess
import sys
import tempfile
import threading
import weakref
from collections.abc import Mapping, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from sfserver.errors import OutageError

_BOOT_S = 30.0
_START_S = 5.0
_WORD = struct.Struct("<i")
_BOOT = (
    "import json, sys; given = json.loads(sys.argv[1]); sys.path[:] = given['path']; "
    "from sfserver.media.sandbox.forking import serve; serve(given['control'], given['preload'])"
)


class ForkServerGone(Exception):  # noqa: N818 - a fact; whoever meets it takes the next fork server
    """The fork server died, or did not answer in time and was killed."""


@dataclass(frozen=True)
class Forked:
    """A child that has started: its process id and the reading ends of its two pipes."""

    pid: int
    messages: int
    status: int


class ForkServer:
    """The parent's handle of one fork server; any thread may ask it for children."""

    def __init__(self, preload: Sequence[str], environment: Mapping[str, str]) -> None:
        """Start it; it loads the `preload` modules while this returns. Raises OSError."""
        control, theirs = socket.socketpair()
        given = {"path": [str(Path(entry).absolute()) for entry in sys.path], "preload": list(preload)}
        try:
            self._process = subprocess.Popen(
                [sys.executable, "-I", "-c", _BOOT, json.dumps(given | {"control": theirs.fileno()})],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                pass_fds=[theirs.fileno()],
                env=environment,
                start_new_session=True,
            )
        except OSError:
            control.close()
            raise
        finally:
            theirs.close()
        control.settimeout(_START_S)
        self._control = control
        # closed when no thread holds this any more: a number that is closed earlier may be somebody else's by then
        weakref.finalize(self, control.close)
        self._has_answered = False

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._process.pid

    def is_alive(self) -> bool:
        """Tell whether it has not ended (a stopped one has not)."""
        return self._process.poll() is None

    def kill(self) -> None:
        """End it and, with it, every child it has."""
        self._process.kill()
        self._process.wait()

    def fork(self, order: bytes) -> Forked:
        """Start a child. Raises ForkServerGone, TransientError (no room for a process) and OSError."""
        with ExitStack() as ours, ExitStack() as theirs:
            messages, writer = _open_pipe(ours, theirs)
            status, teller = _open_pipe(ours, theirs)
            self._ask([theirs.enter_context(_order_file(order)).fileno(), writer, teller])
            theirs.close()
            pid = self._answer(status)
            ours.pop_all()
        os.set_blocking(messages, False)
        return Forked(pid, messages, status)

    def _ask(self, descriptors: list[int]) -> None:
        try:
            socket.send_fds(self._control, [b"+"], descriptors)
        except OSError as error:
            if isinstance(error, TimeoutError):
                self.kill()
            raise ForkServerGone(f"it did not take the order: {error}") from None

    def _answer(self, status: int) -> int:
        """Wait for the child's process id; the first one also for the libraries to be loaded."""
        deadline_s = _START_S if self._has_answered else _BOOT_S
        if not is_readable(status, deadline_s):
            self.kill()
            raise ForkServerGone(f"it had started no child after {deadline_s:g} s")
        pid = read_word(status)
        if pid is None:
            with suppress(subprocess.TimeoutExpired):
                self._process.wait(1.0)  # its descriptors close a moment before its end shows
            if self.is_alive():
                raise OSError(errno.EMFILE, "the fork server has no descriptors left")
            raise ForkServerGone("it died before it started the child")
        if pid < 0:
            raise OSError(-pid, os.strerror(-pid))
        self._has_answered = True
        return pid


class ForkServers:
    """The one fork server of this process, started anew when it has died."""

    def __init__(self, preload: Sequence[str]) -> None:
        self._preload = list(preload)
        self._lock = threading.Lock()
        self._current: ForkServer | None = None

    def start(self, preload: Sequence[str], environment: Mapping[str, str]) -> ForkServer:
        """Return the one that runs, or start one that loads everything asked for so far. Raises OSError."""
        with self._lock:
            self._preload.extend(module for module in preload if module not in self._preload)
            if self._current is None or not self._current.is_alive():
                self._current = ForkServer(self._preload, environment)
            return self._current

    def stop(self) -> None:
        """Kill the one that runs, with all its children."""
        with self._lock:
            if self._current is not None:
                self._current.kill()

    def fork(self, order: bytes, environment: Mapping[str, str]) -> Forked:
        """Start a child; take a new fork server where the first doesn't answer. Raises TransientError."""
        try:
            try:
                return self.start([], environment).fork(order)
            except ForkServerGone:
                return self.start([], environment).fork(order)
        except (ForkServerGone, OSError) as error:
            raise OutageError(f"no process for a media stage: {error}") from error


def is_readable(fd: int, timeout_s: float) -> bool:
    """Wait until there is something to read, or its end; tell whether there was."""
    poll = select.poll()
    poll.register(fd, select.POLLIN)
    return bool(poll.poll(timeout_s * 1000))


def read_word(status: int) -> int | None:
    """Read one number from a status pipe; None at its end."""
    data = os.read(status, _WORD.size)
    return int(_WORD.unpack(data)[0]) if len(data) == _WORD.size else None


def _open_pipe(ours: ExitStack, theirs: ExitStack) -> tuple[int, int]:
    """Open a pipe whose reading end is closed with `ours` and whose writing end with `theirs`."""
    reader, writer = os.pipe()
    ours.callback(os.close, reader)
    theirs.callback(os.close, writer)
    return reader, writer


def _order_file(order: bytes) -> BinaryIO:
    """Put an order where a child can read it at its own pace, and its parent need not wait."""
    if sys.platform == "linux":
        file: BinaryIO = os.fdopen(os.memfd_create("order"), "w+b")
    else:
        file = tempfile.TemporaryFile()  # noqa: SIM115 - whoever asked for it closes it
    file.write(order)
    file.flush()
    return file
