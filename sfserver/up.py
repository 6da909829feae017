"""The embedded server: API, worker and sweeper in one process on one data directory."""

import contextlib
import json
import os
import secrets
import shutil
import signal
import socket
import sys
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path

import structlog
import uvicorn

from sfserver.accounts.service import ensure_local_user
from sfserver.app import create_app
from sfserver.deps import Runtime
from sfserver.errors import ConflictError
from sfserver.infra.db import Database
from sfserver.infra.events import InProcessBus
from sfserver.infra.leases import DataDirectoryLock
from sfserver.infra.queue import embedded_brokers
from sfserver.infra.schema import upgrade_schema
from sfserver.infra.storage import DirectoryStore
from sfserver.jobs import stages, sweep
from sfserver.jobs.repository import forget_worker_nodes
from sfserver.media.sandbox.confinement import available
from sfserver.media.sandbox.parent import Sandbox
from sfserver.settings import Settings
from sfserver.uploads.service import sweep_expired
from sfserver.worker import WorkerThreads, sandbox_limits

log = structlog.get_logger(__name__)
_BACKLOG = 2048


def serve(settings: Settings) -> None:
    """Run until SIGINT or SIGTERM; raise `ConflictError` if another server owns the directory or the port."""
    # uvicorn raises the signal that stopped it once more when it is done: it must unwind what is below, not kill us.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: sys.exit(0))
    lock = DataDirectoryLock(settings.data_dir)
    try:
        with _listen(settings) as listener, _running(settings) as runtime:
            config = uvicorn.Config(
                create_app(runtime), log_config=None, access_log=False, timeout_graceful_shutdown=3, server_header=False
            )
            with _announced(settings.data_dir, runtime.version, listener):
                uvicorn.Server(config).run(sockets=[listener])
    finally:
        lock.release()


@contextlib.contextmanager
def _running(settings: Settings) -> Iterator[Runtime]:
    """Start everything but the listener; stop it in the opposite order."""
    sandbox = Sandbox(sandbox_limits(settings), preload=stages.RUN.values())
    sandbox.start()
    database = Database(settings.database_url, busy_timeout_s=settings.database.busy_timeout_s)
    worker = WorkerThreads(embedded_brokers(), sandbox)
    try:
        upgrade_schema(database)
        runtime = _runtime(settings, database, worker)
        work_dir = settings.data_dir / "work"
        shutil.rmtree(work_dir, ignore_errors=True)
        _prepare(runtime)
        worker.start(runtime, work_dir)
        sweep.ring_waiting(runtime)
        yield runtime
    finally:
        worker.stop()
        sandbox.close()
        database.close()


def _runtime(settings: Settings, database: Database, worker: WorkerThreads) -> Runtime:
    store = DirectoryStore(settings.data_dir)
    store.clear_temporary()
    return Runtime(
        settings=settings,
        database=database,
        store=store,
        bus=InProcessBus(),
        ring=worker.bell.ring,
        signing_key=_signing_key(settings.data_dir),
        version=version("streamforge"),
        walls=str(available()),
    )


def _prepare(runtime: Runtime) -> None:
    """Make the local user on the first start; resume what an earlier process left."""
    with runtime.database.write() as session:
        forget_worker_nodes(session)
        token = ensure_local_user(session)
    if token is not None:
        _write_private(runtime.settings.data_dir / "token", token + "\n")
    sweep.resume_after_boot(runtime)
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
