"""`demo`: a video going all the way through on this machine."""

import asyncio
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from sfctl import embedded
from sfctl.command import LiveCommand, command_app
from sfctl.commands.server import pass_preflight, start_detached
from sfctl.commands.upload import Sent, batch_exit, check_file, send_all
from sfctl.commands.videos import print_formats
from sfctl.context import Invocation, invocation
from sfctl.embedded import ServerOptions, ServerRecord
from sfctl.errors import CliError, show_error
from sfctl.preflight import check_port
from sfctl.text import format_bytes, format_duration

if TYPE_CHECKING:
    from sfserver.wire.jobs import JobRead
    from sfserver.wire.videos import VideoRead

app = command_app()
_CLIP_S = 20


@app.command(
    cls=LiveCommand,
    epilog="""
    sfctl demo
    sfctl demo film.mp4
    sfctl demo --data-dir ./data
    """,
)
def demo(
    ctx: typer.Context,
    video: Annotated[Path | None, typer.Argument(help="A video of your own; default is a clip made here.")] = None,
) -> None:
    """Show a video going through, from upload to playing.

    Without a terminal it ends by itself and stops the server it started.
    """
    run = invocation(ctx)
    if video and (error := check_file(video)):
        raise error
    is_attended = run.environment.stdin_tty and run.environment.stdout_tty
    with _server(run, leave_running=is_attended) as (record, is_ours), tempfile.TemporaryDirectory() as scratch:
        local = run.at_embedded(record)
        sent = _send(local, video or _make_clip(local, Path(scratch) / "StreamForge demo.mp4"))
        _show(local, sent, is_ours=is_ours and is_attended)


@contextmanager
def _server(run: Invocation, *, leave_running: bool) -> Iterator[tuple[ServerRecord, bool]]:
    """Yield a running server, and whether it was started here; such a one stays only if all goes well and may stay."""
    if running := embedded.find_running(run.data_dir):
        run.out.note(f"a server runs already: {running.url}")
        yield running, False
        return
    port = 8420 if check_port("127.0.0.1", 8420).ok else 0
    options = ServerOptions(run.data_dir, port=port)
    pass_preflight(run, options)
    record = start_detached(run, options)
    run.out.note(f"started a server: {record.url}, data in {run.data_dir}")
    is_wanted = False
    try:
        yield record, True
        is_wanted = leave_running
    finally:
        if not is_wanted:
            embedded.stop(record)
            run.out.note(f"stopped the server; `sfctl up{run.same_server}` starts it again")


def _make_clip(run: Invocation, path: Path) -> Path:
    run.out.note(f"making a {_CLIP_S} s clip")
    command = [sys.executable, "-m", "sfserver", "make-clip", str(path), "--seconds", str(_CLIP_S)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        why = (done.stderr.strip().splitlines() or [embedded.describe_exit(done.returncode)])[-1]
        raise CliError("the clip could not be made", why=why, hint="sfctl doctor, or `sfctl demo VIDEO` with your own")
    return path


def _send(run: Invocation, path: Path) -> Sent:
    sent = Sent(path)
    asyncio.run(send_all(run, [sent], {"title": path.stem}, wait=True))
    if code := batch_exit([sent]):
        if sent.error:
            show_error(sent.error, run.environment.stderr)
        elif sent.outcome and sent.outcome.error:
            run.out.note(f"the job {sent.outcome.status.value}: {sent.outcome.error.detail}")
        raise typer.Exit(code)
    return sent


def _show(run: Invocation, sent: Sent, *, is_ours: bool) -> None:
    out, option = run.out, run.same_server
    with run.client() as client:
        video = client.video(sent.video_id or "")
        job = client.job(sent.outcome.job_id if sent.outcome else "")
        links = client.links(video.id)
        sign_in = client.sign_in_link(f"/watch/{video.id}")
    if out.as_json:
        out.json({"video": video, "job": job, "links": links, "sign_in": sign_in})
        return
    out.line()
    print_formats(run, video.renditions)
    out.line(_summary(video, job))
    best = max(links.files, key=lambda file: int(file.quality.removesuffix("p")) if file.quality[0].isdigit() else 0)
    out.line()
    out.line(f"mpv, VLC  {best.url}")
    out.line(f"HLS       {links.hls}")
    out.line(f"browser   {sign_in}  (works once)")
    out.line()
    out.line("next:")
    for command in ("play", "explain", "download"):
        out.line(f"  sfctl {command} {video.id[:13]}{option}")
    if is_ours:
        out.line(f"  sfctl down{option}    (the server goes on running until then)")


def _summary(video: "VideoRead", job: "JobRead") -> str:
    made = sum(rendition.size_bytes for rendition in video.renditions)
    source = f" from {format_bytes(video.source.size_bytes)}" if video.source else ""
    text = f"{len(video.renditions)} qualities, {format_bytes(made)}{source}"
    if job.playable_at:
        text += f"; playable after {(job.playable_at - job.created_at).total_seconds():.1f} s"
    if video.duration_s and job.started_at and job.finished_at:
        wall_s = (job.finished_at - job.started_at).total_seconds()
        speed = video.duration_s / wall_s if wall_s > 0 else 0.0
        text += f"; {format_duration(video.duration_s)} of video in {wall_s:.1f} s, {speed:.1f}x real time"
    return text
