"""Encode: each chunk of the picture in every rung, many at once."""

from collections.abc import Sequence
from dataclasses import replace
from fractions import Fraction
from typing import Any

from pydantic import TypeAdapter
from sqlalchemy.orm import Session

from sfserver.errors import DamagedMediaError, InconsistentChunksError
from sfserver.infra.queue.contract import Queue
from sfserver.media.contract import ChunkResult, ChunkSpec, EncodePlan, MediaWarning, StorageBudget, TrackPart
from sfserver.media.encode.budget import Spent, chunk_crf, describe_spending
from sfserver.media.encode.chunks import encode_tasks, gop_count
from sfserver.media.encode.video import EncodeArguments
from sfserver.models import Job, JobStage, Video
from sfserver.publications import service as publications
from sfserver.settings import SandboxSettings
from sfserver.stages import probe
from sfserver.tasks import lifecycle, repository
from sfserver.tasks.pipeline import renew_task
from sfserver.tasks.stage import Claim, Inputs, Stage, StageContext, Unit, video_folder
from sfserver.wire.jobs import StageState

KIND = "encode"
MIN_GOOD_SHARE = 0.9
# Encoders of another version that keep taking each other's place end a job sooner or later.
_MOST_ENCODERS = 4
_CHUNK, _BUDGET = TypeAdapter(ChunkSpec), TypeAdapter(StorageBudget)
_SLACK_BYTES = 8 << 20
_SPENDING = "stored:"
_OPENING_NICE = {0: 2, 1: 8}


def chunk_of(spec: dict[str, Any]) -> ChunkSpec:
    """Return the chunk that an encode task's spec is about."""
    return _CHUNK.validate_python({name: value for name, value in spec.items() if name != "crf"})


def part_name(rung: str, index: int) -> str:
    """Return the file name of one rung of one chunk."""
    return f"{rung}.{index}.m4s"


def _units(session: Session, job: Job) -> Sequence[Unit]:
    (probed,) = repository.tasks_of(session, job.id, probe.KIND)
    plan = probe.PROBE.result_of(probed).plan
    chunks = enumerate(encode_tasks(plan, plan.chunks))
    return [Unit(index, chunk, _frames(chunk) * len(chunk.rungs or plan.rungs)) for index, chunk in chunks]


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
    names = claim.spec.get("rungs") or [rung["name"] for rung in (claim.plan_json or {"rungs": []})["rungs"]]
    return [part_name(rung, claim.spec.get("index", claim.index)) for rung in names]


def _made(result: ChunkResult) -> Sequence[str]:
    return [part.file for part in result.parts.values()]


def _bound_bytes(inputs: Inputs) -> int:
    """Allow twice what the rate caps do, since a buffer may be overdrawn, and something for very short chunks."""
    plan, chunk = inputs.claim.plan, chunk_of(inputs.claim.spec)
    seconds = Fraction(_frames(chunk) * plan.fps.den, plan.fps.num) + 1
    return int(2 * seconds * sum(rung.maxrate_bps for rung in plan.rungs) / 8) + _SLACK_BYTES


def _nice(claim: Claim) -> int | None:
    """Let the opening go first: the rungs that a player begins with, then the larger ones; all else as it is set."""
    return _OPENING_NICE.get(claim.index) if claim.spec.get("rungs") else None


def _cpu_s(settings: SandboxSettings, claim: Claim) -> float:
    chunk, fps = chunk_of(claim.spec), claim.plan.fps
    return settings.encode_cpu_s + settings.encode_cpu_s_per_s * _frames(chunk) * fps.den / fps.num


def _frames(chunk: ChunkSpec) -> int:
    return chunk.end_frame - chunk.start_frame


def _share(claim: Claim, report: dict[str, Any]) -> float:
    frames = report.get("frames", {})
    size = max(1, int(claim.spec["end_frame"]) - int(claim.spec["start_frame"]))
    return min(1.0, sum(frames.values()) / (size * len(frames))) if frames else 0.0


