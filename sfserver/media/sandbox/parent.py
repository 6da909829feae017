"""The parent's side of the sandbox: start a child for one stage, watch it, and say how it ended.

A crash, a hang or a memory bomb costs the child and nothing else. What a child sends is JSON, of bounded size, from
a process that may have been taken over by its input: it is parsed, checked and never unpickled.
"""

import json
import threading
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory

from pydantic import ValidationError

from sfserver.errors import ConflictError, OutageError
from sfserver.media.sandbox.calls import do_nothing, load_call
from sfserver.media.sandbox.child import Order
from sfserver.media.sandbox.confinement import Confinement, ResourceLimits, Wall
from sfserver.media.sandbox.endings import ChildCrashed, ChildLost, ChildTrouble, StageRun, Stopped, StopReason
from sfserver.media.sandbox.messages import printable
from sfserver.media.sandbox.process import start_fork_server
from sfserver.media.sandbox.watch import Attempt, OnReport, ShouldStop, Watch

__all__ = [
    "ChildCrashed",
    "ChildLost",
    "ChildTrouble",
    "Sandbox",
    "SandboxLimits",
    "StageRun",
    "StopReason",
    "Stopped",
    "output_file",
]

_WALLS_HINT = "use Linux 5.13 or newer with Landlock and seccomp, or unset SF_SANDBOX__REQUIRE_WALLS"


@dataclass(frozen=True)
class SandboxLimits:
    """What a stage may use, and how long it may be silent; `omit_walls` does without some walls, for tests."""

    memory_bytes: int = 2 << 30
    nice: int = 10
    stall_s: float = 60.0
    open_files: int = 256
    oom_score_adj: int = 800
    threads: int = 64
    require_walls: bool = False
    omit_walls: Sequence[Wall] = ()

    def of_child(self, output_bytes: int, cpu_s: float | None, nice: int | None) -> ResourceLimits:
        """Return what one child may use."""
        return ResourceLimits(
            memory_bytes=self.memory_bytes,
            output_bytes=output_bytes,
            open_files=self.open_files,
            threads=self.threads,
            nice=self.nice if nice is None else nice,
            oom_score_adj=self.oom_score_adj,
            cpu_s=cpu_s,
        )


class Sandbox:
    """Runs stages in children; one `run` per calling thread, any number of threads."""

    def __init__(self, limits: SandboxLimits, *, preload: Iterable[str] = ()) -> None:
        """Take the limits; the modules of the `preload` calls are imported before the first fork."""
        self._limits = limits
        self._preload = sorted({name.partition(":")[0] for name in preload})
        self._closed = threading.Event()
        self._walls: Confinement | None = None

    def start(self) -> None:
        """Start the fork server, so that the first stage needn't wait for it.

        Raises TransientError where no process can be started, and where the limits require walls and one is missing
        ConflictError.
        """
        try:
            start_fork_server(self._preload)
        except OSError as error:
            raise OutageError(f"no process for media stages: {error}") from error
        if self._limits.require_walls and not (walls := self.walls()).complete:
            raise ConflictError(f"the walls round media processes are incomplete: {walls}", hint=_WALLS_HINT)

    def close(self) -> None:
        """Stop every running stage (`Stopped`, shutdown) and take no more; the fork server ends with this process."""
        self._closed.set()

    def run(  # noqa: PLR0913 - one call says all that a stage gets; six of them by name
        self,
        call: str,
        arguments: object,
        workdir: Path,
        *,
        readable: Sequence[Path],
        output_bytes: int,
        on_report: OnReport,
        should_stop: ShouldStop,
        cpu_s: float | None = None,
        nice: int | None = None,
    ) -> StageRun:
        """Run the call "module:function" in a child that can read `readable` and write `workdir`, and wait for it.

        `on_report` gets each report in order; `should_stop` is asked four times a second. `cpu_s` bounds the child's
        CPU time, `nice` overrides the limits' niceness.

        Raises PermanentError (the stage refused its input; `MediaLimitError` where it met a limit of its own: memory,
        output_bytes, cpu_s, threads), ChildCrashed, ChildTrouble, ChildLost, Stopped, TransientError (no process
        could be started) and what the callbacks raise. In every case the child is gone.
        """
        limits = self._limits
        bounds = limits.of_child(output_bytes, cpu_s, nice)
        loaded = load_call(call)
        dumped = json.dumps(loaded.dump_arguments(arguments))
        order = Order(call, dumped, workdir.resolve(), tuple(readable), bounds, tuple(limits.omit_walls))
        watch = Watch(on_report, self._or_closed(should_stop), self._note_walls)
        run = Attempt(order, limits.stall_s, watch).run()
        try:
            return replace(run, result=loaded.result.validate_python(run.result))
        except ValidationError as error:
            raise ChildCrashed(f"sent garbage: {printable(str(error), 200)}") from None

    def walls(self) -> Confinement:
        """Say which walls stood round the last child; where there was none yet, one that does nothing tells.

        Raises TransientError where it can't be told.
        """
        if self._walls is None:
            try:
                self._try_walls()
            except (OSError, ChildTrouble, ChildLost, ChildCrashed, Stopped) as error:
                raise OutageError(f"no media process tells its walls: {error}") from error
        assert self._walls is not None
        return self._walls

    def _try_walls(self) -> None:
        """Start a child that does nothing, whatever walls are required."""
        bare = Sandbox(replace(self._limits, require_walls=False))
        with TemporaryDirectory() as workdir:
            bare.run(
                f"{do_nothing.__module__}:{do_nothing.__name__}",
                {},
                Path(workdir),
                readable=[],
                output_bytes=1 << 20,
                on_report=lambda _: None,
                should_stop=lambda: None,
            )
        self._walls = bare._walls

    def _note_walls(self, walls: Confinement) -> None:
        self._walls = walls
        if self._limits.require_walls and not walls.complete:
            raise OutageError(f"the walls round media processes are incomplete: {walls}")

    def _or_closed(self, should_stop: ShouldStop) -> ShouldStop:
        return lambda: StopReason.SHUTDOWN if self._closed.is_set() else should_stop()


def output_file(workdir: Path, name: str) -> Path:
    """Find a file a stage says it made. Raises ChildCrashed unless it is a plain file below `workdir`."""
    path = workdir.resolve() / name
    if path.resolve() != path or not path.is_relative_to(workdir.resolve()) or not path.is_file():
        raise ChildCrashed(f"named a file it did not make: {name[:100]!r}")
    return path
