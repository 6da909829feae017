"""The parent's side of the sandbox: start a child for one stage, watch it, and say how it ended.

A crash, a hang or a memory bomb costs the child and nothing else. What a child sends is JSON, of bounded size, from
a process that may have been taken over by its input: it is parsed, checked and never unpickled.
"""

import json
import signal
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from sfserver.errors import MediaLimitError
from sfserver.media.sandbox.calls import load_call
from sfserver.media.sandbox.child import LOG_NAME, Order
from sfserver.media.sandbox.confinement import ResourceLimits
from sfserver.media.sandbox.messages import (
    Crash,
    Failure,
    GarbageError,
    LastWord,
    MessageReader,
    Progress,
    Result,
    printable,
)
from sfserver.media.sandbox.process import ChildProcess, directory_bytes, memory_in_use, start_fork_server

_TICK_S = 0.25
_POLL_S = 0.5
_GOODBYE_S = 5.0
_LOG_TAIL_BYTES = 4096

OnReport = Callable[[dict[str, object]], None]
ShouldStop = Callable[[], "StopReason | None"]
Beat = Callable[[], bool]


class StopReason(StrEnum):
    """Why a stage that was doing well is stopped."""

    CANCELLED = "cancelled"
    SHUTDOWN = "shutdown"


class Stopped(Exception):  # noqa: N818 - nothing went wrong
    """The stage was stopped because somebody asked for it."""

    def __init__(self, reason: StopReason) -> None:
        self.reason = reason
        super().__init__(str(reason))


class LeaseLost(Exception):  # noqa: N818 - nothing went wrong
    """Somebody else owns the task now; the child is gone, its output is to be thrown away."""


class ChildCrashed(Exception):  # noqa: N818 - a fact about the child, which costs one attempt
    """The child died, by itself or because it used too much.

    `reason` completes "the media process …" for people; `signal_name` is set when a signal killed it; `log` is the
    end of what it wrote to its standard error, printable characters only.
    """

    def __init__(self, reason: str, *, signal_name: str | None = None, log: str = "") -> None:
        self.reason, self.signal_name, self.log = reason, signal_name, log
        super().__init__(reason)


@dataclass(frozen=True)
class SandboxLimits:
    """What a stage may use, how often its lease is renewed, and how long it may be silent."""

    memory_bytes: int = 2 << 30
    nice: int = 10
    stall_s: float = 60.0
    beat_s: float = 10.0
    open_files: int = 256
    oom_score_adj: int = 800


@dataclass(frozen=True)
class StageRun:
    """What a call gave back, as the dataclass it returns, and what it cost."""

    result: Any
    cpu_s: float
    wall_s: float
    peak_rss_bytes: int


class Sandbox:
    """Runs stages in children; one `run` per calling thread, any number of threads."""

    def __init__(self, limits: SandboxLimits, *, preload: Iterable[str] = ()) -> None:
        """Take the limits; the modules of the `preload` calls are imported before the first fork."""
        self._limits = limits
        self._preload = sorted({name.partition(":")[0] for name in preload})
        self._closed = threading.Event()

    def start(self) -> None:
        """Start the fork server, so that the first stage needn't wait for it; call it before any thread starts."""
        start_fork_server(self._preload)

    def close(self) -> None:
        """Stop every running stage (`Stopped`, shutdown) and take no more; the fork server ends with this process."""
        self._closed.set()

    def run(
        self,
        call: str,
        arguments: object,
        workdir: Path,
        *,
        readable: Sequence[Path],
        output_bytes: int,
        on_report: OnReport,
        should_stop: ShouldStop,
        beat: Beat,
    ) -> StageRun:
        """Run the call "module:function" in a child that can read `readable` and write `workdir`, and wait for it.

        `on_report` gets each report in order; `should_stop` is asked four times a second; `beat` is called every
        `beat_s` in which there was a report, and False from it means the lease is lost.

        Raises PermanentError (the stage refused its input, or wrote more than `output_bytes`), ChildCrashed, Stopped,
        LeaseLost, TransientError (no process could be started) and what the callbacks raise. In every case the child
        is gone.
        """
        limits = self._limits
        bounds = ResourceLimits(limits.memory_bytes, output_bytes, limits.open_files, limits.nice, limits.oom_score_adj)
        loaded = load_call(call)
        dumped = json.dumps(loaded.dump_arguments(arguments))
        order = Order(call, dumped, workdir.resolve(), tuple(readable), bounds)
        watch = _Watch(on_report, self._or_closed(should_stop), beat)
        run = _Attempt(order, limits, watch).run()
        try:
            return replace(run, result=loaded.result.validate_python(run.result))
        except ValidationError as error:
            raise ChildCrashed(f"sent garbage: {printable(str(error), 200)}") from None

    def _or_closed(self, should_stop: ShouldStop) -> ShouldStop:
        return lambda: StopReason.SHUTDOWN if self._closed.is_set() else should_stop()


