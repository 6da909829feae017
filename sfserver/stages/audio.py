"""Audio: the sound, one encoder run for all rungs, handed over in parts as it gets along."""

from collections.abc import Sequence
from dataclasses import asdict
from itertools import pairwise
from typing import Any

from pydantic import TypeAdapter
from sqlalchemy.orm import Session

from sfserver.errors import InconsistentChunksError
from sfserver.infra.queue.contract import Queue
from sfserver.media.contract import AudioResult, TrackPart
from sfserver.media.encode.audio import AudioArguments
from sfserver.models import Job
from sfserver.publications import service as publications
from sfserver.stages import probe
from sfserver.tasks.stage import Claim, Inputs, Stage, StageContext, Unit, video_folder

KIND = "audio"
_PART = TypeAdapter(TrackPart)
_SLACK_BYTES = 4 << 20
# Sound costs little and soon gets ahead: the first pictures are what somebody who watches meanwhile waits for.
_NICE = 12


def _units(_session: Session, job: Job) -> Sequence[Unit]:
    return [Unit()] if (job.plan or {}).get("audio") else []


def _arguments(inputs: Inputs) -> AudioArguments:
    claim = inputs.claim
    return AudioArguments(inputs.source(), claim.plan, len(inputs.parts(KIND)), claim.limits)


def _outputs(claim: Claim) -> Sequence[str]:
    plan = claim.plan_json or {}
    return [f"audio.{part}.m4s" for part in range(len(plan["audio"]["part_ends"]))] if plan.get("audio") else []


def _part(context: StageContext, index: int, key: str, reported: dict[str, Any]) -> dict[str, Any]:
    """Show a finished part at once."""
    part = _PART.validate_python(reported)
    bounds = list(pairwise([0, *(context.job.plan or {})["audio"]["part_ends"]]))
    if bounds[index : index + 1] != [(part.first_gop, part.first_gop + part.fragments)]:
        raise InconsistentChunksError(f"{part.file} is not part {index}")
    publications.show_chunk(context.session, context.job, publications.NewChunk(publications.SOUND, index, key, part))
    return asdict(publications.without_table(part))


def _bound_bytes(inputs: Inputs) -> int:
    plan = inputs.claim.plan
    bps = plan.audio.bitrate_bps if plan.audio else 0
    return int(2 * bps / 8 * _duration_s(inputs.claim)) + _SLACK_BYTES


def _share(claim: Claim, report: dict[str, Any]) -> float:
    return min(1.0, float(report.get("audio_s", 0.0)) / max(_duration_s(claim), 0.001))


def _duration_s(claim: Claim) -> float:
    return claim.plan.frames * claim.plan.fps.den / claim.plan.fps.num


AUDIO: Stage[AudioArguments, AudioResult] = Stage(
    kind=KIND,
    queue=Queue.AUDIO,
    run="sfserver.media.encode.audio:run_audio",
    arguments=_arguments,
    needs=(probe.KIND,),
    weight=0.04,
    nice=lambda _claim: _NICE,
    units=_units,
    outputs=_outputs,
    folder=video_folder,
    lasting=True,
    part=_part,
    bound_bytes=_bound_bytes,
    share=_share,
)
