"""How far a job is, from its stages and what runs now: pure arithmetic shared by the event stream and poll answers."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from sfserver.models import JobStage
from sfserver.wire.jobs import RungProgress, StageState


@dataclass(frozen=True)
class StageProgress:
    """One stage: the sizes of all its tasks, of those done, and the parts of those that run.

    `frames` are those recorded by rung name, of the encode stage alone.
    """

    kind: str
    state: StageState
    units: int = 0
    done_units: int = 0
    fatal: bool = True
    running: Sequence["TaskProgress"] = ()
    frames: Mapping[str, int] = field(default_factory=dict)

    @classmethod
    def from_row(cls, row: JobStage, running: Sequence["TaskProgress"]) -> "StageProgress":
        """Build one from a stage's row."""
        frames = row.tally.get("frames", {})
        return cls(row.kind, StageState(row.state), row.units, row.done_units, row.fatal, running, frames)

    @property
    def share(self) -> float:
        """How far it is, 0–1."""
        if self.state is StageState.DONE:
            return 1.0
        if not self.units:
            return 0.0
        return min(1.0, (self.done_units + sum(task.size * task.share for task in self.running)) / self.units)


@dataclass(frozen=True)
class TaskProgress:
    """A running task; `frames` and `fps` are per rung name, of encode tasks alone."""

    size: int
    share: float = 0.0
    frames: Mapping[str, int] = field(default_factory=dict)
    fps: Mapping[str, float] = field(default_factory=dict)

    @classmethod
    def from_row(cls, size: int, progress: Mapping[str, Any]) -> "TaskProgress":
        """Build one from the columns of a task row."""
        return cls(size, progress.get("progress", 0.0), progress.get("frames", {}), progress.get("fps", {}))


@dataclass(frozen=True)
class JobProgress:
    """A job's `progress` (0–1, below 1 until it is published), its stage and its rungs."""

    progress: float
    stage: str | None
    rungs: dict[str, RungProgress]


def summarise(
    plan: Mapping[str, Any] | None, stages: Sequence[StageProgress], shares: Mapping[str, float]
) -> JobProgress:
    """Sum stages up; `plan` is the job's `EncodePlan` as JSON, `shares` how much of the bar each stage fills."""
    by_kind = {stage.kind: stage for stage in stages}
    total = sum(share * by_kind[kind].share for kind, share in shares.items() if kind in by_kind)
    rungs: dict[str, RungProgress] = {}
    if plan is not None and "encode" in by_kind:
        rungs = {rung["name"]: _rung(rung["name"], by_kind["encode"], plan["frames"]) for rung in plan["rungs"]}
    return JobProgress(min(total, 0.999), _current_stage(stages, shares), rungs)


def estimate_eta_s(progress: float, elapsed_s: float) -> float | None:
    """Return the seconds left if the rest goes as fast as what is done; None while that would be a guess."""
    if progress < 0.03 or elapsed_s <= 0:
        return None
    return round(elapsed_s * (1.0 - progress) / progress, 1)


def rung_speed(plan: Mapping[str, Any] | None, rungs: Mapping[str, RungProgress], elapsed_s: float) -> float | None:
    """Return the seconds of video finished in all rungs per second of wall time."""
    if plan is None or not rungs or elapsed_s <= 0:
        return None
    duration_s = float(plan["frames"] * plan["fps"]["den"] / plan["fps"]["num"])
    return round(duration_s * min(rung.progress for rung in rungs.values()) / elapsed_s, 2)


def _rung(name: str, encode: StageProgress, frames: int) -> RungProgress:
    done = encode.frames.get(name, 0) + sum(task.frames.get(name, 0) for task in encode.running)
    speeds = [task.fps[name] for task in encode.running if name in task.fps]
    share = 1.0 if encode.state is StageState.DONE else done / max(1, frames)
    return RungProgress(progress=min(1.0, share), fps=round(sum(speeds), 1) if speeds else None)


def _current_stage(stages: Sequence[StageProgress], shares: Mapping[str, float]) -> str | None:
    """Name the stage a user waits for: the running one that takes longest, else the next one."""
    fatal = [stage for stage in stages if stage.fatal]
    running = [stage.kind for stage in fatal if stage.state is StageState.RUNNING]
    if running:
        return max(running, key=lambda kind: shares.get(kind, 0.0))
    waiting = {stage.kind for stage in fatal if stage.state is StageState.WAITING}
    return next((kind for kind in shares if kind in waiting), None)
