"""The one vocabulary of qualities: `1080p 720p 360p best worst source`."""

from typing import TYPE_CHECKING, Annotated, Literal

import typer

from sfctl.errors import CliError
from sfctl.exits import Exit

if TYPE_CHECKING:
    from sfserver.wire.videos import VideoRead

Quality = Literal["1080p", "720p", "360p", "best", "worst", "source"]
QualityOption = Annotated[Quality | None, typer.Option("-f", "--quality", help="Default is best.", show_default=False)]


def choose_quality(video: "VideoRead", wanted: str, same_server: str = "") -> str:
    """Turn `best` and `worst` into a file that `video` has; `source` and names stand for themselves.

    `same_server` are the options that lead a proposed command to this video's server.
    Raises a `CliError`: not found for a quality the video lacks, pending or failed while it has none.
    """
    if wanted == "source":
        return wanted
    ranked = sorted(video.renditions, key=lambda rendition: rendition.width * rendition.height)
    names = [rendition.quality for rendition in ranked]
    if not names:
        is_pending = not video.status.is_final
        raise CliError(
            f"{video.title} is {video.status.value}: no file of it {'yet' if is_pending else 'is there'}",
            hint=f"sfctl {'watch' if is_pending else 'jobs'} {video.job_id or video.id}{same_server}",
            exit_code=Exit.PENDING if is_pending else Exit.FAILED,
        )
    if wanted in {"best", "worst"}:
        return names[-1 if wanted == "best" else 0]
    if wanted not in names:
        raise CliError(f"{video.title} has no {wanted}", hint=f"it has {' '.join(names)}", exit_code=Exit.NOT_FOUND)
    return wanted
