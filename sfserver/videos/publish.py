"""Publishing: one pointer moves, and everybody sees the new generation.

What it replaces goes when nobody can ask for it any more.
"""

from collections.abc import Sequence
from dataclasses import asdict
from datetime import timedelta

from sqlalchemy.orm import Session

from sfserver.deps import Runtime
from sfserver.infra.clock import db_now
from sfserver.media.contract import PackageResult
from sfserver.models import Job, RetiredPublication, Video
from sfserver.tasks import garbage, lifecycle, repository
from sfserver.tasks.stage import StageContext, Stages
from sfserver.videos.repository import delete_retired_before, has_retired_before
from sfserver.wire.jobs import JobStatus, StageState

_SLACK = timedelta(minutes=10)


def publish(context: StageContext, video: Video, folder: str, package: PackageResult) -> None:
    """Make the packaged files the video's one visible generation and its job ready.

    A job that was overtaken and tried again takes a new number: media is cached for a year under it.
    """
    session, job = context.session, context.job
    if video.published_prefix is not None:
        at_most = url_lifetime(context.settings.access.media_url_min_s, _duration_s(video))
        _retire(session, video, at_most)
        garbage.discard(session, published_keys(video), after=at_most)
        for earlier in lifecycle.jobs_of(session, video.id):
            if earlier.id != job.id and earlier.status == JobStatus.READY:
                garbage.discard(session, _lasting_keys(session, context.stages, earlier), after=at_most)
    job.generation = max(job.generation, video.generation + 1)
    video.generation, video.published_prefix, video.published = job.generation, folder, asdict(package)
    video.published_at = db_now(session)
    lifecycle.finish_job(session, context.stages, job)


def find_retired(session: Session, video_id: str, generation: int) -> RetiredPublication | None:
    """Return a generation that was replaced, while URLs that were signed for it can still be asked for."""
    retired = session.get(RetiredPublication, (video_id, generation))
    return retired if retired is not None and retired.until > db_now(session) else None


def forget_retired(runtime: Runtime) -> None:
    """Forget the generations that nobody can ask for any more; their objects are garbage by then."""
    with runtime.database.read() as session:
        if not has_retired_before(session, db_now(session)):
            return
    with runtime.database.write() as session:
        delete_retired_before(session, db_now(session))


def published_keys(video: Video) -> list[str]:
    """Return the keys of everything that is published of a video."""
    names: Sequence[str] = list((video.published or {}).get("files", {}))
    return [f"{video.published_prefix}/{name}" for name in names]


def url_lifetime(at_least_s: float, duration_s: float) -> timedelta:
    """Return how long a media URL that was signed a moment ago can still be asked for."""
    return timedelta(seconds=max(at_least_s, 2 * duration_s), hours=1)


def _retire(session: Session, video: Video, at_most: timedelta) -> None:
    """Keep what is published for those who watch it; its objects become garbage a little later than this ends."""
    session.add(
        RetiredPublication(
            video_id=video.id,
            generation=video.generation,
            prefix=video.published_prefix,
            published=video.published,
            published_at=video.published_at,
            until=db_now(session) + at_most - _SLACK,
        )
    )


def _lasting_keys(session: Session, stages: Stages, job: Job) -> list[str]:
    """Return what an earlier job kept for itself: not its publication, nor what is an asset of the video."""
    tasks = [task for task in repository.tasks_of(session, job.id) if task.state == StageState.DONE]
    mine = [task for task in tasks if task.kind in stages and stages[task.kind].fatal]
    return lifecycle.recorded_keys(session, stages, job, mine)


def _duration_s(video: Video) -> float:
    return float((video.published or {}).get("duration_s", 0.0))
