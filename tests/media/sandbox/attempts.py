"""One run of a stage that misbehaves, with a note of what it reported."""

from collections.abc import Callable
from pathlib import Path

import psutil

from sfserver.media.sandbox.parent import Sandbox, SandboxLimits, StageRun, StopReason
from tests.media.sandbox import sandbox_stages

LIMITS = SandboxLimits(memory_bytes=400 << 20, stall_s=30.0)
OUTPUT_BYTES = 8 << 20
STAGES = sandbox_stages.__name__


class Attempt:
    """One run with a note of what was reported."""

    def __init__(self, workdir: Path) -> None:
        self.workdir = workdir
        self.reports: list[dict[str, object]] = []
        self.limits = LIMITS
        self.cpu_s: float | None = None
        self.nice: int | None = None
        self.on_report: Callable[[dict[str, object]], None] = self.reports.append
        self.should_stop: Callable[[], StopReason | None] = lambda: None

    def run(self, stage: str, **arguments: object) -> StageRun:
        return Sandbox(self.limits).run(
            f"{STAGES}:{stage}",
            arguments,
            self.workdir,
            readable=[],
            output_bytes=OUTPUT_BYTES,
            on_report=self.on_report,
            should_stop=self.should_stop,
            cpu_s=self.cpu_s,
            nice=self.nice,
        )

    def stop_once_running(self, reason: StopReason = StopReason.CANCELLED) -> None:
        self.should_stop = lambda: reason if self.reports else None

    @property
    def pid(self) -> int:
        return int(str(self.reports[0]["pid"]))

    def assert_gone(self) -> None:
        assert not psutil.pid_exists(self.pid)
        assert psutil.Process().is_running()
