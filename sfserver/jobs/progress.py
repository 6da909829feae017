"""How far a job is, from its tasks: pure arithmetic shared by the event stream and the poll answers."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from sfserver.wire.jobs import RungProgress, StageState

# Shares of the whole that the stages take in wall time, measured on clips of 5 to 120 s; they only steer the bar.
_WEIGHTS = {"probe": 0.02, "encode": 0.90, "audio": 0.04, "package": 0.04}
STAGES = tuple(_WEIGHTS)


@dataclass(frozen=True)
class TaskProgress:
    """What the arithmetic needs of one task; `frames` and `fps` are per rung name, of encode tasks alone."""

    kind: str
    state: StageState
    progress: float = 0.0
    frames: Mapping[str, int] = field(default_factory=dict)
    fps: Mapping[str, float] = field(default_factory=dict)

    @classmethod
    def from_row(cls, kind: str, state: str, progress: Mapping[str, Any]) -> "TaskProgress":
        """Build one from the columns of a task row."""
        return cls(
            kind, StageState(state), progress.get("progress", 0.0), progress.get("frames", {}), progress.get("fps", {})
        )

    @property
    def share(self) -> float:
        """How far this task is, 0–1."""
        return 1.0 if self.state is StageState.DONE else self.progress


@dataclass(frozen=True)
class JobProgress:
    """A job's `progress` (0–1, below 1 until it is published), its stage and its rungs."""

    progress: float
    stage: str | None
    rungs: dict[str, RungProgress]


def summarise(plan: Mapping[str, Any] | None, tasks: Sequence[TaskProgress]) -> JobProgress:
    """Sum tasks up; `plan` is the job's `EncodePlan` as JSON, None before the probe is recorded."""
    if plan is None:
        probe = max((task.share for task in tasks), default=0.0)
        return JobProgress(_WEIGHTS["probe"] * probe, _current_stage(tasks), {})
    frames = max(1, int(plan["frames"]))
    rungs = {rung["name"]: _rung(rung["name"], frames, tasks) for rung in plan["rungs"]}
    encode = sum(rung.progress for rung in rungs.values()) / max(1, len(rungs))
    done = {kind: _mean_share(kind, tasks) for kind in ("probe", "audio", "package")} | {"encode": encode}
    total = sum(weight * done[kind] for kind, weight in _WEIGHTS.items())
    return JobProgress(min(total, 0.999), _current_stage(tasks), rungs)


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


def _mean_share(kind: str, tasks: Sequence[TaskProgress]) -> float:
    shares = [task.share for task in tasks if task.kind == kind]
    return sum(shares) / len(shares) if shares else 1.0


def _rung(name: str, frames: int, tasks: Sequence[TaskProgress]) -> RungProgress:
    encode = [task for task in tasks if task.kind == "encode"]
    done = sum(task.frames.get(name, 0) for task in encode)
    speeds = [task.fps[name] for task in encode if task.state is StageState.RUNNING and name in task.fps]
    return RungProgress(progress=min(1.0, done / frames), fps=round(sum(speeds), 1) if speeds else None)


def _current_stage(tasks: Sequence[TaskProgress]) -> str | None:
    """Name the stage a user waits for: the running one that takes longest, else the next one."""
    for state in (StageState.RUNNING, StageState.WAITING):
        kinds = {task.kind for task in tasks if task.state is state}
        for kind in ("package", "encode", "audio", "probe") if state is StageState.RUNNING else STAGES:
            if kind in kinds:
                return kind
    return None
