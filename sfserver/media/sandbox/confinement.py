"""What a media process may not do: resource limits everywhere, Landlock and seccomp where the system has them."""

import ctypes
import errno
import math
import os
import resource
import struct
import sys
import sysconfig
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from sfserver.media.sandbox import landlock, seccomp

_PR_SET_PDEATHSIG = 1
_SIGKILL = 9
_CAPABILITY_VERSION_3 = 0x20080522
_CAP_DAC_OVERRIDE = 1 << 1
_REFUSALS = {errno.EPERM, errno.ENOSYS, errno.EOPNOTSUPP, errno.EINVAL}
_CPU_GRACE_S = 5  # from SIGXCPU, which a process may ignore, to SIGKILL
_OTHER_TASKS = 1024  # what the user's other programs may start meanwhile
_FIRST_NAMESPACES = {"pid": 0xEFFFFFFC, "user": 0xEFFFFFFD}


class Wall(StrEnum):
    """A wall that a system may lack."""

    LANDLOCK = "landlock"
    SECCOMP = "seccomp"


@dataclass(frozen=True)
class Confinement:
    """The walls that stand; `landlock_abi` is 0 where there is none."""

    landlock_abi: int
    seccomp: bool

    def __str__(self) -> str:
        """Name them for people: "rlimits, Landlock ABI 7, seccomp"."""
        landlock_text = f"Landlock ABI {self.landlock_abi}" if self.landlock_abi else "no Landlock"
        return f"rlimits, {landlock_text}, {'seccomp' if self.seccomp else 'no seccomp'}"

    @property
    def complete(self) -> bool:
        """Whether file, network and process access are all closed."""
        return self.landlock_abi > 0 and self.seccomp


@dataclass(frozen=True)
class ResourceLimits:
    """What one process may use: bytes of data memory, bytes of one output file, open files, threads, seconds of CPU.

    Niceness is 0–19; `cpu_s` None means any. The parent counts threads from outside: the limit here is a coarse one.
    """

    memory_bytes: int
    output_bytes: int
    open_files: int
    threads: int
    nice: int
    oom_score_adj: int
    cpu_s: float | None = None


def available() -> Confinement:
    """Ask the system which walls it has."""
    return Confinement(landlock_abi=landlock.abi(), seccomp=seccomp.available())


def die_with(parent: int) -> None:
    """Have the kernel kill this process when its parent dies (prctl(2), PR_SET_PDEATHSIG); end now if it has."""
    if sys.platform.startswith("linux"):
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, *map(ctypes.c_ulong, (_SIGKILL, 0, 0, 0)))
    if os.getppid() != parent:
        os._exit(1)


def limit_resources(limits: ResourceLimits) -> None:
    """Set the limits of this process; they hold on every system."""
    _limit(resource.RLIMIT_CORE, 0)
    _limit(resource.RLIMIT_DATA, limits.memory_bytes)
    _limit(resource.RLIMIT_FSIZE, limits.output_bytes)
    _limit(resource.RLIMIT_NOFILE, limits.open_files)
    if limits.cpu_s is not None:
        _limit(resource.RLIMIT_CPU, math.ceil(limits.cpu_s), grace=_CPU_GRACE_S)
    if _counts_all_tasks():
        _limit(resource.RLIMIT_NPROC, _count_tasks(os.getuid()) + limits.threads + _OTHER_TASKS)
    os.nice(limits.nice)
    with suppress(OSError):  # only Linux has it, and a container may hide it
        Path("/proc/self/oom_score_adj").write_text(str(limits.oom_score_adj))


def _limit(kind: int, value: int, *, grace: int = 0) -> None:
    """Set one limit, and `grace` more as the hard one, where the system's own is not lower."""
    _, most = resource.getrlimit(kind)
    soft, hard = (bound if most == resource.RLIM_INFINITY else min(bound, most) for bound in (value, value + grace))
    resource.setrlimit(kind, (soft, hard))


def _counts_all_tasks() -> bool:
    """Tell whether RLIMIT_NPROC would count what we can see: it counts a user's tasks, and none of root's.

    In a container the same number may be somebody else's user outside, whose tasks count too and are not to be seen;
    the first process-id and user namespaces are known by their inodes (linux/proc_ns.h).
    """
    try:
        spaces = {name: Path(f"/proc/self/ns/{name}").stat().st_ino for name in _FIRST_NAMESPACES}
    except OSError:
        return False
    return os.getuid() != 0 and spaces == _FIRST_NAMESPACES


def _count_tasks(user: int) -> int:
    """Count the threads of all processes of a user; a task directory has a link for each."""
    count = 0
    for entry in Path("/proc").iterdir():
        with suppress(OSError):
            if entry.name.isdigit() and entry.stat().st_uid == user:
                count += (entry / "task").stat().st_nlink - 2
    return count


def confine(readable: Sequence[Path], workdir: Path, omit: Sequence[Wall] = ()) -> Confinement:
    """Close everything but reading `readable` and adding to `workdir`, as far as this system can; no way back.

    Returns the walls that stand: what the system lacks or refuses is missing, and `omit` is left out on purpose. Call
    it with one thread running, as Landlock and seccomp bind a thread and those it starts: RuntimeError with more.
    """
    if sys.platform.startswith("linux") and len(list(Path("/proc/self/task").iterdir())) > 1:
        raise RuntimeError("threads were started before the sandbox closed")
    offered = available()
    abi = 0 if Wall.LANDLOCK in omit else offered.landlock_abi
    if abi and not _stands(lambda: landlock.restrict([*readable, *_runtime_paths()], [workdir])):
        abi = 0
    if sys.platform.startswith("linux"):
        _drop_capabilities()
    filtered = offered.seccomp and Wall.SECCOMP not in omit and _stands(seccomp.restrict)
    return Confinement(abi, filtered)


def _stands(build: Callable[[], None]) -> bool:
    """Put up a wall; False, and a line in the log, where the kernel has it and refuses."""
    try:
        build()
    except OSError as error:
        if error.errno not in _REFUSALS:
            raise
        print(f"a wall was refused: {error}", file=sys.stderr)  # noqa: T201 - the log of this process
        return False
    return True


def _runtime_paths() -> list[Path]:
    """List what the interpreter still loads from: its library, the packages, our code and the system's libraries."""
    python = [sysconfig.get_path(name) for name in ("stdlib", "platstdlib", "purelib", "platlib")]
    ours = str(Path(__file__).resolve().parents[2])
    return [Path(path) for path in (*python, ours, "/lib", "/lib64", "/usr/lib", "/etc/ld.so.cache", "/dev/null")]


def _drop_capabilities() -> None:
    """Give up root's powers, but for reading and writing files of other owners (Landlock bounds which)."""
    header = ctypes.create_string_buffer(struct.pack("Ii", _CAPABILITY_VERSION_3, 0))
    data = ctypes.create_string_buffer(24)
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.capget(header, data):
        raise OSError(ctypes.get_errno(), "capabilities could not be read")
    kept = struct.unpack("6I", data.raw[:24])[1] & _CAP_DAC_OVERRIDE
    if libc.capset(header, struct.pack("6I", kept, kept, 0, 0, 0, 0)):
        raise OSError(ctypes.get_errno(), "capabilities could not be dropped")
