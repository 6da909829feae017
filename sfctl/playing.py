"""What a player is given for a video as it stands: a file, or while it encodes the lists that grow."""

import time
from bisect import bisect_right
from dataclasses import dataclass
from typing import TYPE_CHECKING

from sfctl.errors import CliError
from sfctl.exits import Exit
from sfctl.quality import choose_quality
from sfctl.text import describe_trouble, format_duration

if TYPE_CHECKING:
    from sfctl.client import Client
    from sfctl.playlists import Variant
    from sfserver.wire.videos import VideoLinks, VideoRead

_POLL_S = 0.3


@dataclass(frozen=True)
class LiveStart:
    """Where in lists that grow a player begins, and with which variant."""

    segment: int
    variant: "Variant"


@dataclass(frozen=True)
class Media:
    """What a player opens, and where it begins; `live` is None for a file."""

    url: str
    start_s: float = 0.0
    live: LiveStart | None = None


def choose_media(client: "Client", video: "VideoRead", wanted: str, start_s: float, same_server: str) -> Media:
    """Choose what a player is given for the quality that is wanted, or say why there is nothing (yet)."""
    links = get_links(client, video, same_server)
    if links.live and wanted != "source":
        return Media(links.hls, start_s, _choose_start(client, links, video, wanted, start_s))
    return Media(file_url(client, links, video, wanted, same_server), start_s)


def get_links(client: "Client", video: "VideoRead", same_server: str) -> "VideoLinks":
    """Return the signed URLs of a video; a `CliError` where it cannot be played, still pending if it may become so."""
    links = client.find_links(video.id)
    if links is not None:
        return links
    if video.status.is_final:
        choose_quality(video, "best", same_server)
    raise CliError(
        f"{video.title} is {video.status.value}: not playable yet",
        hint=f"sfctl watch {video.job_id or video.id}{same_server}",
        exit_code=Exit.PENDING,
    )


def file_url(client: "Client", links: "VideoLinks", video: "VideoRead", wanted: str, same_server: str) -> str:
    """Return the signed URL of a file."""
    if links.files and not video.renditions:
        # It has become ready since it was read.
        video = client.video(video.id)
    quality = choose_quality(video, wanted, same_server)
    files = {file.quality: file.url for file in links.files if file.format == "mp4" or quality == "source"}
    if quality not in files:
        hint = f"sfctl download {video.id} -f {quality}{same_server} fetches it"
        hint += f"; or take {' '.join(files)}" if files else ""
        raise CliError(f"no signed URL for {quality}", hint=hint, exit_code=Exit.NOT_FOUND)
    return files[quality]


def wait_playable(client: "Client", video: "VideoRead") -> "VideoRead":
    """Wait until a video can be played, and return it as it stands then."""
    while video.job_id and not video.renditions:
        job = client.job_status(video.job_id)
        if job.error and job.status.is_final:
            why = describe_trouble(job.error.code, job.error.detail)
            raise CliError(f"{video.title} is {job.status.value}", why=why, hint=job.error.hint)
        if job.playable_at or job.status.is_final:
            return client.video(video.id)
        time.sleep(_POLL_S)
    return video


def _choose_start(client: "Client", links: "VideoLinks", video: "VideoRead", wanted: str, start_s: float) -> LiveStart:
    """Choose a variant that has begun, and the segment with the second that is wanted."""
    from sfctl.playlists import read_ends, read_variants

    variants = read_variants(client.read_playlist(links.hls), links.hls)
    ends = {each: read_ends(client.read_playlist(each.url)) for each in variants}
    begun = sorted((each for each in variants if ends[each]), key=lambda each: each.width * each.height)
    variant = _choose_variant(variants, begun, video, wanted)
    there_s = ends[variant][-1]
    if start_s >= there_s:
        raise CliError(
            f"{video.title} is there up to {format_duration(there_s)} so far",
            why=f"it is {video.status.value}; {format_duration(start_s)} comes later",
            exit_code=Exit.PENDING,
        )
    return LiveStart(bisect_right(ends[variant], start_s), variant)


def _choose_variant(variants: "list[Variant]", begun: "list[Variant]", video: "VideoRead", wanted: str) -> "Variant":
    names = {each.quality: each for each in begun}
    have = " ".join(reversed(names))
    if wanted in names:
        return names[wanted]
    if wanted in {"best", "worst"} and begun:
        return begun[-1 if wanted == "best" else 0]
    if begun and wanted not in {each.quality for each in variants}:
        raise CliError(f"{video.title} has no {wanted}", hint=f"it has {have} so far", exit_code=Exit.NOT_FOUND)
    raise CliError(
        f"{wanted} of {video.title} has not begun yet",
        hint=f"there is {have}" if have else None,
        exit_code=Exit.PENDING,
    )
