"""The fork server's own side: load the libraries, fork a child for each byte that comes, tell how each one ends.

It has one thread and never touches media. It lives in a session of its own and ignores SIGTERM, so that a stop of the
whole service leaves the end to the parent; it ends when the parent's socket does.
"""

import gc
import importlib
import os
import select
import signal
import socket
import struct
from collections.abc import Sequence
from contextlib import suppress

from sfserver.media.sandbox import child

_WORD = struct.Struct("<i")
_DESCRIPTORS = 3


def serve(control: int, preload: Sequence[str]) -> None:
    """Serve until the other end of the `control` socket is closed."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    for module in preload:
        with suppress(ImportError):  # the call that needs it says so
            importlib.import_module(module)
    gc.collect()
    gc.freeze()  # pages that the collector never writes stay shared with the children
    server = _Server(socket.socket(fileno=control))
    server.run()


class _Server:
    def __init__(self, control: socket.socket) -> None:
        self._control = control
        self._pid = os.getpid()
        self._tellers: dict[int, int] = {}
        self._wake, self._waker = os.pipe()
        os.set_blocking(self._wake, False)
        os.set_blocking(self._waker, False)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.set_wakeup_fd(self._waker, warn_on_full_buffer=False)

    def run(self) -> None:
        """Take orders and tell ends until the parent's socket is closed."""
        poll = select.poll()
        poll.register(self._control, select.POLLIN)
        poll.register(self._wake, select.POLLIN)
        while True:
            ready = [fd for fd, _ in poll.poll()]
            if self._wake in ready:
                os.read(self._wake, 4096)
                self._reap()
            if self._control.fileno() in ready:
                asked, descriptors, _, _ = socket.recv_fds(self._control, 1, _DESCRIPTORS)
                if not asked:
                    return
                self._fork(descriptors)

    def _fork(self, descriptors: list[int]) -> None:
        """Fork a child, unless this process had no room for what comes with it."""
        if len(descriptors) != _DESCRIPTORS:
            _close(descriptors)
            return
        order, messages, teller = descriptors
        try:
            pid = os.fork()
        except OSError as error:
            _tell(teller, -(error.errno or 1))
            _close(descriptors)
            return
        if pid == 0:
            self._become_child(order, messages)
        self._tellers[pid] = teller
        _close([order, messages])
        _tell(teller, pid)

    def _become_child(self, order: int, messages: int) -> None:
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        try:
            child.main(order, messages, self._pid)
        finally:
            os._exit(1)  # whatever happened, this loop is not the child's

    def _reap(self) -> None:
        """Tell the end of every child that ended."""
        while self._tellers:
            pid, status = os.waitpid(-1, os.WNOHANG)
            if pid == 0:
                return
            teller = self._tellers.pop(pid)
            _tell(teller, os.waitstatus_to_exitcode(status))
            os.close(teller)


def _tell(teller: int, word: int) -> None:
    """Write one number; nobody may be there to read it any more."""
    with suppress(BrokenPipeError):
        os.write(teller, _WORD.pack(word))


def _close(descriptors: Sequence[int]) -> None:
    for descriptor in descriptors:
        os.close(descriptor)
