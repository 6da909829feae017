"""The child's side of the sandbox: walls up, one stage, one JSON message a line to the parent, gone.

The fork server imports this module and the stages before it forks, so that a child starts in milliseconds.
"""

import ctypes
import faulthandler
import json
import multiprocessing.forkserver
import os
import resource
import signal
import sys
import traceback
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import NoReturn

from sfserver.errors import MediaLimitError, StreamForgeError
from sfserver.media.sandbox.calls import load_call
from sfserver.media.sandbox.confinement import ResourceLimits, confine, die_with_parent, limit_resources

LOG_NAME = "stage.log"
_KEPT_ENVIRONMENT = ("PATH", "HOME", "LANG", "LC_ALL", "TMPDIR", "TZ")


@dataclass(frozen=True)
class Order:
    """What the parent asks of one child; `arguments` is JSON, `call` is "module:function"."""

    call: str
    arguments: str
    workdir: Path
    readable: Sequence[Path]
    limits: ResourceLimits


def main(order: Order, connection: Connection) -> NoReturn:
    """Run one stage behind the walls and leave without a trace of Python's own shutdown."""
    die_with_parent()
    if not _PREPARED:
        _wipe_environment()
    _detach(connection.fileno(), order.workdir)
    send = _Sender(connection.fileno())
    try:
        limit_resources(order.limits)
        call = load_call(order.call)
        confine(order.readable, order.workdir)
        result = call.run(json.loads(order.arguments), order.workdir, lambda values: send("report", values=values))
        send("result", values=result, **_usage())
    except StreamForgeError as error:
        send("error", **_describe(error))
    except MemoryError:
        send("crash", reason="memory")
    except Exception as error:  # noqa: BLE001 - the edge of this process: whatever happened becomes one message
        traceback.print_exc()
        send("crash", reason="exception", detail=f"{type(error).__name__}: {error}"[:500])
    os._exit(0)


class _Sender:
    """Writes messages to the parent; the process ends when nobody reads them any more."""

    def __init__(self, fd: int) -> None:
        self._fd = fd

    def __call__(self, kind: str, **content: object) -> None:
        rest = memoryview(json.dumps({"type": kind, **content}, allow_nan=False).encode() + b"\n")
        try:
            while rest:
                rest = rest[os.write(self._fd, rest) :]
        except BrokenPipeError:
            os._exit(1)


def _detach(fd: int, workdir: Path) -> None:
    """Leave the parent's session, terminal, output, file descriptors and signal handling."""
    os.setsid()
    os.chdir(workdir)
    log = os.open(LOG_NAME, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    os.dup2(log, 1)
    os.dup2(log, 2)
    # the fork server's lifeline is among these: held here, it would outlive the parent
    for other in [int(entry.name) for entry in Path("/dev/fd").iterdir()]:
        if other > 2 and other != fd:
            with suppress(OSError):  # the listing's own
                os.close(other)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    signal.signal(signal.SIGXFSZ, signal.SIG_DFL)  # Python ignores it; as a signal no library can hide it
    faulthandler.enable()


def _describe(error: StreamForgeError) -> dict[str, object]:
    """Turn an error of the tree into what the parent needs to raise it again."""
    content: dict[str, object] = {"class": type(error).__name__, "detail": error.detail[:500], "hint": error.hint}
    if isinstance(error, MediaLimitError):
        content |= {"name": error.name, "limit": error.limit, "value": error.value}
    return content


def _usage() -> dict[str, object]:
    used = resource.getrusage(resource.RUSAGE_SELF)
    kibibytes = 1 if sys.platform == "darwin" else 1024
    return {"cpu_s": used.ru_utime + used.ru_stime, "peak_rss_bytes": used.ru_maxrss * kibibytes}


def _wipe_environment() -> None:
    """Keep a few variables; the rest may hold secrets, in the environment and in the memory it came in."""
    kept = {name: os.environ[name] for name in _KEPT_ENVIRONMENT if name in os.environ}
    os.environ.clear()
    if sys.platform.startswith("linux"):
        start, end = (int(field) for field in Path("/proc/self/stat").read_text().rpartition(")")[2].split()[47:49])
        ctypes.memset(start, 0, end - start)
    # thread pools that start at import could not be confined afterwards
    os.environ.update(kept, OPENBLAS_NUM_THREADS="1", OMP_NUM_THREADS="1")


# True in the fork server, which imports this module before it forks, and in its children.
_PREPARED = (
    getattr(sys.modules["__main__"], "main", None) is multiprocessing.forkserver.main
    and multiprocessing.forkserver.get_inherited_fds() is None
)
if _PREPARED:
    os.setsid()
    signal.signal(signal.SIGTERM, signal.SIG_IGN)  # a stop of the whole service leaves the end to the parent
    _wipe_environment()
