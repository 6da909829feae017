"""From what a person types (an id, the start of one, a pasted URL) to the video or job meant."""

import re
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, TypeVar

import typer

from sfctl.errors import ClientError, CliError
from sfctl.exits import Exit
from sfctl.text import safe_text

if TYPE_CHECKING:
    from sfctl.client import Client
    from sfserver.wire.jobs import JobRead
    from sfserver.wire.videos import VideoRead

Found = TypeVar("Found")
_LISTS = {"video": "ls", "job": "jobs"}
_UUID = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_PREFIX = re.compile(r"[0-9a-f]{1,8}|[0-9a-f]{8}-[0-9a-f-]{0,27}")
# A UUIDv7 starts with its millisecond: eight digits are shared for a minute, these thirteen hardly ever.
_SHORT = 13


def find_video(client: "Client", text: str) -> "VideoRead":
    """Return the video that `text` names by its id, its job's id or a unique start of either."""
    full = _find_uuid(text)
    if full is None:
        videos = {video.id: video for video in client.videos()}
        by_job = {video.job_id: video for video in videos.values() if video.job_id}
        return _pick(text, {**by_job, **videos}, "video")
    try:
        return client.video(full)
    except ClientError as error:
        if error.exit_code is not Exit.NOT_FOUND:
            raise
        return client.video(_other_id(client, full, error, "video"))


def find_job(client: "Client", text: str) -> "JobRead":
    """Return the job that `text` names by its id, its video's id or a unique start of either."""
    full = _find_uuid(text)
    if full is None:
        jobs = {job.id: job for job in client.jobs()}
        by_video = {job.video_id: job for job in reversed(jobs.values())}
        return _pick(text, {**by_video, **jobs}, "job")
    try:
        return client.job(full)
    except ClientError as error:
        if error.exit_code is not Exit.NOT_FOUND:
            raise
        return client.job(_other_id(client, full, error, "job"))


def shorten(ids: Sequence[str]) -> dict[str, str]:
    """Return for each id the shortest start, of a constant length, that tells all of `ids` apart."""
    length = _SHORT
    while len({each[:length] for each in ids}) < len(set(ids)):
        length += 1
    return {each: each[:length] for each in ids}


def complete_video(ctx: typer.Context, incomplete: str) -> list[tuple[str, str]]:
    """Offer the videos whose ids start with `incomplete`, with their titles, to the shell."""
    return _complete(ctx, incomplete, jobs=False)


def complete_job(ctx: typer.Context, incomplete: str) -> list[tuple[str, str]]:
    """Offer the jobs whose ids start with `incomplete`, with their titles, to the shell."""
    return _complete(ctx, incomplete, jobs=True)


def _complete(ctx: typer.Context, incomplete: str, *, jobs: bool) -> list[tuple[str, str]]:
    from itertools import islice

    from sfctl.context import invocation

    try:
        with invocation(ctx).client(timeout_s=2.0) as client:
            found: Iterable[VideoRead | JobRead] = client.jobs() if jobs else client.videos()
            return [(one.id, safe_text(one.title)) for one in islice(found, 100) if one.id.startswith(incomplete)]
    except CliError:
        # A shell that is completing has no place for an error.
        return []


def _find_uuid(text: str) -> str | None:
    match = _UUID.search(text.lower())
    return match.group() if match else None


def _pick(text: str, known: dict[str, Found], noun: str) -> Found:
    start = text.lower()
    if not _PREFIX.fullmatch(start):
        raise CliError(f"{text!r} is no {noun} id", hint=f"`sfctl {_LISTS[noun]}` lists them", exit_code=Exit.NOT_FOUND)
    found = {id(value): (key, value) for key, value in known.items() if key.startswith(start)}
    if len(found) == 1:
        return next(iter(found.values()))[1]
    if not found:
        raise CliError(f"no {noun} {text}", hint=f"`sfctl {_LISTS[noun]}` lists them", exit_code=Exit.NOT_FOUND)
    some = ", ".join(key for key, _ in list(found.values())[:3])
    raise CliError(f"{text} is the start of {len(found)} ids", why=some, hint="type more of it", exit_code=Exit.USAGE)


def _other_id(client: "Client", known: str, error: ClientError, noun: str) -> str:
    """Take `known` for the id of the other kind; where that fails too the first `error` stands."""
    try:
        found = client.job(known).video_id if noun == "video" else client.video(known).job_id
    except ClientError:
        found = None
    if found is None:
        raise error
    return found
