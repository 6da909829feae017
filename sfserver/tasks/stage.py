"""What a stage is: one object that says what to run, on what, when, and what follows. `stages/` holds them all."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass, field, is_dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Generic, Protocol, TypeVar

from pydantic import TypeAdapter
from sqlalchemy.orm import Session

from sfserver.infra.queue.contract import Queue
from sfserver.media.contract import EncodePlan, MediaLimits
from sfserver.media.sandbox.calls import load_call
from sfserver.models import Job, JobStage, Task, TaskPart
from sfserver.settings import SandboxSettings, Settings

Arguments = TypeVar("Arguments")
Result = TypeVar("Result")
Answer = TypeVar("Answer")
_PLAN = TypeAdapter(EncodePlan)
_DEFAULT_BOUND_BYTES = 64 << 20


@dataclass(frozen=True)
class Claim:
    """A claimed task: its fencing token and the facts of its job, as they were at that moment."""

    task_id: str
    job_id: str
    video_id: str
    kind: str
    index: int
    token: int
    attempt: int
    spec: dict[str, Any]
    source_key: str
    source_size_bytes: int
    limits: MediaLimits
    plan_json: dict[str, Any] | None = field(default=None, repr=False)

    @cached_property
    def plan(self) -> EncodePlan:
        """The job's plan without its chunks; there is one once the probe is recorded."""
        return _PLAN.validate_python(self.plan_json)

    @property
    def name(self) -> str:
        """What logs and directories call this attempt."""
        return f"{self.task_id}-{self.token}"


@dataclass(frozen=True)
class Unit:
    """One task to be made: its place, what it is about (a dataclass, or nothing) and its size among its kind's."""

    index: int = 0
    spec: object | None = None
    size: int = 1

    def spec_json(self) -> dict[str, Any]:
        """Return the spec as it is kept."""
        return asdict(self.spec) if is_dataclass(self.spec) and not isinstance(self.spec, type) else {}


@dataclass(frozen=True)
class Output:
    """One recorded task of another stage: spec as JSON, result as a dataclass, the keys of its files by name."""

    index: int
    spec: dict[str, Any]
    result: Any
    keys: dict[str, str]


class Inputs(Protocol):
    """What an attempt is given: objects brought to this machine, and what the stages before it recorded.

    Raises `SourceMissingError` where the store has lost an object.
    """

    claim: Claim
    fetched_bytes: int

    def source(self) -> Path:
        """Return the uploaded file."""

    def fetch(self, key: str) -> Path:
        """Return a local file that holds an object."""

    def outputs(self, kind: str) -> list[Output]:
        """Return what was recorded of another stage of the job, by index."""

    def keys(self, kind: str) -> list[str]:
        """Return the keys of what another stage of the job has stored, without reading its results."""

    def parts(self, kind: str) -> Sequence[TaskPart]:
        """Return the finished parts of a stage of one task, in order."""

    def check_object(self, key: str, size_bytes: int) -> None:
        """See that an object is there as it was stored, without reading it."""

    def ask(self, question: Callable[[Session], Answer]) -> Answer:
        """Return what the database says."""

    def new_file(self, name: str) -> Path:
        """Return where something may be written for the child to read."""


@dataclass(frozen=True)
class StageContext:
    """The transaction a stage's hook runs in; the job is locked. `row` sums the stage up, `task` is the one at hand."""

    session: Session
    settings: Settings
    stages: "Stages"
    job: Job
    row: JobStage
    task: Task


def _one_unit(_session: Session, _job: Job) -> Sequence[Unit]:
    return (Unit(),)


def _nothing(_: object) -> Sequence[str]:
    return ()


def work_folder(claim: Claim) -> str:
    """Return where an attempt keeps what only its job needs; nobody else ever writes there."""
    return f"chunks/{claim.job_id}/{claim.kind}-{claim.index}/{claim.token}"


