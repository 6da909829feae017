"""`doctor`: the whole path tested hop by hop, from the interpreter to the player."""

import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import typer

from sfctl import embedded, preflight
from sfctl.command import DataCommand, command_app
from sfctl.context import Invocation, invocation
from sfctl.errors import ClientError
from sfctl.exits import Exit
from sfctl.players import PLAYERS
from sfctl.preflight import Check
from sfctl.text import describe_trouble

app = command_app()


@app.command(
    cls=DataCommand,
    epilog="""
    sfctl doctor
    sfctl doctor --json
    """,
)
def doctor(ctx: typer.Context) -> None:
    """Test the whole path and name what is broken, with its remedy."""
    run = invocation(ctx)
    checks = []
    for check in diagnose(run):
        checks.append(check)
        if not run.out.as_json and not run.out.quiet:
            _print(run, check)
    broken = [check.name for check in checks if not check.ok and not check.is_optional]
    if run.out.as_json:
        run.out.json([vars(check) for check in checks])
    elif run.out.quiet:
        run.out.ids(broken)
    elif broken:
        run.out.note(f"broken: {', '.join(broken)}")
    if broken:
        raise typer.Exit(Exit.FAILED)


def diagnose(run: Invocation) -> Iterator[Check]:
    """Check each hop in the order in which a video passes them; what needs a broken hop is left out."""
    yield preflight.check_python()
    if run.settings.find("url") is None:
        running = embedded.find_running(run.data_dir)
        yield from _check_machine(run, is_running=running is not None)
        if running is None:
            # `up` has a port of its own choice: here the one it takes unless told.
            yield preflight.check_port("127.0.0.1", urlsplit(run.url).port or 8420)
            yield Check("server", False, f"none runs in {run.data_dir}", "sfctl up", is_optional=True)
        else:
            yield from _check_server(run)
    else:
        yield from _check_server(run)
    found = [name for name in PLAYERS if shutil.which(name)]
    yield Check("players", bool(found), ", ".join(found) or "none", "install mpv or VLC", is_optional=True)


def _check_machine(run: Invocation, *, is_running: bool) -> Iterator[Check]:
    packages = preflight.check_server_extra()
    yield packages
    if packages.ok:
        # What walls and database are like in use, only the server that uses them knows.
        asked = ("sandbox", "database") if is_running else ()
        yield from (check for check in check_server_program(run.data_dir) if check.name not in asked)
    yield preflight.check_data_dir(run.data_dir)
    yield preflight.check_disk(run.data_dir)


def check_server_program(data_dir: Path) -> Iterator[Check]:
    """Ask the server's own program which codecs and sandbox walls it has here, and whether its database is whole."""
    command = [sys.executable, "-m", "sfserver", "doctor", "--data-dir", str(data_dir)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    try:
        report = json.loads(done.stdout)
    except ValueError:
        why = (done.stderr.strip().splitlines() or [embedded.describe_exit(done.returncode)])[-1]
        yield Check("media libraries", False, why, "pip install --force-reinstall 'streamforge[server]'")
        return
    missing = [*report.get("missing_encoders", []), *report.get("missing_decoders", [])]
    detail = f"missing: {', '.join(missing)}" if missing else f"PyAV {report.get('av')}, all codecs"
    yield Check("media libraries", not missing, detail, "install the PyAV wheel of PyPI, which has them all")
    yield _check_walls(str(report.get("sandbox", "unknown")))
    if "database" in report:
        problem = report["database"] or {}
        detail = describe_trouble(problem["code"], problem["detail"]) if problem else "nothing wrong with it"
        yield Check("database", not problem, detail, problem.get("hint"))


def _check_walls(walls: str) -> Check:
    is_closed = "no " not in walls and walls != "unknown"
    remedy = "Linux 5.13 or newer has all walls; without them take uploads only from people you trust"
    return Check("sandbox", is_closed, walls, remedy, is_optional=True)


def _check_server(run: Invocation) -> Iterator[Check]:
    try:
        with run.client(timeout_s=5.0) as client:
            health = client.health()
            yield Check("server", health.status != "down", f"{run.url}: {health.status}, {health.version}")
            user = client.me()
            yield Check("sign-in", True, user.name)
    except ClientError as error:
        name = "sign-in" if error.exit_code is Exit.NOT_SIGNED_IN else "server"
        yield Check(name, False, f"{error.what}: {error.why}", error.hint)
        return
    if health.sandbox is not None:
        yield _check_walls(health.sandbox)
    for name in ("database", "queue", "storage", "tasks"):
        part = getattr(health, name)
        if part is not None:
            yield Check(
                name,
                part.ok,
                part.detail or ("none waits for anything" if name == "tasks" else "answers"),
                "see the server's log (server.log)",
            )
    if health.workers is not None:
        count = len(health.workers)
        yield Check("workers", count > 0, f"{count} at work", "start the server again: sfctl down, sfctl up")


def _print(run: Invocation, check: Check) -> None:
    state = "ok  " if check.ok else "warn" if check.is_optional else "FAIL"
    run.out.line(f"{state}  {check.name}: {check.detail}")
    if not check.ok and check.remedy:
        run.out.line(f"      fix: {check.remedy}")
