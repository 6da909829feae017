"""Package: make what the stored chunks lack to be whole files, measure them, and publish."""

from collections.abc import Sequence

from sqlalchemy.orm import Session

from sfserver.errors import InconsistentChunksError
from sfserver.infra.queue.contract import Queue
from sfserver.media.contract import PackageResult
from sfserver.media.mp4.package import PackageArguments, StoredTables, head_name, write_tables
from sfserver.models import Job, Track, Video
from sfserver.publications import service as publications
from sfserver.stages import audio, encode
from sfserver.tasks import lifecycle
from sfserver.tasks.stage import Claim, Inputs, Stage, StageContext, video_folder
from sfserver.videos.publish import publish

KIND = "package"
# A head has at most 16 bytes for each frame of the picture and 4 for each of the sound.
_FRAME_BYTES, _SOUND_FRAME_BYTES = 16, 4
_SLACK_BYTES = 16 << 20


def _arguments(inputs: Inputs) -> PackageArguments:
    """Write each track's sample tables into a file of its own: they are all that packaging reads.

    What is published is there: every chunk is looked for, as nothing reads them before the first player does.
    """
    found = inputs.ask(lambda session: publications.recorded_tracks(session, inputs.claim.job_id))
    stored = {track.name: _stored(inputs, track) for track in found}
    plan, sound = inputs.claim.plan, stored.get(publications.SOUND)
    return PackageArguments(plan, [stored[rung.name] for rung in plan.rungs], sound)


def _stored(inputs: Inputs, track: Track) -> StoredTables:
    if track.codec_config is None:
        raise InconsistentChunksError(f"nothing is recorded of {track.name}")
    for key, size_bytes in inputs.ask(lambda session: publications.recorded_objects(session, track.id)):
        inputs.check_object(key, size_bytes)
    path = inputs.new_file(f"{track.name}.tables")
    inputs.ask(lambda session: write_tables(path, publications.sample_tables(session, track.id)))
    return StoredTables(track.name, track.codec_config, track.delay_ticks, path)


def _outputs(claim: Claim) -> Sequence[str]:
    return [head_name(rung["name"]) for rung in (claim.plan_json or {"rungs": []})["rungs"]]


def _made(result: PackageResult) -> Sequence[str]:
    return list(result.heads.values())


def _bound_bytes(inputs: Inputs) -> int:
    plan = inputs.claim.plan
    sound = plan.audio.frames if plan.audio else 0
    return len(plan.rungs) * (_FRAME_BYTES * plan.frames + _SOUND_FRAME_BYTES * sound) + _SLACK_BYTES


def _complete(context: StageContext) -> None:
    """Publish, once clients have been told that this stage is done: a job's end is the last thing they hear of it."""
    result = PACKAGE.result_of(context.task)
    lifecycle.add_warnings(context.job, result.warnings)
    video = context.session.get_one(Video, context.job.video_id)
    claim = lifecycle.claim_of(context.task, context.job, video)
    publish(context, result, {rung: PACKAGE.key(claim, name) for rung, name in result.heads.items()})


def _withdraw(session: Session, job: Job, may_return: bool) -> None:
    publications.withdraw(session, job, may_return=may_return)


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
    withdraw=_withdraw,
)
