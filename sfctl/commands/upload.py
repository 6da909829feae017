"""`upload`: send videos, and with `--wait` stay until they are made."""

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from sfctl.bars import JobRow
from sfctl.command import LiveCommand, command_app
from sfctl.context import Invocation, invocation
from sfctl.errors import ClientError, CliError, show_error
from sfctl.exits import Exit

if TYPE_CHECKING:
    from sfctl.live import LiveClient
    from sfctl.progress import Reporter
    from sfctl.watching import Outcome

app = command_app()
SUFFIXES = frozenset(
    {".3gp", ".avi", ".flv", ".m2ts", ".m4v", ".mkv", ".mov", ".mp4", ".mpeg", ".mpg", ".mts", ".ogv", ".ts", ".webm"}
)

# After one of these the other files would fare no better.
_HOPELESS = (Exit.UNREACHABLE, Exit.NOT_SIGNED_IN)


@dataclass
class Sent:
    """What became of one file: where it went, or why not."""

    path: Path
    outcome: "Outcome | None" = None
    video_id: str | None = None
    error: CliError | None = None

    @property
    def exit_code(self) -> Exit:
        """How this file alone would have ended the command."""
        if self.error:
            return self.error.exit_code
        status = self.outcome.status if self.outcome else None
        return Exit.FAILED if status in {"failed", "cancelled"} else Exit.OK


@app.command(
    cls=LiveCommand,
    epilog="""
    sfctl upload film.mp4
    sfctl upload film.mp4 --wait --title "The film"
    sfctl upload -r clips --wait
    sfctl upload one.mp4 two.mkv -q
    """,
)
def upload(
    ctx: typer.Context,
    files: Annotated[list[Path], typer.Argument(metavar="FILE", help="Videos, or with -r directories.")],
    *,
    recursive: Annotated[bool, typer.Option("-r", "--recursive", help="Take the videos in directories.")] = False,
    wait: Annotated[bool, typer.Option("--wait", help="Stay until the videos are ready.")] = False,
    title: Annotated[str | None, typer.Option(help="Title; default is the file's name.")] = None,
    visibility: Annotated[Literal["public", "unlisted", "private"], typer.Option(help="Who may watch.")] = "private",
    language: Annotated[str | None, typer.Option(help="Language that is spoken, like `en`.")] = None,
) -> None:
    """Send videos, and with --wait watch them being made."""
    run = invocation(ctx)
    given = {"title": title, "visibility": visibility, "language": language}
    fields = {name: value for name, value in given.items() if value}
    batch = [Sent(path) for path in find_files(files, recursive=recursive)]
    try:
        asyncio.run(send_all(run, batch, fields, wait=wait))
    except KeyboardInterrupt:
        _tell_how_to_go_on(run, batch)
        raise
    report(run, batch)
    raise typer.Exit(batch_exit(batch))


def find_files(paths: list[Path], *, recursive: bool) -> list[Path]:
    """List the files to send, each once; directories give their videos with `recursive`."""
    found: list[Path] = []
    for path in paths:
        if recursive and path.is_dir():
            inside = (each for each in sorted(path.rglob("*")) if each.suffix.lower() in SUFFIXES and each.is_file())
            found.extend(inside)
        else:
            found.append(path)
    if not found:
        raise CliError("no videos there", hint=f"looked for {' '.join(sorted(SUFFIXES))}", exit_code=Exit.USAGE)
    return list(dict.fromkeys(found))


def check_file(path: Path) -> CliError | None:
    """Say what already rules a file out before it is sent."""
    if path.is_dir():
        return CliError(f"{path} is a directory", hint="-r sends the videos in it", exit_code=Exit.USAGE)
    try:
        with path.open("rb") as file:
            return None if file.read(1) else CliError(f"{path} is empty", exit_code=Exit.REJECTED)
    except OSError as error:
        return CliError(f"cannot read {path}", why=error.strerror, exit_code=Exit.USAGE)


async def send_all(run: Invocation, batch: list[Sent], fields: dict[str, str], *, wait: bool) -> None:
    """Send one file after the other; with `wait` their jobs are followed meanwhile and to their ends."""
    from sfctl.live import LiveClient
    from sfctl.progress import reporting
    from sfctl.watching import Audience, ticking, watch_job

    with reporting(run.environment, run.settings.find("progress") or "auto") as reporter:
        async with LiveClient(run.url, run.find_token()) as live, ticking(reporter):
            followers = []
            for sent in batch:
                await send_one(live, sent, fields, reporter)
                if sent.exit_code in _HOPELESS:
                    break
                if wait and sent.outcome:
                    audience = Audience(reporter, run.same_server)
                    followers.append(asyncio.create_task(watch_job(live, sent.outcome, audience)))
            await asyncio.gather(*followers)