def _after(context: StageContext, result: ChunkResult) -> None:
    """Show the chunk and add what it came to; begin anew where its encoder is another than that of those before it."""
    chunk, plan = chunk_of(context.task.spec), lifecycle.plan_of(context.job)
    tally = dict(context.row.tally)
    headers = {rung: part.codec_config for rung, part in result.parts.items()}
    known = tally.get("headers", {})
    if any(known.get(rung, header) != header for rung, header in headers.items()):
        tally, known = _replace_encoder(context, int(tally.get("encoders", 1)) + 1), {}
    context.row.tally = tally | {"headers": known | headers} | _add_up(tally, plan, chunk, result)
    video = context.session.get_one(Video, context.job.video_id)
    claim = lifecycle.claim_of(context.task, context.job, video)
    for rung, part in result.parts.items():
        _check_place(plan, chunk, part)
        new = publications.NewChunk(rung, chunk.index, ENCODE.key(claim, part.file), part)
        publications.show_chunk(context.session, context.job, new)
    lean = {rung: publications.without_table(part) for rung, part in result.parts.items()}
    context.task.result = ENCODE.result_json(replace(result, parts=lean))
    _judge_damage(context.row.tally["concealed"], plan.frames)


def _check_place(plan: EncodePlan, chunk: ChunkSpec, part: TrackPart) -> None:
    """Refuse a part that is not all of its chunk: from here on nobody looks at its times again."""
    first, end = chunk.start_frame // plan.gop_frames, gop_count(chunk.end_frame, plan.gop_frames)
    if (part.first_gop, part.fragments, part.samples) != (first, end - first, _frames(chunk)):
        raise InconsistentChunksError(f"{part.file} is not chunk {chunk.index}")


def _add_up(tally: dict[str, Any], plan: EncodePlan, chunk: ChunkSpec, result: ChunkResult) -> dict[str, Any]:
    """Return the tally's sums with a chunk: bytes by quality, frames by rung, and damage, once for all of its rungs."""
    spent, frames = dict(tally.get("spent", {})), dict(tally.get("frames", {}))
    made, source = spent.get(str(result.crf), (0, 0))
    size = sum(part.size_bytes for part in result.parts.values())
    spent[str(result.crf)] = (made + size, source + chunk.source_bytes)
    frames |= {rung: frames.get(rung, 0) + _frames(chunk) for rung in result.parts}
    concealed = result.concealed_frames if plan.rungs[-1].name in result.parts else 0
    return {"spent": spent, "frames": frames, "concealed": tally.get("concealed", 0) + concealed}


def _judge_damage(concealed: int, frames: int) -> None:
    """Refuse a video of which less than nine tenths can be decoded, as soon as that is certain."""
    if frames - concealed < frames * MIN_GOOD_SHARE:
        raise DamagedMediaError(f"{concealed} of {frames} frames cannot be decoded")


def _replace_encoder(context: StageContext, encoders: int) -> dict[str, Any]:
    """Have every chunk made again that another encoder has made: their joints could not be decoded.

    The newest one wins, since it is the one that goes on. Whoever watches is told that what they watched is gone.
    """
    if encoders > _MOST_ENCODERS:
        raise InconsistentChunksError("workers of different versions take turns at this video")
    for task in repository.tasks_of(context.session, context.job.id, KIND):
        if task.state == StageState.DONE and task.id != context.task.id:
            renew_task(context, task)
    publications.start_pictures_again(context.session, context.job)
    return {"encoders": encoders}


def _complete(context: StageContext) -> None:
    """Say what was damaged, and what all of it came to."""
    concealed, frames = context.row.tally.get("concealed", 0), (context.job.plan or {})["frames"]
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
    nice=_nice,
    cpu_s=_cpu_s,
    units=_units,
    outputs=_outputs,
    made=_made,
    folder=video_folder,
    lasting=True,
    bound_bytes=_bound_bytes,
    share=_share,
    settle=_settle,
    after=_after,
    complete=_complete,
)
