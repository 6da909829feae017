"""What a running stage reports: finished parts, which are stored and recorded, and progress, which may be lost."""

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import structlog

from sfserver.errors import TransientError
from sfserver.media.sandbox.parent import ChildCrashed, output_file
from sfserver.tasks import record
from sfserver.tasks.stage import AnyStage, Claim
from sfserver.tasks.work import Work

log = structlog.get_logger(__name__)
_PROGRESS_EVERY_S = 1.0


@dataclass
class Reports:
    """Takes the reports of one attempt; progress is written at most once a second."""

    work: Work
    stage: AnyStage
    claim: Claim
    folder: Path
    progressed: Callable[[int], None]
    written_at: float = 0.0
    counted_at: float = field(default_factory=time.monotonic)
    frames: dict[str, int] = field(default_factory=dict)

    def take(self, report: dict[str, Any]) -> None:
        """Take one report of the child; whether the lease is lost shows at the next beat."""
        self.progressed(0)
        if "part" in report:
            self._keep_part(report["index"], report["part"])
            return
        now = time.monotonic()
        if now - self.written_at < _PROGRESS_EVERY_S:
            return
        progress: dict[str, Any] = {"progress": self.stage.share(self.claim, report)}
        if frames := report.get("frames"):
            progress |= {"frames": frames, "fps": self._speeds(frames, now)}
        self.written_at = self.counted_at = now
        self.frames = frames or {}
        try:
            record.record_progress(self.work, self.claim, progress)
        except TransientError as error:
            log.warning("progress.not_written", job_id=self.claim.job_id, code=error.code)

    def _keep_part(self, index: int, part: dict[str, Any]) -> None:
        """Store and record a finished part. One that comes too late is garbage already: its key is an output."""
        name = str(part["file"])
        if name not in self.stage.outputs(self.claim):
            raise ChildCrashed(f"made a file that is not its own: {name[:100]!r}")
        key = self.stage.key(self.claim, name)
        self.work.store.put_file(key, output_file(self.folder, name), self.progressed)
        record.record_part(self.work, self.claim, index, key, part)

    def _speeds(self, frames: dict[str, int], now: float) -> dict[str, float]:
        elapsed_s = max(now - self.counted_at, 0.001)
        return {name: round((count - self.frames.get(name, 0)) / elapsed_s, 1) for name, count in frames.items()}
