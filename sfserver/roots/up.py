"""The embedded server: API, worker and sweeper in one process on one data directory."""

import contextlib
import json
import os
import secrets
import signal
import socket
import sys
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path

import structlog
import uvicorn

from sfserver.accounts.service import ensure_local_user
from sfserver.deps import Runtime
from sfserver.errors import ConflictError, TransientError
from sfserver.infra.checks import check_database
from sfserver.infra.data_directory import DataDirectoryLock
from sfserver.infra.db import Database
from sfserver.infra.events.memory import InProcessBus
from sfserver.infra.queue.dramatiq import in_memory_doorbell
from sfserver.infra.removal import remove_tree
from sfserver.infra.schema import check_schema, upgrade_schema
from sfserver.infra.storage.directory import DirectoryStore
from sfserver.media.sandbox.parent import Sandbox
from sfserver.models import Base
from sfserver.publications.backfill import complete_publications
from sfserver.roots.api import create_app
from sfserver.roots.listener import listener_config
from sfserver.roots.runtime import make_runtime
from sfserver.roots.worker import make_runner, make_sandbox
from sfserver.settings import Settings
from sfserver.tasks.repository import forget_worker_nodes
from sfserver.tasks.sweep import resume_after_boot, ring_waiting
from sfserver.uploads.service import sweep_expired

log = structlog.get_logger(__name__)
DISTRIBUTION = "streamforge"
_BACKLOG = 2048


def serve(settings: Settings) -> None:
    """Run until SIGINT or SIGTERM; raise `ConflictError` if another server owns the directory or the port."""
    # uvicorn raises the signal that stopped it once more when it is done: it must unwind what is below, not kill us.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: sys.exit(0))
    lock = DataDirectoryLock(settings.data_dir)
    try:
        with _listen(settings) as listener, _running(settings) as runtime:
            config = listener_config(create_app(runtime), grace_s=3)
            with _announced(settings.data_dir, runtime.version, listener):
                uvicorn.Server(config).run(sockets=[listener])
    finally:
        lock.release()


@contextlib.contextmanager
def _running(settings: Settings) -> Iterator[Runtime]:
    """Start everything but the listener; stop it in the opposite order."""
    sandbox = make_sandbox(settings)
    sandbox.start()
    database = Database(settings.database_url, busy_timeout_s=settings.database.busy_timeout_s)
    doorbell = in_memory_doorbell()
    runner = None
    try:
        check_database(database, settings.data_dir)
        upgrade_schema(database)
        check_schema(database, Base.metadata)
        runtime = make_runtime(
            settings,
            database=database,
            doorbell=doorbell,
            store=_store(settings),
            bus=InProcessBus(),
            signing_key=_signing_key(settings.data_dir),
            version=version(DISTRIBUTION),
            walls=lambda: str(sandbox.walls()),
        )
        _tell_walls(sandbox)
        folder = settings.data_dir / "work"
        remove_tree(folder)
        _prepare(runtime)
        runner = make_runner(runtime, sandbox, folder)
        runner.start()
        ring_waiting(runtime)
        yield runtime
    finally:
        if runner is not None:
            runner.stop()
        sandbox.close()
        database.close()


def _store(settings: Settings) -> DirectoryStore:
    store = DirectoryStore(settings.data_dir)
    store.clear_temporary()
    return store


def _tell_walls(sandbox: Sandbox) -> None:
    """Say loudly where a media process could read more than its input."""
    try:
        walls = sandbox.walls()
    except TransientError as error:
        log.warning("sandbox.unknown", detail=error.detail)
        return
    if not walls.complete:
        hint = "media is processed, but a hostile file could read what this user can: SF_SANDBOX__REQUIRE_WALLS refuses"
        log.error("sandbox.incomplete", walls=str(walls), hint=hint)


def _prepare(runtime: Runtime) -> None:
    """Make the local user on the first start; resume what an earlier process left."""
    with runtime.database.write() as session:
        forget_worker_nodes(session)
        token = ensure_local_user(session)
    if token is not None:
        _write_private(runtime.settings.data_dir / "token", token + "\n")
    complete_publications(runtime)
    resume_after_boot(runtime)
    sweep_expired(runtime, all_unfinished=True)


def _signing_key(data_dir: Path) -> bytes:
    path = data_dir / "signing.key"
    if not path.exists():
        _write_private(path, secrets.token_hex(32))
    return bytes.fromhex(path.read_text())


def _write_private(path: Path, text: str) -> None:
    temporary = path.with_suffix(".new")
    fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(fd, "w") as file:
        file.write(text)
        file.flush()
        os.fsync(fd)
    temporary.rename(path)


@contextlib.contextmanager
def _listen(settings: Settings) -> Iterator[socket.socket]:
    """Listen before anything else starts: a taken port costs nothing, and early clients wait instead of failing."""
    http = settings.http
    family = socket.AF_INET6 if ":" in http.host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind((http.host, http.port))
            listener.listen(_BACKLOG)
        except OSError as error:
            hint = "choose another one with --port, or --port 0 for any"
            raise ConflictError(f"cannot listen on {http.host}:{http.port}: {error.strerror}", hint=hint) from error
        yield listener


@contextlib.contextmanager
def _announced(data_dir: Path, version: str, listener: socket.socket) -> Iterator[None]:
    """Keep `server.json` while the server runs: clients find it, and the process, by the data directory."""
    host, port = listener.getsockname()[:2]
    url = f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
    path = data_dir / "server.json"
    _write_private(path, json.dumps({"url": url, "pid": os.getpid(), "version": version}))
    log.info("server.listening", url=url)
    try:
        yield
    finally:
        path.unlink(missing_ok=True)