def output_file(workdir: Path, name: str) -> Path:
    """Find a file a stage says it made. Raises ChildCrashed unless it is a plain file below `workdir`."""
    path = workdir.resolve() / name
    if path.resolve() != path or not path.is_relative_to(workdir.resolve()) or not path.is_file():
        raise ChildCrashed(f"named a file it did not make: {name[:100]!r}")
    return path


@dataclass(frozen=True)
class _Watch:
    """The three questions and answers between a running stage and its task."""

    on_report: OnReport
    should_stop: ShouldStop
    beat: Beat


class _Attempt:
    """One child from its fork to its end."""

    def __init__(self, order: Order, limits: SandboxLimits, watch: _Watch) -> None:
        self._order, self._limits, self._watch = order, limits, watch
        self._output_before = directory_bytes(order.workdir)
        self._started = self._last_report = self._last_beat = time.monotonic()
        self._next_check = self._next_poll = self._started
        self._peak_rss = 0
        self._messages = MessageReader()
        self._child = ChildProcess(order)

    def run(self) -> StageRun:
        """Watch until there is an end of some kind; whatever it is, leave no process."""
        try:
            while True:
                self._child.wait(_TICK_S)
                ended = self._child.exit_code is not None
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
                if not isinstance(message, Progress):
                    return message
                self._last_report = time.monotonic()
                self._watch.on_report(message.values)
            if not to_the_end:
                break
        return None

    def _finish(self, last: LastWord) -> StageRun:
        """Turn the child's last word into a result or an error."""
        match last:
            case Failure(error):
                raise error
            case Crash(out_of_memory=True):
                raise self._crash(self._memory_text())
            case Crash(detail=detail):
                raise self._crash(f"failed: {detail}")
            case Result(values, cpu_s, peak_rss):
                if not self._child.wait_for_end(_GOODBYE_S) or self._child.exit_code != 0:
                    self._explain_death()
                wall_s = time.monotonic() - self._started
                return StageRun(values, cpu_s, wall_s, max(peak_rss, self._peak_rss))

    def _check(self) -> None:
        """Ask whether to stop, and look at silence, lease, memory and disk, each as often as it needs."""
        now = time.monotonic()
        if now < self._next_check:
            return
        self._next_check = now + _TICK_S
        if reason := self._watch.should_stop():
            raise Stopped(reason)
        if now - self._last_report > self._limits.stall_s:
            raise self._crash(f"made no progress for {self._limits.stall_s:g} s")
        if now >= self._next_poll:
            self._next_poll = now + _POLL_S
            self._check_use()
        if now - self._last_beat >= self._limits.beat_s and self._last_report > self._last_beat:
            self._last_beat = now
            if not self._watch.beat():
                raise LeaseLost

    def _check_use(self) -> None:
        """Compare memory and output with their limits."""
        memory = memory_in_use(self._child.pid)
        self._peak_rss = max(self._peak_rss, memory)
        if memory > self._limits.memory_bytes:
            raise self._crash(self._memory_text())
        self._check_output(directory_bytes(self._order.workdir) - self._output_before)

    def _check_output(self, written: int) -> None:
        limit = self._order.limits.output_bytes
        if written > limit:
            raise MediaLimitError("output_bytes", limit=limit, value=written)

    def _explain_death(self) -> None:
        """Say why a child that had not finished is dead."""
        code = self._child.exit_code
        if code == -signal.SIGXFSZ:
            self._check_output(self._order.limits.output_bytes + 1)
        patience_until = time.monotonic() + (1.0 if code == -signal.SIGTERM else 0.0)
        while not (reason := self._watch.should_stop()) and time.monotonic() < patience_until:
            time.sleep(_TICK_S)  # a stop of the whole service reaches the child first
        if reason:
            raise Stopped(reason)
        if code is None or code >= 0:
            raise self._crash("did not end" if code is None else f"exited with status {code}")
        name = signal.Signals(-code).name
        raise self._crash(f"was killed by {name}", signal_name=name)

    def _memory_text(self) -> str:
        return f"used more than {self._limits.memory_bytes >> 20} MiB of memory"

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