def video_folder(claim: Claim) -> str:
    """Return where an attempt keeps what outlives its job; nobody else ever writes there."""
    return f"video/{claim.video_id}/{claim.job_id}/{claim.kind}-{claim.index}/{claim.token}"


@dataclass(frozen=True)
class Stage(Generic[Arguments, Result]):
    """One kind of work.

    `run` names the function that does it in a sandboxed child ("module:function", see `media.sandbox.calls`);
    `arguments` brings its inputs to this machine. Fatal stages decide the job; the others never delay or fail it, run
    on a job that is ready too, and can be started again on their own.

    `needs` are the kinds that must be done before; then `units` says which tasks there are to make (none: the stage is
    done). `outputs` are the names of all files an attempt can make, known from the claim alone; `made` those that a
    result says it has made, which are stored in `folder` under them. `lasting` outputs outlive the job. `bound_bytes`
    is the most that a child may write, and so the room that must be there before it starts; `cpu_s` its CPU time.

    The hooks run in short transactions under the job's lock: `settle` may fix what a task's spec leaves open when it is
    claimed; `part` takes a finished part of a running task and returns what of it is kept; `after` follows each
    recorded result, `complete` the last one; `withdraw` the end of a job that did not get ready, with whether it may
    be tried again with what it has.
    """

    kind: str
    queue: Queue
    run: str
    arguments: Callable[[Inputs], Arguments]
    needs: tuple[str, ...] = ()
    fatal: bool = True
    weight: float = 0.0
    priority: int = 5
    nice: Callable[[Claim], int | None] = lambda _claim: None
    cpu_s: Callable[[SandboxSettings, Claim], float | None] = lambda _settings, _claim: None
    units: Callable[[Session, Job], Sequence[Unit]] = _one_unit
    outputs: Callable[[Claim], Sequence[str]] = _nothing
    made: Callable[[Result], Sequence[str]] = _nothing
    folder: Callable[[Claim], str] = work_folder
    lasting: bool = False
    bound_bytes: Callable[[Inputs], int] = lambda _inputs: _DEFAULT_BOUND_BYTES
    share: Callable[[Claim, dict[str, Any]], float] = lambda _claim, report: float(report.get("progress", 0.0))
    settle: Callable[[StageContext], dict[str, Any]] = lambda context: context.task.spec
    part: Callable[[StageContext, int, str, dict[str, Any]], dict[str, Any]] = lambda _context, _index, _key, part: part
    after: Callable[[StageContext, Result], None] = lambda _context, _result: None
    complete: Callable[[StageContext], None] = lambda _context: None
    withdraw: Callable[[Session, Job, bool], None] = lambda _session, _job, _may_return: None

    def keys(self, claim: Claim) -> list[str]:
        """Return every key this attempt can have stored something under."""
        return [self.key(claim, name) for name in self.outputs(claim)]

    def key(self, claim: Claim, name: str) -> str:
        """Return the key of one of an attempt's files."""
        return f"{self.folder(claim)}/{name}"

    def result_json(self, result: Result) -> dict[str, Any]:
        """Return a result as it is recorded."""
        dumped: dict[str, Any] = load_call(self.run).result.dump_python(result, mode="json")
        return dumped

    def result_of(self, task: Task) -> Result:
        """Return the recorded result of a task that is done."""
        result: Result = load_call(self.run).result.validate_python(task.result)
        return result


AnyStage = Stage[Any, Any]


class Stages(dict[str, AnyStage]):
    """All stages by kind, in the order of the pipeline."""

    def __init__(self, stages: Iterable[AnyStage]) -> None:
        super().__init__((stage.kind, stage) for stage in stages)

    @property
    def calls(self) -> list[str]:
        """What their children run."""
        return [stage.run for stage in self.values()]

    def shares(self) -> dict[str, float]:
        """Return how much of a job's bar each fatal stage fills, 1 in all."""
        total = sum(stage.weight for stage in self.values() if stage.fatal) or 1.0
        return {kind: stage.weight / total for kind, stage in self.items() if stage.fatal}
