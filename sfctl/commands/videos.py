"""`ls`, `info`, `formats` and `rm`: the library."""

from itertools import islice
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from sfctl.command import DataCommand, command_app
from sfctl.context import Invocation, invocation
from sfctl.errors import CliError
from sfctl.exits import Exit
from sfctl.ids import complete_video, find_video, shorten
from sfctl.quality import choose_quality
from sfctl.text import describe_trouble, format_bitrate, format_bytes, format_duration

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sfserver.wire.jobs import JobRead
    from sfserver.wire.videos import RenditionRead, VideoRead

app = command_app()
VideoId = Annotated[str, typer.Argument(metavar="ID", help="Id, or the start of one.", autocompletion=complete_video)]
VideoIds = Annotated[
    list[str], typer.Argument(metavar="ID", help="Ids, or starts of them.", autocompletion=complete_video)
]


@app.command(
    cls=DataCommand,
    epilog="""
    sfctl ls
    sfctl ls --status ready --limit 5
    sfctl ls --json
    sfctl ls -q
    """,
)
def ls(
    ctx: typer.Context,
    *,
    status: Annotated[
        Literal["queued", "processing", "ready", "failed", "cancelled"] | None, typer.Option(help="Only these.")
    ] = None,
    limit: Annotated[int, typer.Option(min=0, help="How many at most; 0 is all.")] = 100,
) -> None:
    """List videos, newest first."""
    run = invocation(ctx)
    with run.client() as client:
        found = client.videos(status=status)
        videos = list(islice(found, limit) if limit else found)
        has_more = bool(limit) and next(found, None) is not None
    _print_videos(run, videos)
    if has_more:
        run.out.note(f"the {limit} newest; --limit 0 lists all")


def _print_videos(run: Invocation, videos: "list[VideoRead]") -> None:
    out, is_tty = run.out, run.environment.stdout_tty
    if out.as_json:
        out.json(videos)
    elif out.quiet:
        out.ids(video.id for video in videos)
    elif is_tty and not videos:
        out.note("no videos yet; `sfctl upload FILE` adds one")
    else:
        ids = shorten([video.id for video in videos]) if is_tty else {video.id: video.id for video in videos}
        rows = [
            (
                ids[video.id],
                video.status.value,
                format_duration(video.duration_s) if video.duration_s is not None else "-",
                " ".join(rendition.quality for rendition in video.renditions) or "-",
                out.time(video.created_at),
                video.title,
            )
            for video in videos
        ]
        out.table(("ID", "STATUS", "LENGTH", "QUALITIES", "CREATED", "TITLE"), rows)


@app.command(
    cls=DataCommand,
    epilog="""
    sfctl info 0192f3a1
    sfctl info 0192f3a1 --json
    """,
)
def info(ctx: typer.Context, video_id: VideoId) -> None:
    """Show everything about a video."""
    run = invocation(ctx)
    with run.client() as client:
        video = find_video(client, video_id)
        job = client.job(video.job_id) if video.job_id and not (run.out.as_json or run.out.quiet) else None
        poster = client.absolute(video.poster_url) if video.poster_url else None
    if run.out.as_json:
        run.out.json(video)
    elif run.out.quiet:
        run.out.line(video.id)
    else:
        run.out.facts([*_facts(run, video), ("poster", poster), *(_stage_facts(job) if job else ())])
        if run.environment.stdout_tty and video.renditions:
            run.out.line()
            print_formats(run, video.renditions)


def _facts(run: Invocation, video: "VideoRead") -> list[tuple[str, str | None]]:
    source = video.source
    facts: list[tuple[str, str | None]] = [
        ("id", video.id),
        ("job", video.job_id),
        ("title", video.title),
        ("description", video.description or None),
        ("status", video.status.value),
        ("visibility", video.visibility.value),
        ("language", video.language),
        ("length", None if video.duration_s is None else format_duration(video.duration_s)),
        ("created", run.out.time(video.created_at)),
        ("published", run.out.time(video.published_at) if video.published_at else None),
    ]
    if source:
        size = f"{source.width}x{source.height}" if source.width else None
        fps = f"{source.fps:g} fps" if source.fps else None
        media = (source.container, source.video_codec, size, fps, source.audio_codec)
        facts += [
            ("file", source.file_name),
            ("size", format_bytes(source.size_bytes)),
            ("sha256", source.sha256),
            ("source", ", ".join(part for part in media if part) or None),
        ]
    return facts


