"""Publishing: one pointer moves, and everybody sees the new generation.

What it replaces goes when nobody can ask for it any more.
"""

from datetime import timedelta
from functools import partial

from sqlalchemy.orm import Session

from sfserver.media.contract import PackageResult
from sfserver.models import Job, Video
from sfserver.publications import service as publications
from sfserver.tasks import garbage, lifecycle, repository
from sfserver.tasks.stage import StageContext, Stages
from sfserver.wire.jobs import JobStatus, StageState


def publish(context: StageContext, package: PackageResult, head_keys: dict[str, str]) -> None:
    """Make what the job has recorded the video's one visible generation, and the job ready; no media byte moves.

    A job that was overtaken and tried again takes a new number: media is cached for a year under it.
    """
    session, job = context.session, context.job
    video = session.get_one(Video, job.video_id)
    if video.generation:
        _retire(context, video)
    published = publications.complete(session, job, package, head_keys)
    video.generation, video.published_at = published.generation, published.published_at
    lifecycle.finish_job(session, context.stages, job)


def url_lifetime(at_least_s: float, duration_s: float) -> timedelta:
    """Return how long a media URL that was signed a moment ago can still be asked for."""
    return timedelta(seconds=max(at_least_s, 2 * duration_s), hours=1)


def _retire(context: StageContext, video: Video) -> None:
    """Keep what is published for those who watch it; its objects become garbage a little later than this ends."""
    session = context.session
    keys, at_most = publications.retire(session, video, partial(url_lifetime, context.settings.access.media_url_min_s))
    for earlier in lifecycle.jobs_of(session, video.id):
        if earlier.id != context.job.id and earlier.status == JobStatus.READY:
            keys += _lasting_keys(session, context.stages, earlier)
    garbage.discard(session, dict.fromkeys(keys), after=at_most)


def _lasting_keys(session: Session, stages: Stages, job: Job) -> list[str]:
    """Return what an earlier job kept for itself: not what is an asset of the video."""
    tasks = [task for task in repository.tasks_of(session, job.id) if task.state == StageState.DONE]
    mine = [task for task in tasks if task.kind in stages and stages[task.kind].fatal]
    return lifecycle.recorded_keys(session, stages, job, mine)
