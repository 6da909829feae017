"""Poster: one good frame as JPEG and WebP in two sizes. No job waits for it, and none fails with it."""

from collections.abc import Sequence

from sfserver.infra.queue.contract import Queue
from sfserver.media.encode.poster import POSTER_FILES, PosterArguments, PosterResult
from sfserver.models import Video
from sfserver.stages import probe
from sfserver.tasks import lifecycle
from sfserver.tasks.stage import Inputs, Stage, StageContext, video_folder
from sfserver.videos.assets import NewAsset, replace_assets

KIND = "poster"
_NICE = 19
_BOUND_BYTES = 16 << 20
_MEDIA_TYPES = {"jpeg": "image/jpeg", "webp": "image/webp"}


def _arguments(inputs: Inputs) -> PosterArguments:
    (index_key,) = inputs.keys(probe.KIND)
    return PosterArguments(inputs.source(), inputs.fetch(index_key), inputs.claim.plan, inputs.claim.limits)


def _made(result: PosterResult) -> Sequence[str]:
    return [file.file for file in result.files]


def _after(context: StageContext, result: PosterResult) -> None:
    video = context.session.get_one(Video, context.job.video_id)
    claim = lifecycle.claim_of(context.task, context.job, video)
    facts = {"time_s": result.time_s, "frame": result.frame, "reason": result.reason}
    assets = [
        NewAsset(
            name=file.file,
            media_type=_MEDIA_TYPES[file.format],
            key=POSTER.key(claim, file.file),
            size_bytes=file.size_bytes,
            facts={**facts, "width": file.width, "height": file.height},
        )
        for file in result.files
    ]
    replace_assets(context.session, video, KIND, assets)


POSTER: Stage[PosterArguments, PosterResult] = Stage(
    kind=KIND,
    queue=Queue.INSIGHT,
    run="sfserver.media.encode.poster:run_poster",
    arguments=_arguments,
    needs=(probe.KIND,),
    fatal=False,
    nice=lambda _claim: _NICE,
    outputs=lambda _claim: POSTER_FILES,
    made=_made,
    folder=video_folder,
    lasting=True,
    bound_bytes=lambda _inputs: _BOUND_BYTES,
    after=_after,
)
