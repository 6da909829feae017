"""What must hold before a server starts, each with its remedy."""

import os
import shutil
import socket
import sys
import tempfile
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from sfctl.embedded import ServerOptions

MIN_FREE_BYTES = 2_000_000_000
_SERVER_MODULES = ("alembic", "av", "dramatiq", "fastapi", "pydantic_settings", "sqlalchemy", "structlog", "uvicorn")


@dataclass(frozen=True)
class Check:
    """One thing looked at; `remedy` says what to do where it is not `ok`, optional ones only warn."""

    name: str
    ok: bool
    detail: str
    remedy: str | None = None
    is_optional: bool = False


def run_preflight(options: ServerOptions) -> list[Check]:
    """Check everything that would keep a server from starting."""
    return [
        check_python(),
        check_server_extra(),
        check_data_dir(options.data_dir),
        check_disk(options.data_dir),
        check_port(options.host, options.port),
    ]


def check_python() -> Check:
    """Check the interpreter's version."""
    version = ".".join(map(str, sys.version_info[:3]))
    return Check("python", sys.version_info >= (3, 11), version, "install Python 3.11 or newer")


def check_server_extra() -> Check:
    """Check that the packages of the server are installed, without importing them."""
    missing = [name for name in _SERVER_MODULES if find_spec(name) is None]
    detail = f"missing: {', '.join(missing)}" if missing else "installed"
    return Check("server packages", not missing, detail, "pip install 'streamforge[server]'")


def check_data_dir(data_dir: Path) -> Check:
    """Check, by doing it, that files can be made in the data directory; makes the directory."""
    try:
        data_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
        with tempfile.TemporaryFile(dir=data_dir):
            return Check("data directory", True, str(data_dir))
    except OSError as error:
        remedy = "choose another one with --data-dir DIR, or make it yours"
        return Check("data directory", False, f"{data_dir}: {error.strerror}", remedy)


def check_disk(data_dir: Path) -> Check:
    """Check that there is room for a few videos."""
    place = next(each for each in (data_dir, *data_dir.parents) if each.exists())
    free = shutil.disk_usage(place).free
    detail = f"{free / 1e9:.1f} GB free"
    remedy = f"free {MIN_FREE_BYTES / 1e9:.0f} GB, or choose another disk with --data-dir DIR"
    return Check("disk space", free >= MIN_FREE_BYTES, detail, remedy)


def check_port(host: str, port: int) -> Check:
    """Check, by doing it, that a server could listen there."""
    try:
        _bind(host, port)
    except OSError as error:
        remedy = "choose another one with --port N; --port 0 takes a free one"
        return Check("port", False, f"{host}:{port}: {os.strerror(error.errno or 0)}", remedy)
    return Check("port", True, f"{host}:{port} is free" if port else "any free one")


def _bind(host: str, port: int) -> None:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        # As the server will: a port in TIME_WAIT after a restart is free.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        probe.bind((host, port))
