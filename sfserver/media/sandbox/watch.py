"""One child from its fork to its end, watched from outside."""

import errno
import math
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

from sfserver.errors import MediaLimitError
from sfserver.media.sandbox.child import LOG_NAME, Order
from sfserver.media.sandbox.confinement import Confinement
from sfserver.media.sandbox.endings import ChildCrashed, ChildLost, ChildTrouble, StageRun, Stopped, StopReason
from sfserver.media.sandbox.messages import (
    Crash,
    Failure,
    GarbageError,
    LastWord,
    MessageReader,
    Progress,
    Result,
    Trouble,
    WallsUp,
    printable,
)
from sfserver.media.sandbox.process import ChildProcess
from sfserver.media.sandbox.usage import (
    MOST_DEPTH,
    MOST_ENTRIES,
    directory_use,
    file_system_bytes,
    has_ended,
    memory_available,
    process_use,
)

_TICK_S = 0.25
_POLL_S = 0.5
_GOODBYE_S = 5.0
_LOG_TAIL_BYTES = 4096
_MEMORY_RESERVE_BYTES = 128 << 20
_GROSS_FACTOR, _GROSS_SLACK_BYTES = 4, 1 << 30

OnReport = Callable[[dict[str, object]], None]
ShouldStop = Callable[[], "StopReason | None"]


@dataclass(frozen=True)
class Watch:
    """What passes between a running stage and its task; `on_walls` is told once, before the stage begins."""

    on_report: OnReport
    should_stop: ShouldStop
    on_walls: Callable[[Confinement], None]


