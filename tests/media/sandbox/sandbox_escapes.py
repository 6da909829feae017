"""Ways out of the sandbox, each tried from inside by its name; what the kernel answers is the result."""

import ctypes
import errno
import mmap
import os
import resource
import signal
import socket
import struct
from collections.abc import Callable
from pathlib import Path

from sfserver.media.sandbox.calls import sandboxed
from sfserver.media.sandbox.throttle import Report

Targets = dict[str, str]


@sandboxed
def attempt(arguments: dict[str, object], workdir: Path, report: Report) -> dict[str, object]:
    """Try one escape; {"outcome": "EACCES"} and the like, or "escaped"."""
    targets = {name: str(value) for name, value in arguments.items()}
    try:
        ESCAPES[targets["escape"]](targets)
    except OSError as error:
        return {"outcome": errno.errorcode.get(error.errno or 0, str(error))}
    return {"outcome": "escaped"}


def _system_call(number: int, *arguments: object) -> None:
    if ctypes.CDLL(None, use_errno=True).syscall(number, *arguments) < 0:
        raise OSError(ctypes.get_errno(), "refused")


def _libc(name: str, *arguments: object) -> None:
    if getattr(ctypes.CDLL(None, use_errno=True), name)(*arguments) < 0:
        raise OSError(ctypes.get_errno(), "refused")


def _connect_tcp(targets: Targets) -> None:
    with socket.socket() as client:
        client.connect(("127.0.0.1", int(targets["port"])))


def _send_udp(targets: Targets) -> None:
    with socket.socket(type=socket.SOCK_DGRAM) as client:
        client.sendto(b"secret", ("127.0.0.1", int(targets["port"])))


def _connect_unix(targets: Targets) -> None:
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(targets["unix"])


def _connect_abstract(targets: Targets) -> None:
    with socket.socket(socket.AF_UNIX) as client:
        client.connect("\0" + targets["abstract"])


def _open_parent_memory(targets: Targets) -> None:
    with Path(f"/proc/{targets['parent']}/mem").open("rb") as memory:
        memory.read(0)


def _read_parent_memory(targets: Targets) -> None:
    buffer = ctypes.create_string_buffer(8)
    vector = (ctypes.c_size_t * 2)(ctypes.addressof(buffer), 8)
    _libc("process_vm_readv", int(targets["parent"]), vector, 1, vector, 1, 0)


def _raise_limit(_: Targets) -> None:
    resource.prlimit(0, resource.RLIMIT_DATA, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))


def _map_executable(targets: Targets) -> None:
    with Path(targets["secret"]).open("rb") as file:
        mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ)


def _own_file() -> Path:
    path = Path("stage.log")
    assert path.exists()
    return path


def _open_unnamed(_: Targets) -> None:
    os.close(os.open(".", os.O_TMPFILE | os.O_RDWR))


def _open_unnamed_anew(_: Targets) -> None:
    how = struct.pack("QQQ", os.O_TMPFILE | os.O_RDWR, 0o600, 0)
    _system_call(437, -100, b".", how, len(how))


def _hold_room(_: Targets) -> None:
    with Path("stage.log").open("ab") as file:
        _libc("fallocate", file.fileno(), 1, ctypes.c_long(0), ctypes.c_long(1 << 20))


ESCAPES: dict[str, Callable[[Targets], object]] = {
    "read a secret": lambda targets: Path(targets["secret"]).read_text(),
    "map a secret": _map_executable,
    "list its directory": lambda targets: list(Path(targets["secret"]).parent.iterdir()),
    "write outside": lambda targets: Path(targets["outside"]).write_text("was here"),
    "overwrite its input": lambda targets: Path(targets["input"]).write_text("was here"),
    "link to a secret": lambda targets: Path("out.mp4").symlink_to(targets["secret"]),
    "hard-link a secret": lambda targets: Path("out.mp4").hardlink_to(targets["secret"]),
    "open a secret's mode": lambda targets: Path(targets["secret"]).chmod(0o777),
    "remove a secret": lambda targets: Path(targets["secret"]).unlink(),
    "remove its own file": lambda _: _own_file().unlink(),
    "remove its own folder": lambda _: Path.cwd().rmdir(),
    "rename its own file": lambda _: _own_file().rename("other.log"),
    "open a file without a name": _open_unnamed,
    "open a file without a name by the new call": _open_unnamed_anew,
    "hold room beyond a file's end": _hold_room,
    "connect by TCP": _connect_tcp,
    "send by UDP": _send_udp,
    "connect to a unix socket": _connect_unix,
    "connect to an abstract socket": _connect_abstract,
    "run a program": lambda _: os.execv("/bin/sh", ["sh", "-c", "exit 0"]),
    "spawn a program": lambda _: os.posix_spawn("/bin/sh", ["sh", "-c", "exit 0"], {}),
    "fork": lambda _: os.fork() or os._exit(0),
    "kill the parent": lambda targets: os.kill(int(targets["parent"]), signal.SIGURG),
    "kill everybody": lambda _: os.kill(-1, signal.SIGURG),
    "trace the parent": lambda targets: _libc("ptrace", 16, int(targets["parent"]), 0, 0),
    "open the parent's memory": _open_parent_memory,
    "read the parent's memory": _read_parent_memory,
    "read the parent's environment": lambda targets: Path(f"/proc/{targets['parent']}/environ").read_bytes(),
    "read its own environment": lambda _: Path("/proc/self/environ").read_bytes(),
    "unshare": lambda _: _libc("unshare", 0x10000000),
    "mount": lambda targets: _libc("mount", b"none", targets["outside"].encode(), b"tmpfs", 0, None),
    "ring": lambda _: _system_call(425, 8, ctypes.create_string_buffer(120)),
    "load a filter program": lambda _: _libc("syscall", 321, 0, None, 0),
    "raise its limits": _raise_limit,
    "outlive the parent": lambda _: _libc("prctl", 1, 0, 0, 0, 0),
}
