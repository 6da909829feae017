"""The one vocabulary of qualities: `1080p 720p 360p best worst source`."""

from typing import TYPE_CHECKING, Annotated, Literal

import typer

from sfctl.errors import CliError
from sfctl.exits import Exit

if TYPE_CHECKING:
    from sfserver.wire.videos import VideoRead

Quality = Literal["1080p", "720p", "360p", "best", "worst", "source"]
QualityOption = Annotated[Quality | None, typer.Option("-f", "--quality", help="Default is best.", show_default=False)]


def choose_quality(video: "VideoRead", wanted: str) -> str:
    """Turn `best` and `worst` into a quality that `video` has; `source` and names stand for themselves.

    Raises a `CliError`: not found for a quality the video lacks, pending or failed while it has none.
    """
    if wanted == "source":
        return wanted
    ranked = sorted(video.renditions, key=lambda rendition: rendition.width * rendition.height)
    names = [rendition.quality for rendition in ranked]
    if not names:
        is_pending = not video.status.is_final
        raise CliError(
            f"{video.title} is {video.status.value}: nothing to play",
            hint=f"sfctl watch {video.job_id or video.id}" if is_pending else f"sfctl jobs {video.job_id or video.id}",
            exit_code=Exit.PENDING if is_pending else Exit.FAILED,
        )
    if wanted in {"best", "worst"}:
        return names[-1 if wanted == "best" else 0]
    if wanted not in names:
        raise CliError(f"{video.title} has no {wanted}", hint=f"it has {' '.join(names)}", exit_code=Exit.NOT_FOUND)
    return wanted