def _stage_facts(job: "JobRead") -> "Iterator[tuple[str, str]]":
    """Tell how every stage of a job stands; what went wrong with one that no job waits for is told here alone."""
    for stage in job.stages:
        share = f" {stage.progress:.0%}" if stage.state == "running" else ""
        error = stage.error
        why = f": {describe_trouble(error.code, error.detail)}" if error and stage.state != "done" else ""
        why += f" ({error.hint})" if why and error and error.hint else ""
        yield f"  {stage.name}", f"{stage.state.value}{share}{why}"


@app.command(
    cls=DataCommand,
    epilog="""
    sfctl formats 0192f3a1
    sfctl formats 0192f3a1 --json
    """,
)
def formats(ctx: typer.Context, video_id: VideoId) -> None:
    """List the qualities of a video."""
    run = invocation(ctx)
    with run.client() as client:
        video = find_video(client, video_id)
    if run.out.as_json:
        run.out.json(video.renditions)
    elif run.out.quiet:
        run.out.ids(rendition.quality for rendition in video.renditions)
    elif not video.renditions:
        choose_quality(video, "best", run.same_server)
    else:
        print_formats(run, video.renditions)


def print_formats(run: Invocation, renditions: "list[RenditionRead]") -> None:
    """Print qualities as a table."""
    rows = [
        (
            rendition.quality,
            rendition.format,
            f"{rendition.width}x{rendition.height}",
            f"{rendition.fps:g}",
            rendition.codecs,
            format_bitrate(rendition.average_bps),
            format_bitrate(rendition.peak_bps),
            format_bytes(rendition.size_bytes),
        )
        for rendition in renditions
    ]
    run.out.table(("QUALITY", "FORMAT", "SIZE", "FPS", "CODECS", "AVERAGE", "PEAK", "BYTES"), rows)


@app.command(
    cls=DataCommand,
    epilog="""
    sfctl rm 0192f3a1
    sfctl rm 0192f3a1 --dry-run
    sfctl rm 0192f3a1 --yes --purge
    """,
)
def rm(
    ctx: typer.Context,
    video_ids: VideoIds,
    *,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    purge: Annotated[bool, typer.Option("--purge", help="Remove everything for good, no trash.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would go.")] = False,
) -> None:
    """Move videos to the trash."""
    run = invocation(ctx)
    verb = "remove for good" if purge else "move to the trash"
    with run.client() as client:
        videos = list({video.id: video for video in (find_video(client, each) for each in video_ids)}.values())
        for video in videos:
            run.out.note(f"{'would ' if dry_run else ''}{verb}: {video.id}  {video.title}")
        if dry_run or not _confirm(run, f"{verb} {len(videos)} video{'s' * (len(videos) > 1)}?", yes=yes):
            return
        for video in videos:
            client.delete_video(video.id, purge=purge)
    if run.out.as_json:
        run.out.json([{"id": video.id, "purged": purge} for video in videos])
    else:
        run.out.ids(video.id for video in videos)


def _confirm(run: Invocation, question: str, *, yes: bool) -> bool:
    if yes:
        return True
    if not run.environment.stdin_tty:
        raise CliError("not removed: nobody to ask", hint="--yes removes without asking", exit_code=Exit.USAGE)
    run.environment.stderr.write(f"{question} [y/N] ")
    run.environment.stderr.flush()
    if run.environment.stdin.readline().strip().lower() in {"y", "yes"}:
        return True
    raise CliError("not removed", exit_code=Exit.USAGE)
