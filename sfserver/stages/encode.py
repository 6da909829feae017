"""Encode: each chunk of the picture in every rung, many at once."""

from collections.abc import Sequence
from fractions import Fraction
from typing import Any

from pydantic import TypeAdapter
from sqlalchemy.orm import Session

from sfserver.errors import DamagedMediaError, InconsistentChunksError
from sfserver.infra.queue.contract import Queue
from sfserver.media.contract import ChunkResult, ChunkSpec, MediaWarning, StorageBudget
from sfserver.media.encode.budget import Spent, chunk_crf, describe_spending
from sfserver.media.encode.video import EncodeArguments
from sfserver.models import Job, JobStage
from sfserver.settings import SandboxSettings
from sfserver.stages import probe
from sfserver.tasks import lifecycle, repository
from sfserver.tasks.pipeline import renew_task
from sfserver.tasks.stage import Claim, Inputs, Stage, StageContext, Unit
from sfserver.wire.jobs import StageState

KIND = "encode"
MIN_GOOD_SHARE = 0.9
# Encoders of another version that keep taking each other's place end a job sooner or later.
_MOST_ENCODERS = 4
_CHUNK, _BUDGET = TypeAdapter(ChunkSpec), TypeAdapter(StorageBudget)
_SLACK_BYTES = 8 << 20
_SPENDING = "stored:"


def chunk_of(spec: dict[str, Any]) -> ChunkSpec:
    """Return the chunk that an encode task's spec is about."""
    return _CHUNK.validate_python({name: value for name, value in spec.items() if name != "crf"})


def part_name(rung: str, index: int) -> str:
    """Return the file name of one rung of one chunk."""
    return f"{rung}.{index}.m4s"


def _units(session: Session, job: Job) -> Sequence[Unit]:
    (probed,) = repository.tasks_of(session, job.id, probe.KIND)
    chunks = probe.PROBE.result_of(probed).plan.chunks
    return [Unit(chunk.index, chunk, chunk.end_frame - chunk.start_frame) for chunk in chunks]


def _settle(context: StageContext) -> dict[str, Any]:
    """Fix the chunk's quality at its first claim, so that a retry makes the same bytes."""
    spec = context.task.spec
    if "crf" in spec:
        return spec
    return {**spec, "crf": chunk_crf(_budget(context.job), _spent(context.row))}


def _arguments(inputs: Inputs) -> EncodeArguments:
    (index_key,) = inputs.keys(probe.KIND)
    spec, claim = inputs.claim.spec, inputs.claim
    return EncodeArguments(
        source=inputs.source(),
        index_file=inputs.fetch(index_key),
        plan=claim.plan,
        chunk=chunk_of(spec),
        limits=claim.limits,
        crf=spec["crf"],
    )


def _outputs(claim: Claim) -> Sequence[str]:
    return [part_name(rung["name"], claim.index) for rung in (claim.plan_json or {"rungs": []})["rungs"]]


def _made(result: ChunkResult) -> Sequence[str]:
    return [part.file for part in result.parts.values()]


def _bound_bytes(inputs: Inputs) -> int:
    """Allow twice what the rate caps do, since a buffer may be overdrawn, and something for very short chunks."""
    plan, chunk = inputs.claim.plan, chunk_of(inputs.claim.spec)
    seconds = Fraction((chunk.end_frame - chunk.start_frame) * plan.fps.den, plan.fps.num) + 1
    return int(2 * seconds * sum(rung.maxrate_bps for rung in plan.rungs) / 8) + _SLACK_BYTES


def _cpu_s(settings: SandboxSettings, claim: Claim) -> float:
    chunk, fps = chunk_of(claim.spec), claim.plan.fps
    return (
        settings.encode_cpu_s + settings.encode_cpu_s_per_s * (chunk.end_frame - chunk.start_frame) * fps.den / fps.num
    )


def _share(claim: Claim, report: dict[str, Any]) -> float:
    frames = report.get("frames", {})
    size = max(1, int(claim.spec["end_frame"]) - int(claim.spec["start_frame"]))
    return min(1.0, sum(frames.values()) / (size * len(frames))) if frames else 0.0


def _after(context: StageContext, result: ChunkResult) -> None:
    """Add what the chunk came to; begin anew where it came from another encoder than the chunks before it."""
    tally = dict(context.row.tally)
    headers = {rung: part.codec_config for rung, part in result.parts.items()}
    if tally.get("headers", headers) != headers:
        tally = _replace_encoder(context, int(tally.get("encoders", 1)) + 1)
    tally["headers"] = headers
    spent = dict(tally.get("spent", {}))
    made, source = spent.get(str(result.crf), (0, 0))
    size = sum(part.size_bytes for part in result.parts.values())
    spent[str(result.crf)] = (made + size, source + chunk_of(context.task.spec).source_bytes)
    tally |= {"spent": spent, "concealed": tally.get("concealed", 0) + result.concealed_frames}
    context.row.tally = tally


def _replace_encoder(context: StageContext, encoders: int) -> dict[str, Any]:
    """Have every chunk made again that another encoder has made: their joints could not be decoded.

    The newest one wins, since it is the one that goes on.
    """
    if encoders > _MOST_ENCODERS:
        raise InconsistentChunksError("workers of different versions take turns at this video")
    for task in repository.tasks_of(context.session, context.job.id, KIND):
        if task.state == StageState.DONE and task.id != context.task.id:
            renew_task(context, task)
    return {"encoders": encoders}


def _complete(context: StageContext) -> None:
    """Keep a video of which nine tenths could be decoded, with a warning; refuse less."""
    concealed, frames = context.row.tally.get("concealed", 0), (context.job.plan or {})["frames"]
    if frames - concealed < frames * MIN_GOOD_SHARE:
        raise DamagedMediaError(f"{concealed} of {frames} frames cannot be decoded")
    if concealed:
        detail = f"{concealed} of {frames} frames were damaged and repeat the picture before them"
        lifecycle.add_warnings(context.job, [MediaWarning("damaged_frames", detail)])
    plan = context.job.plan or {}
    reasons = [reason for reason in plan["reasons"] if not reason.startswith(_SPENDING)]
    spending = describe_spending(_budget(context.job), _spent(context.row))
    context.job.plan = {**plan, "reasons": [*reasons, f"{_SPENDING} {spending}"]}


def _budget(job: Job) -> StorageBudget:
    return _BUDGET.validate_python((job.plan or {}).get("budget", {}))


def _spent(row: JobStage) -> list[Spent]:
    return [Spent(made, source, float(crf)) for crf, (made, source) in row.tally.get("spent", {}).items()]


ENCODE: Stage[EncodeArguments, ChunkResult] = Stage(
    kind=KIND,
    queue=Queue.ENCODE,
    run="sfserver.media.encode.video:run_encode",
    arguments=_arguments,
    needs=(probe.KIND,),
    weight=0.90,
    cpu_s=_cpu_s,
    units=_units,
    outputs=_outputs,
    made=_made,
    bound_bytes=_bound_bytes,
    share=_share,
    settle=_settle,
    after=_after,
    complete=_complete,
)
