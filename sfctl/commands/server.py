"""`up`, `down` and `status`: the embedded server."""

import shlex
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Annotated, Literal

import typer

from sfctl import embedded
from sfctl.command import Command, command_app
from sfctl.context import Invocation, invocation
from sfctl.embedded import ServerDiedError, ServerOptions, ServerRecord
from sfctl.errors import ClientError, CliError
from sfctl.exits import Exit

app = command_app()


@app.command(
    cls=Command,
    epilog="""
    sfctl up
    sfctl up --detach --port 8421
    sfctl up --data-dir ./data --concurrency 2
    """,
)
def up(
    ctx: typer.Context,
    *,
    host: Annotated[str, typer.Option(envvar="SF_HTTP__HOST", help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[
        int, typer.Option(min=0, max=65535, envvar="SF_HTTP__PORT", help="Port to listen on; 0 takes a free one.")
    ] = 8420,
    concurrency: Annotated[
        int | None,
        typer.Option(
            min=1, envvar="SF_WORKER__CONCURRENCY", help="Encode tasks at once; default is the number of cores."
        ),
    ] = None,
    detach: Annotated[bool, typer.Option("--detach", "-d", help="Leave it running in the background.")] = False,
) -> None:
    """Start the embedded server and wait until it is healthy."""
    run = invocation(ctx)
    if running := embedded.find_running(run.data_dir):
        run.out.note("already running")
        show_banner(run, running)
        return
    options = ServerOptions(run.data_dir, host, port, concurrency)
    pass_preflight(run, options)
    if detach:
        show_banner(run, start_detached(run, options))
    else:
        raise typer.Exit(_serve(run, options))


def pass_preflight(run: Invocation, options: ServerOptions) -> None:
    """Check what a server needs; what is missing is named with its remedy, a line each, and ends the command."""
    from sfctl.preflight import run_preflight

    broken = [check for check in run_preflight(options) if not check.ok]
    for check in broken:
        run.out.note(f"{check.name}: {check.detail}; {check.remedy}")
    if broken:
        raise CliError("the server cannot start here", why=", ".join(check.name for check in broken))


def start_detached(run: Invocation, options: ServerOptions) -> ServerRecord:
    """Start a server in the background and wait for its health; if it fails its last log lines are shown."""
    process = embedded.spawn_detached(options)
    try:
        return embedded.wait_healthy(process, options.data_dir, lambda url: is_healthy(run, url))
    except CliError:
        for line in embedded.last_log_lines(options.data_dir):
            run.out.note(f"  {line}")
        run.out.note(f"  all of it: {options.data_dir / 'server.log'}")
        raise


def is_healthy(run: Invocation, url: str) -> bool:
    """Whether the server at `url` answers that it works; `degraded` does, `down` does not."""
    from sfctl.client import Client

    try:
        with Client(url, None, timeout_s=2.0) as client:
            return client.health().status != "down"
    except ClientError:
        return False


def _serve(run: Invocation, options: ServerOptions) -> int:
    process = embedded.spawn(options)
    with _forwarding(process) as received:
        try:
            record = embedded.wait_healthy(process, options.data_dir, lambda url: is_healthy(run, url))
            show_banner(run, record, stop="Ctrl-C")
        except ServerDiedError:
            if process.returncode == 0 or received:
                return Exit.OK
            raise
        except CliError:
            process.terminate()
            raise
        return Exit.OK if process.wait() == 0 or received else Exit.FAILED


@contextmanager
def _forwarding(process: "subprocess.Popen[bytes]") -> Iterator[list[int]]:
    """Hand signals on as SIGTERM, which stops gracefully; a second Ctrl-C ends the server at once."""
    received: list[int] = []

    def hand_on(number: int, _frame: FrameType | None) -> None:
        received.append(number)
        process.send_signal(signal.SIGKILL if received.count(signal.SIGINT) > 1 else signal.SIGTERM)

    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    before = {number: signal.signal(number, hand_on) for number in numbers}
    try:
        yield received
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def show_banner(run: Invocation, record: ServerRecord, *, stop: str | None = None) -> None:
    """Say where the server is and what to do next."""
    option = run.same_server
    run.out.note(f"StreamForge {record.version} runs at {record.url}")
    run.out.note(f"  data  {run.data_dir}")
    run.out.note(f"  stop  {stop or f'sfctl down{option}'}")
    run.out.note("next:")
    run.out.note(f"  sfctl upload FILE --wait{option}")
    run.out.note(f"  sfctl ls{option}")
    run.out.note(f"  sfctl open{option}")


@app.command(
    cls=Command,
    epilog="""
    sfctl down
    sfctl down --data-dir ./data
    """,
)
def down(ctx: typer.Context) -> None:
    """Stop the embedded server."""
    run = invocation(ctx)
    record = embedded.find_running(run.data_dir)
    if record is None:
        run.out.note(f"no server runs in {run.data_dir}")
        return
    embedded.stop(record)
    run.out.note(f"stopped {record.url}; the data stays in {run.data_dir}")


@app.command(
    cls=Command,
    epilog="""
    sfctl status
    sfctl status -o json
    eval "$(sfctl status -o env)"
    """,
)
def status(
    ctx: typer.Context,
    *,
    output: Annotated[
        Literal["text", "env", "json"], typer.Option("-o", "--output", help="env prints SF_URL and SF_TOKEN.")
    ] = "text",
) -> None:
    """Say whether a server runs, and where."""
    run = invocation(ctx)
    token = run.find_token()
    with run.client() as client:
        health = client.health()
    record = embedded.find_running(run.data_dir)
    is_local = record is not None and record.url.rstrip("/") == run.url
    if output == "env":
        run.out.line(f"SF_URL={shlex.quote(run.url)}")
        run.out.line(f"SF_TOKEN={shlex.quote(token or '')}")
    elif output == "json":
        local = {"pid": record.pid, "data_dir": str(run.data_dir)} if record and is_local else {}
        run.out.json({"url": run.url, "status": health.status, "version": health.version, **local})
    else:
        pid = str(record.pid) if record and is_local else None
        data_dir: Path | None = run.data_dir if is_local else None
        facts = [("url", run.url), ("status", health.status), ("version", health.version)]
        run.out.facts([*facts, ("pid", pid), ("data", str(data_dir) if data_dir else None)])
    if health.status == "down":
        raise typer.Exit(Exit.FAILED)
