"""`thumbs`: the poster of a video as a file."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from sfctl.command import DataCommand, command_app
from sfctl.context import Invocation, invocation
from sfctl.errors import ClientError, CliError
from sfctl.exits import Exit
from sfctl.ids import complete_video, find_video
from sfctl.text import safe_file_name

if TYPE_CHECKING:
    from sfserver.wire.videos import VideoRead

app = command_app()


@app.command(
    cls=DataCommand,
    epilog="""
    sfctl thumbs 0192f3a1
    sfctl thumbs 0192f3a1 -o poster.webp
    sfctl thumbs 0192f3a1 --size small --format jpg -o - > poster.jpg
    """,
)
def thumbs(
    ctx: typer.Context,
    video_id: Annotated[
        str, typer.Argument(metavar="ID", help="Id, or the start of one.", autocompletion=complete_video)
    ],
    *,
    output: Annotated[
        str | None,
        typer.Option("-o", "--output", metavar="FILE", help="File or directory; default is the title, - is stdout."),
    ] = None,
    size: Annotated[Literal["large", "small"], typer.Option(help="Within 1280x720 or 640x360.")] = "large",
    kind: Annotated[Literal["webp", "jpg"], typer.Option("--format", help="How it is encoded.")] = "webp",
    force: Annotated[bool, typer.Option("--force", help="Replace FILE where it exists.")] = False,
) -> None:
    """Download the poster of a video."""
    run = invocation(ctx)
    with run.client() as client:
        video = find_video(client, video_id)
        path = _find_path(run, video, output, f"-poster{'-small' * (size == 'small')}.{kind}")
        if path is not None and path.exists() and not force:
            hint = "--force replaces it, -o FILE takes another name"
            raise CliError(f"{path} exists", hint=hint, exit_code=Exit.USAGE)
        try:
            picture = client.poster(video.id, kind, size)
        except ClientError as error:
            if error.code == "unknown_rendition":
                error.hint = f"`sfctl reprocess {video.id} --stage poster` makes one"
            raise
    _write(run, path, picture)
    if path is not None and run.out.as_json:
        run.out.json({"id": video.id, "file": str(path), "size_bytes": len(picture)})
    elif path is not None:
        run.out.line(video.id if run.out.quiet else str(path))


def _find_path(run: Invocation, video: "VideoRead", output: str | None, suffix: str) -> Path | None:
    """Return where the picture goes; None is stdout."""
    if output == "-":
        if run.environment.stdout_tty:
            hint = "pipe it on, or give a file with -o FILE"
            raise CliError("a picture is no text for a terminal", hint=hint, exit_code=Exit.USAGE)
        return None
    name = safe_file_name(video.title, suffix)
    if output is None:
        return Path(name)
    return Path(output, name) if output.endswith("/") or Path(output).is_dir() else Path(output)


def _write(run: Invocation, path: Path | None, picture: bytes) -> None:
    if path is None:
        run.environment.stdout.buffer.write(picture)
        run.environment.stdout.flush()
        return
    part = path.with_name(path.name + ".part")
    try:
        part.write_bytes(picture)
        part.replace(path)
    except OSError as error:
        raise CliError(f"cannot write {path}", why=error.strerror, exit_code=Exit.USAGE) from error