class Attempt:
    """One child from its fork to its end."""

    def __init__(self, order: Order, stall_s: float, watch: Watch) -> None:
        self._order, self._stall_s, self._watch = order, stall_s, watch
        self._before = directory_use(order.workdir)
        self._used_before = file_system_bytes(order.workdir)
        self._started = self._last_report = time.monotonic()
        self._next_check = self._next_poll = self._started
        self._peak_rss = 0
        self._walls: Confinement | None = None
        self._messages = MessageReader()
        self._child = ChildProcess(order)

    def run(self) -> StageRun:
        """Watch until there is an end of some kind; whatever it is, leave no process."""
        try:
            while True:
                self._child.wait(_TICK_S)
                ended = self._child.has_ended
                if (last := self._take_messages(to_the_end=ended)) is not None:
                    return self._finish(last)
                if ended:
                    self._explain_death()
                self._check()
        except GarbageError as error:
            raise ChildCrashed(f"sent garbage: {error}") from None
        finally:
            self._child.end()

    def _take_messages(self, *, to_the_end: bool) -> LastWord | None:
        """Hand out reports; return the message that ends the stage, if it came."""
        while data := self._child.read():
            for message in self._messages.feed(data):
                if isinstance(message, WallsUp):
                    self._take_walls(message.walls)
                elif isinstance(message, Progress):
                    self._last_report = time.monotonic()
                    self._watch.on_report(message.values)
                else:
                    return message
            if not to_the_end:
                break
        return None

    def _take_walls(self, walls: Confinement) -> None:
        if self._walls is not None:
            raise GarbageError("the walls went up twice")
        self._walls = walls
        self._watch.on_walls(walls)

    def _finish(self, last: LastWord) -> StageRun:
        """Turn the child's last word into a result or an error."""
        match last:
            case Failure(error):
                raise error
            case Trouble(number, detail):
                raise ChildTrouble(number, detail)
            case Crash(out_of_memory=True):
                raise self._memory_error()
            case Crash(detail=detail):
                raise self._crash(f"failed: {detail}")
            case Result():
                return self._finish_well(last)

    def _finish_well(self, last: Result) -> StageRun:
        if not self._child.wait_for_end(_GOODBYE_S) or self._child.exit_code != 0:
            self._explain_death()
        self._check_output()
        return StageRun(
            last.values, last.cpu_s, time.monotonic() - self._started, max(last.peak_rss_bytes, self._peak_rss)
        )

    def _check(self) -> None:
        """Ask whether to stop, and look at silence, memory and disk, each as often as it needs."""
        now = time.monotonic()
        if now < self._next_check:
            return
        self._next_check = now + _TICK_S
        if reason := self._watch.should_stop():
            raise Stopped(reason)
        if self._child.is_untold:
            raise ChildLost("the fork server did not tell its end")
        if now - self._last_report > self._stall_s:
            raise self._crash(f"made no progress for {self._stall_s:g} s")
        self._check_process()
        if now >= self._next_poll:
            self._next_poll = now + _POLL_S
            self._check_output()

    def _check_process(self) -> None:
        """Compare memory, threads and CPU time with their limits."""
        use, bounds = process_use(self._child.pid), self._order.limits
        self._peak_rss = max(self._peak_rss, use.memory_bytes)
        if use.memory_bytes > bounds.memory_bytes:
            raise self._memory_error()
        if use.threads > bounds.threads:
            raise MediaLimitError("threads", limit=bounds.threads, value=use.threads)
        if bounds.cpu_s is not None and use.cpu_s > math.ceil(bounds.cpu_s) + 1:
            raise MediaLimitError("cpu_s", limit=bounds.cpu_s, value=use.cpu_s)

    def _check_output(self) -> None:
        """Compare what lies in the work directory with its limits."""
        use, limit = directory_use(self._order.workdir), self._order.limits.output_bytes
        written = use.size_bytes - self._before.size_bytes
        if written > limit:
            raise MediaLimitError("output_bytes", limit=limit, value=written)
        if use.entries > MOST_ENTRIES:
            raise MediaLimitError("output_files", limit=MOST_ENTRIES, value=use.entries)
        if use.depth > MOST_DEPTH:
            raise MediaLimitError("output_depth", limit=MOST_DEPTH, value=use.depth)
        if self._walls is not None and not (self._walls.landlock_abi or self._walls.seccomp):
            # Without either a child can remove what it holds open. Others write to this file system too.
            grown = file_system_bytes(self._order.workdir) - self._used_before
            if grown > _GROSS_FACTOR * limit + _GROSS_SLACK_BYTES:
                raise MediaLimitError("output_bytes", limit=limit, value=grown)

    def _memory_error(self) -> MediaLimitError | ChildTrouble:
        """Blame the media, unless the machine itself has no memory left."""
        available, limit = memory_available(), self._order.limits.memory_bytes
        if available is not None and available < _MEMORY_RESERVE_BYTES:
            return ChildTrouble(errno.ENOMEM, f"the machine has {available >> 20} MiB of memory left")
        return MediaLimitError("memory", limit=limit, value=max(limit, self._peak_rss))

    def _explain_death(self) -> NoReturn:
        """Say why a child that had not finished is dead."""
        code = self._child.exit_code
        patience_until = time.monotonic() + (1.0 if code == -signal.SIGTERM or code is None else 0.0)
        while not (reason := self._watch.should_stop()) and time.monotonic() < patience_until:
            time.sleep(_TICK_S)  # a stop of the whole service reaches the child first
        if reason:
            raise Stopped(reason)
        if self._child.is_lost:
            raise ChildLost("the fork server died")
        if code is None and has_ended(self._child.pid):
            raise ChildLost("the fork server did not tell its end")
        self._explain_limit_signal(code)
        if code is None or code >= 0:
            raise self._crash("did not end" if code is None else f"exited with status {code}")
        name = signal.Signals(-code).name
        raise self._crash(f"was killed by {name}", signal_name=name)

    def _explain_limit_signal(self, code: int | None) -> None:
        bounds = self._order.limits
        if code == -signal.SIGXFSZ:
            raise MediaLimitError("output_bytes", limit=bounds.output_bytes, value=bounds.output_bytes + 1)
        if code == -signal.SIGXCPU and bounds.cpu_s is not None:
            raise MediaLimitError("cpu_s", limit=bounds.cpu_s, value=math.ceil(bounds.cpu_s))

    def _crash(self, reason: str, *, signal_name: str | None = None) -> ChildCrashed:
        return ChildCrashed(reason, signal_name=signal_name, log=_printable_tail(self._order.workdir / LOG_NAME))


def _printable_tail(log: Path) -> str:
    """Read the end of a child's log, which its input may have written."""
    try:
        with log.open("rb") as file:
            file.seek(max(0, log.stat().st_size - _LOG_TAIL_BYTES))
            text = file.read(_LOG_TAIL_BYTES).decode(errors="replace")
    except OSError:
        return ""
    return printable(text, _LOG_TAIL_BYTES)
