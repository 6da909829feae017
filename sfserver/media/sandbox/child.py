"""The child's side of the sandbox: walls up, one stage, one JSON message a line to the parent, gone."""

import errno
import faulthandler
import json
import mmap
import os
import resource
import signal
import sys
import traceback
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

from pydantic import TypeAdapter

from sfserver.errors import MediaLimitError, StreamForgeError
from sfserver.media.sandbox.calls import load_call
from sfserver.media.sandbox.confinement import ResourceLimits, Wall, confine, die_with, limit_resources

LOG_NAME = "stage.log"
_ROOM_BYTES = 64 << 20
# What the machine does to a process, whatever it reads: no room, no descriptors, a file that can't be had, a bad disk.
_TROUBLES = frozenset(
    getattr(errno, name)
    for name in (
        *("ENOSPC", "EDQUOT", "EMFILE", "ENFILE", "EIO", "EROFS", "ESTALE", "ENOENT", "EACCES", "EAGAIN", "ENXIO"),
        *("ENODEV", "ENOTCONN", "ETIMEDOUT", "EHOSTDOWN", "EREMOTEIO", "EUCLEAN", "EBUSY"),
    )
    if hasattr(errno, name)
)


@dataclass(frozen=True)
class Order:
    """What the parent asks of one child; `arguments` is JSON, `call` is "module:function"."""

    call: str
    arguments: str
    workdir: Path
    readable: Sequence[Path]
    limits: ResourceLimits
    omit_walls: Sequence[Wall] = ()


_ORDER = TypeAdapter(Order)


def dump_order(order: Order) -> bytes:
    """Write an order as JSON."""
    return _ORDER.dump_json(order)


def main(order_fd: int, messages_fd: int, parent: int) -> NoReturn:
    """Run one stage behind the walls and leave without Python's own shutdown; `parent` is the fork server."""
    die_with(parent)
    send = _Sender(messages_fd)
    try:
        with os.fdopen(order_fd, "rb") as file:
            file.seek(0)
            order = _ORDER.validate_json(file.read())
        _detach(messages_fd, order.workdir)
        limit_resources(order.limits)
        call = load_call(order.call)
        walls = confine(order.readable, order.workdir, order.omit_walls)
        send("walls", landlock_abi=walls.landlock_abi, seccomp=walls.seccomp)
        result = call.run(json.loads(order.arguments), order.workdir, lambda values: send("report", values=values))
        send("result", values=result, **_usage())
    except StreamForgeError as error:
        send("error", **_describe(error))
    except MemoryError:
        send("crash", reason="memory")
    except Exception as error:  # noqa: BLE001 - the edge of this process: whatever happened becomes one message
        traceback.print_exc()
        kind, content = _explain(error)
        send(kind, **content)
    os._exit(0)


def _explain(error: Exception) -> tuple[str, dict[str, object]]:
    """Tell an error of the surroundings, whoever met it first, from a bug."""
    detail = f"{type(error).__name__}: {error}"[:500]
    number = error.errno if isinstance(error, OSError) else None
    if number == errno.ENOMEM or not _has_room():
        return "crash", {"reason": "memory"}
    if number in _TROUBLES:
        return "trouble", {"errno": number, "detail": detail}
    return "crash", {"reason": "exception", "detail": detail}


def _has_room() -> bool:
    """Tell whether there is memory left; x264 says that there is none by an error that says nothing."""
    try:
        mmap.mmap(-1, _ROOM_BYTES, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS).close()
    except OSError:
        return False
    return True


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
    """Leave the parent's group, output, file descriptors and signal handling.

    Its session, the fork server's, has no terminal. It stays in that: where the system shares its cores out by session
    (`sched_autogroup`, sched(7)), a niceness counts only beside others of the same one.
    """
    os.setpgid(0, 0)
    os.chdir(workdir)
    log = os.open(LOG_NAME, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    os.dup2(log, 1)
    os.dup2(log, 2)
    # the status pipes of other children are among these: held here, they would outlive the fork server
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
