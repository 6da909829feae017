"""The embedded server as a process: finding, starting, awaiting and stopping it through its data directory."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from sfctl.errors import CliError
from sfctl.exits import Exit

START_TIMEOUT_S = 60.0
STOP_TIMEOUT_S = 20.0
_POLL_S = 0.1
_STDERR = 2
# A Popen that is collected while its process runs complains; these are meant to outlive us.
_detached: "list[subprocess.Popen[bytes]]" = []


@dataclass(frozen=True)
class ServerRecord:
    """`server.json`: what a server wrote when it started; stale if it was killed."""

    url: str
    pid: int
    version: str
    started_at: str


@dataclass(frozen=True)
class ServerOptions:
    """What `up` hands on to the server; `concurrency` None leaves it to the server."""

    data_dir: Path
    host: str = "127.0.0.1"
    port: int = 8420
    concurrency: int | None = None

    def command_line(self) -> list[str]:
        """Write the server's command line; it runs in this interpreter, as it may not be on the PATH."""
        line = [sys.executable, "-m", "sfserver", "up", "--data-dir", str(self.data_dir)]
        line += ["--host", self.host, "--port", str(self.port)]
        return line + (["--concurrency", str(self.concurrency)] if self.concurrency is not None else [])


class ServerDiedError(CliError):
    """The server ended before it was healthy."""


def read_record(data_dir: Path) -> ServerRecord | None:
    """Read `server.json`; None where there is none or it makes no sense."""
    try:
        fields = json.loads((data_dir / "server.json").read_text())
        return ServerRecord(
            str(fields["url"]), int(fields["pid"]), str(fields["version"]), str(fields.get("started_at", ""))
        )
    except (OSError, ValueError, KeyError, TypeError):
        return None


def find_running(data_dir: Path) -> ServerRecord | None:
    """Return the record of a server whose process lives; a pid that was given to another program does not count."""
    record = read_record(data_dir)
    return record if record and is_server(record.pid) else None


def is_server(pid: int) -> bool:
    """Whether `pid` is a running StreamForge server."""
    try:
        line = Path(f"/proc/{pid}/cmdline").read_bytes().decode(errors="replace")
    except OSError:
        if Path("/proc/self").exists():
            return False
        listing = subprocess.run(["ps", "-p", str(pid), "-o", "command="], capture_output=True, text=True, check=False)
        line = listing.stdout
    return "sfserver" in line


def spawn(options: ServerOptions, *, log: IO[bytes] | None = None) -> "subprocess.Popen[bytes]":
    """Start the server in a session of its own, so that a terminal's Ctrl-C reaches it only through us."""
    return subprocess.Popen(
        options.command_line(),
        stdin=subprocess.DEVNULL,
        stdout=log or _STDERR,
        stderr=log,
        start_new_session=True,
    )


def spawn_detached(options: ServerOptions) -> "subprocess.Popen[bytes]":
    """Start the server in the background; its output goes to `server.log` in the data directory."""
    with (options.data_dir / "server.log").open("ab") as log:
        process = spawn(options, log=log)
    _detached.append(process)
    return process


def wait_healthy(
    process: "subprocess.Popen[bytes]",
    data_dir: Path,
    is_healthy: Callable[[str], bool],
    *,
    timeout_s: float = START_TIMEOUT_S,
) -> ServerRecord:
    """Wait until the server of `process` answers that it is healthy; `ServerDiedError` if it ends instead."""
    deadline = time.monotonic() + timeout_s
    while time.monotonic() < deadline:
        if process.poll() is not None:
            raise ServerDiedError("the server did not start", why=f"it ended with {describe_exit(process.returncode)}")
        record = read_record(data_dir)
        if record and record.pid == process.pid and is_healthy(record.url):
            return record
        time.sleep(_POLL_S)
    raise CliError(
        f"the server is not healthy after {timeout_s:g} s",
        hint="`sfctl doctor` names the broken part",
        exit_code=Exit.TIMEOUT,
    )


def stop(record: ServerRecord, *, timeout_s: float = STOP_TIMEOUT_S) -> None:
    """Ask a server to stop and wait until its process is gone."""
    try:
        os.kill(record.pid, signal.SIGTERM)
    except ProcessLookupError:
        return
    except PermissionError as error:
        raise CliError(f"may not stop process {record.pid}", why=error.strerror) from error
    deadline = time.monotonic() + timeout_s
    while is_server(record.pid):
        if time.monotonic() > deadline:
            raise CliError(
                f"the server (process {record.pid}) still runs after {timeout_s:g} s",
                hint=f"kill -9 {record.pid} ends it; accepted jobs go on at the next start",
                exit_code=Exit.TIMEOUT,
            )
        time.sleep(_POLL_S)
    for process in [child for child in _detached if child.pid == record.pid]:
        process.wait()
        _detached.remove(process)


def describe_exit(code: int) -> str:
    """Name an exit code, or the signal of a negative one."""
    return f"signal {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"


def last_log_lines(data_dir: Path, count: int = 8) -> list[str]:
    """Return the end of `server.log`, reading no more than its last 64 KiB."""
    try:
        with (data_dir / "server.log").open("rb") as log:
            log.seek(max(log.seek(0, os.SEEK_END) - 65_536, 0))
            return log.read().decode(errors="replace").splitlines()[-count:]
    except OSError:
        return []
