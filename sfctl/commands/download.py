"""`download`: a video as a file, continuing where an earlier run stopped."""

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from sfctl.command import LiveCommand, command_app
from sfctl.context import Invocation, invocation
from sfctl.errors import CliError, ServerUnreachableError
from sfctl.exits import Exit
from sfctl.ids import complete_video, find_video
from sfctl.quality import QualityOption, choose_quality
from sfctl.text import safe_file_name

if TYPE_CHECKING:
    from sfctl.client import Client
    from sfctl.transfer import Target
    from sfserver.wire.videos import VideoRead

app = command_app()
_RETRY_S = (0.2, 1.0, 3.0)


@app.command(
    cls=LiveCommand,
    epilog="""
    sfctl download 0192f3a1
    sfctl download 0192f3a1 -f 720p -o film.mp4
    sfctl download 0192f3a1 -o - > film.mp4
    """,
)
def download(
    ctx: typer.Context,
    video_id: Annotated[
        str, typer.Argument(metavar="ID", help="Id, or the start of one.", autocompletion=complete_video)
    ],
    *,
    quality: QualityOption = None,
    output: Annotated[
        str | None, typer.Option("-o", "--output", metavar="FILE", help="Where to; default is the title, - is stdout.")
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace FILE where it exists.")] = False,
) -> None:
    """Download a video, continuing where an earlier run stopped."""
    run = invocation(ctx)
    with run.client(timeout_s=60.0) as client:
        video = find_video(client, video_id)
        chosen = choose_quality(video, quality or run.settings.find("quality") or "best", run.same_server)
        target = _open_target(run, video, chosen, output, force=force)
        try:
            _transfer(run, client, video, chosen, target)
        finally:
            target.close()
    path = target.finish()
    if path is None:
        return
    if run.out.as_json:
        run.out.json({"id": video.id, "quality": chosen, "file": str(path), "size_bytes": path.stat().st_size})
    else:
        run.out.line(video.id if run.out.quiet else str(path))


def _open_target(run: Invocation, video: "VideoRead", quality: str, output: str | None, *, force: bool) -> "Target":
    from sfctl.transfer import FileTarget, PipeTarget

    if output == "-":
        if run.environment.stdout_tty:
            hint = "pipe it on, or give a file with -o FILE"
            raise CliError("a video is no text for a terminal", hint=hint, exit_code=Exit.USAGE)
        return PipeTarget(run.environment.stdout.buffer)
    path = Path(output) if output else Path(default_name(video, quality))
    if path.exists() and not force:
        raise CliError(f"{path} exists", hint="--force replaces it, -o FILE takes another name", exit_code=Exit.USAGE)
    return FileTarget(path)


def default_name(video: "VideoRead", quality: str) -> str:
    """Name the file after the title; the source keeps the suffix it came with."""
    if quality == "source":
        return safe_file_name(
            video.title, safe_file_name(Path(video.source.file_name).suffix if video.source else "", "")
        )
    return safe_file_name(f"{video.title}.{quality}", ".mp4")


def _transfer(run: Invocation, client: "Client", video: "VideoRead", quality: str, target: "Target") -> None:
    """Fetch until the file is whole; a connection that breaks is taken up again where it broke."""
    from sfctl.bars import JobRow
    from sfctl.progress import reporting
    from sfctl.transfer import fetch

    row = JobRow(video.title, state="downloading")
    started, before = time.monotonic(), target.offset

    def on_bytes(done: int, total: int) -> None:
        row.progress = done / total if total else 0.0
        row.speed = max(done - before, 0) / max(time.monotonic() - started, 1e-3)
        row.eta_s = (total - done) / row.speed if row.speed else None
        row.note = None
        reporter.changed(row)

    failures = 0
    with reporting(run.environment, run.settings.find("progress") or "auto") as reporter:
        while True:
            reached = target.offset
            try:
                fetch(client, video.id, quality, target, on_bytes)
                break
            except ServerUnreachableError as error:
                failures = 1 if target.offset > reached else failures + 1
                if failures > len(_RETRY_S):
                    raise
                row.note = f"continuing: {error.why}"
                reporter.changed(row)
                time.sleep(_RETRY_S[failures - 1])
        row.state, row.progress, row.speed, row.eta_s, row.note = "downloaded", 1.0, None, None, None
        reporter.changed(row)