async def send_one(live: "LiveClient", sent: Sent, fields: dict[str, str], reporter: "Reporter") -> None:
    """Send one file and note what came of it."""
    from sfctl.watching import Outcome

    row = JobRow(fields.get("title") or sent.path.name, state="uploading")
    sent.error = check_file(sent.path)
    if sent.error is None:
        try:
            accepted = await live.upload(sent.path, fields, _meter(row, sent.path.stat().st_size, reporter))
            row.state, row.progress, row.speed, row.eta_s = accepted.status.value, 0.0, None, None
            sent.video_id = accepted.video_id
            sent.outcome = Outcome(accepted.job_id, row.title, accepted.status, row=row)
        except ClientError as error:
            error.what = f"{sent.path}: {error.what}" if error.status else error.what
            sent.error = error
    if sent.error:
        row.state, row.progress, row.speed, row.eta_s = "failed", 0.0, None, None
        row.note = sent.error.why or sent.error.what
    reporter.changed(row)


def _meter(row: JobRow, size_bytes: int, reporter: "Reporter") -> Callable[[int], None]:
    started = 0.0

    def on_bytes(sent_bytes: int) -> None:
        nonlocal started
        started = started or time.monotonic()
        row.progress = sent_bytes / size_bytes if size_bytes else 0.0
        row.speed = sent_bytes / max(time.monotonic() - started, 1e-3)
        row.eta_s = max(size_bytes - sent_bytes, 0) / row.speed if row.speed else None
        reporter.changed(row)

    return on_bytes


def report(run: Invocation, batch: list[Sent]) -> None:
    """Print what became of each file; the ones that failed are named with the reason."""
    out = run.out
    if out.as_json:
        out.json([_as_json(sent) for sent in batch])
    elif out.quiet:
        out.ids(sent.video_id for sent in batch if sent.video_id and not sent.exit_code)
    else:
        rows = [(sent.video_id or "-", _state(sent), str(sent.path), _reason(sent)) for sent in batch]
        out.table(("VIDEO", "STATUS", "FILE", "WHY"), rows)
    for sent in batch:
        if sent.error:
            show_error(sent.error, run.environment.stderr)
    going = [sent.outcome.job_id for sent in batch if sent.outcome and not sent.outcome.status.is_final]
    if going and run.environment.stderr_tty:
        out.note(f"next: sfctl watch {' '.join(going)}{run.same_server}")


def batch_exit(batch: list[Sent]) -> Exit:
    """Say how a batch ends: 0 if all went well, the common reason if none did, else 1."""
    codes = [sent.exit_code for sent in batch]
    for code in _HOPELESS:
        if code in codes:
            return code
    if not any(codes):
        return Exit.OK
    return codes[0] if len(set(codes)) == 1 else Exit.FAILED


def _state(sent: Sent) -> str:
    if sent.outcome:
        return sent.outcome.status.value
    return "failed" if sent.error else "not sent"


def _reason(sent: Sent) -> str:
    if sent.error:
        return sent.error.why or sent.error.what
    return sent.outcome.error.detail if sent.outcome and sent.outcome.error else ""


def _as_json(sent: Sent) -> dict[str, object]:
    error: object = sent.outcome.error if sent.outcome else None
    if sent.error:
        code = sent.error.code if isinstance(sent.error, ClientError) else "not_sent"
        error = {"code": code, "detail": _reason(sent), "hint": sent.error.hint}
    return {
        "file": str(sent.path),
        "status": _state(sent),
        "video_id": sent.video_id,
        "job_id": sent.outcome.job_id if sent.outcome else None,
        "error": error,
    }


def _tell_how_to_go_on(run: Invocation, batch: list[Sent]) -> None:
    going = [sent.outcome.job_id for sent in batch if sent.outcome and not sent.outcome.status.is_final]
    if going:
        run.out.note("stopped watching; the server goes on with what it has")
        run.out.note(f"  watch:  sfctl watch {' '.join(going)}{run.same_server}")
        run.out.note(f"  cancel: sfctl jobs cancel {' '.join(going)}{run.same_server}")
    for sent in batch:
        if not sent.outcome and not sent.error:
            run.out.note(f"not sent: {sent.path}")
