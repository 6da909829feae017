"""The `sfctl` command line: which commands there are, and the edge where errors become text and exit codes."""

import os
import signal
import sys
import traceback
from collections.abc import Sequence
from types import FrameType
from typing import Annotated, ClassVar

import typer

from sfctl.command import CONTEXT_SETTINGS, Entry, LazyGroup
from sfctl.context import Environment, Invocation
from sfctl.errors import CliError, show_error
from sfctl.exits import Exit

EXAMPLES = """
sfctl up                      start the server on this machine
sfctl upload film.mp4 --wait  send a video and watch it being made
sfctl ls                      list what is there
sfctl play 0192f3a1           play it
"""


class RootGroup(LazyGroup):
    """All commands of `sfctl`."""

    entries: ClassVar[dict[str, Entry]] = {
        "up": Entry("server", "Server", "Start the embedded server and wait until it is healthy."),
        "down": Entry("server", "Server", "Stop the embedded server."),
        "status": Entry("server", "Server", "Say whether a server runs, and where."),
        "doctor": Entry("doctor", "Server", "Test the whole path and name what is broken, with its remedy."),
        "demo": Entry("demo", "Server", "Show a video going through, from upload to playing."),
        "upload": Entry("upload", "Videos", "Send videos, and with --wait watch them being made."),
        "watch": Entry("watch", "Videos", "Follow jobs with live bars until they end."),
        "ls": Entry("videos", "Videos", "List videos, newest first."),
        "info": Entry("videos", "Videos", "Show everything about a video."),
        "formats": Entry("videos", "Videos", "List the qualities of a video."),
        "rm": Entry("videos", "Videos", "Move videos to the trash."),
        "play": Entry("playback", "Playing", "Play a video in mpv, VLC or ffplay."),
        "download": Entry("download", "Playing", "Download a video, continuing where an earlier run stopped."),
        "thumbs": Entry("thumbs", "Playing", "Download the poster of a video."),
        "url": Entry("playback", "Playing", "Print a signed URL that any player opens."),
        "open": Entry("playback", "Playing", "Print a one-time URL that signs a browser in."),
        "jobs": Entry("jobs", "Jobs", "List, show, cancel and retry jobs."),
        "reprocess": Entry("reprocess", "Jobs", "Process a video again, all of it or one stage."),
        "explain": Entry("explain", "Jobs", "Explain a job: why this ladder, what ran where, what was retried."),
        "config": Entry("config", "Settings", "Show and change settings of the command line."),
        "auth": Entry("auth", "Settings", "Show who is signed in, and the local token."),
    }


app = typer.Typer(
    cls=RootGroup,
    context_settings=CONTEXT_SETTINGS,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    no_args_is_help=True,
)


def _show_version(value: bool) -> None:
    if value:
        from importlib.metadata import version

        typer.echo(f"sfctl {version('streamforge')}")
        raise typer.Exit


@app.callback(epilog=EXAMPLES)
def root(
    version: Annotated[
        bool, typer.Option("--version", help="Print the version.", is_eager=True, callback=_show_version)
    ] = False,
) -> None:
    """StreamForge: video in, playable everywhere."""


def run(args: Sequence[str], environment: Environment) -> int:
    """Run one command line in `environment` and return its exit code; the one edge where exceptions end."""
    invocation = Invocation(environment)
    try:
        typer.main.get_command(app).main(list(args), prog_name="sfctl", obj=invocation)
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else Exit.OK
    except CliError as error:
        if invocation.has("debug"):
            traceback.print_exc(file=environment.stderr)
        show_error(error, environment.stderr)
        return error.exit_code
    except Exception as error:
        if invocation.has("debug"):
            raise
        why = f"{type(error).__name__}: {error}"
        bug = CliError("this is a bug in sfctl", why=why, hint="run it again with --debug and report the traceback")
        show_error(bug, environment.stderr)
        return Exit.FAILED
    return Exit.OK


def _terminate(_signal: int, _frame: FrameType | None) -> None:
    raise SystemExit(Exit.TERMINATED)


def main() -> None:
    """Run `sfctl` in the real process."""
    signal.signal(signal.SIGTERM, _terminate)
    code = run(sys.argv[1:], Environment.of_process())
    try:
        sys.stdout.flush()
    except BrokenPipeError:
        # The reader has gone (`sfctl ls | head -1`): nothing is wrong, but Python would complain at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    raise SystemExit(code)
