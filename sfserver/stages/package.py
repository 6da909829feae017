"""Package: join the parts into what is published, and publish it."""

from collections.abc import Sequence
from dataclasses import replace

from pydantic import TypeAdapter

from sfserver.infra.queue.contract import Queue
from sfserver.media.contract import PackageResult, TrackPart
from sfserver.media.mp4.package import PackageArguments
from sfserver.models import Video
from sfserver.stages import audio, encode
from sfserver.stages.encode import chunk_of
from sfserver.tasks import lifecycle
from sfserver.tasks.stage import Claim, Inputs, Stage, StageContext, video_folder
from sfserver.videos.publish import publish

KIND = "package"
_PART = TypeAdapter(TrackPart)
_SLACK_BYTES = 16 << 20


def _arguments(inputs: Inputs) -> PackageArguments:
    chunks = []
    for output in inputs.outputs(encode.KIND):
        files = {rung: inputs.fetch(output.keys[part.file]) for rung, part in output.result.parts.items()}
        chunks.append((chunk_of(output.spec), output.result, files))
    parts = [(_PART.validate_python(part.result), inputs.fetch(part.key)) for part in inputs.parts(audio.KIND)]
    plan = replace(inputs.claim.plan, chunks=[spec for spec, _, _ in chunks])
    return PackageArguments(plan, chunks, parts)


def _outputs(claim: Claim) -> Sequence[str]:
    plan = claim.plan_json or {"rungs": []}
    names = ["a/main.mp4", "hls/audio.m3u8"] if plan.get("audio") else []
    for rung in (rung["name"] for rung in plan["rungs"]):
        names += [f"v/{rung}.mp4", f"hls/{rung}.m3u8", f"hls/{rung}.iframes.m3u8"]
        names += [f"file/{rung}.head", f"file/{rung}.layout"]
    return names


def _made(result: PackageResult) -> Sequence[str]:
    return list(result.files)


def _bound_bytes(inputs: Inputs) -> int:
    """Allow for what is joined once more, and an index of a twelfth of it at the most."""
    return inputs.fetched_bytes + inputs.fetched_bytes // 12 + _SLACK_BYTES


def _complete(context: StageContext) -> None:
    """Publish, once clients have been told that this stage is done: a job's end is the last thing they hear of it."""
    result = PACKAGE.result_of(context.task)
    lifecycle.add_warnings(context.job, result.warnings)
    video = context.session.get_one(Video, context.job.video_id)
    folder = video_folder(lifecycle.claim_of(context.task, context.job, video))
    publish(context, video, folder, result)


PACKAGE: Stage[PackageArguments, PackageResult] = Stage(
    kind=KIND,
    queue=Queue.IO,
    run="sfserver.media.mp4.package:run_package",
    arguments=_arguments,
    needs=(encode.KIND, audio.KIND),
    weight=0.04,
    outputs=_outputs,
    made=_made,
    folder=video_folder,
    lasting=True,
    bound_bytes=_bound_bytes,
    complete=_complete,
)
