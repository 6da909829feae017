"""Landlock by ctypes: a process gives up the file system but for the paths it names (landlock(7)).

Covers files, TCP (ABI 4), abstract unix sockets and signals (ABI 6); UDP and the rest is left to `seccomp`.
"""

import ctypes
import os
import struct
import sys
from collections.abc import Iterable
from enum import IntFlag
from pathlib import Path

_CREATE_RULESET, _ADD_RULE, _RESTRICT_SELF = 444, 445, 446  # the same on every architecture
_CREATE_RULESET_VERSION = 1
_RULE_PATH_BENEATH = 1
_TCP_BIND_CONNECT = 0b11
_SCOPE_ABSTRACT_UNIX_AND_SIGNAL = 0b11
_PR_SET_NO_NEW_PRIVS = 38


class Access(IntFlag):
    """What Landlock tells apart on files (linux/landlock.h, LANDLOCK_ACCESS_FS_*)."""

    EXECUTE = 1 << 0
    WRITE_FILE = 1 << 1
    READ_FILE = 1 << 2
    READ_DIR = 1 << 3
    REMOVE_DIR = 1 << 4
    REMOVE_FILE = 1 << 5
    MAKE_CHAR = 1 << 6
    MAKE_DIR = 1 << 7
    MAKE_REG = 1 << 8
    MAKE_SOCK = 1 << 9
    MAKE_FIFO = 1 << 10
    MAKE_BLOCK = 1 << 11
    MAKE_SYM = 1 << 12
    REFER = 1 << 13
    TRUNCATE = 1 << 14
    IOCTL_DEV = 1 << 15


READ = Access.READ_FILE | Access.READ_DIR
# No MAKE_SYM: a link from the work directory would let the parent hand out the file it points to. No REMOVE_* and no
# REFER: what is removed while it is open still takes room, and the parent could not count it; a rename removes too.
WRITE = READ | Access.WRITE_FILE | Access.TRUNCATE | Access.MAKE_REG | Access.MAKE_DIR
_ON_FILES = Access.EXECUTE | Access.WRITE_FILE | Access.READ_FILE | Access.TRUNCATE | Access.IOCTL_DEV


def abi() -> int:
    """Ask the kernel for its Landlock version; 0 where there is none."""
    if not sys.platform.startswith("linux"):
        return 0
    version = int(_libc().syscall(_CREATE_RULESET, None, ctypes.c_size_t(0), _CREATE_RULESET_VERSION))
    return max(0, version)


def restrict(readable: Iterable[Path], writable: Iterable[Path]) -> None:
    """Take every other file, all TCP and all signals to the outside from this thread and what it will start.

    Paths that do not exist are left out. Raises OSError where the kernel refuses. Rights newer than the kernel's
    version are dropped, so call it only where `abi()` is at least 1.
    """
    version = abi()
    handled = handled_access(version)
    ruleset = _call(_CREATE_RULESET, *_ruleset(version, handled), 0)
    try:
        for path in readable:
            _allow(ruleset, path, READ & handled)
        for path in writable:
            _allow(ruleset, path, WRITE & handled)
        if _libc().prctl(_PR_SET_NO_NEW_PRIVS, *map(ctypes.c_ulong, (1, 0, 0, 0))):
            raise OSError(ctypes.get_errno(), "no_new_privs was refused")
        _call(_RESTRICT_SELF, ruleset, 0)
    finally:
        os.close(ruleset)


def handled_access(version: int) -> Access:
    """Name the file rights this version can take away."""
    newest = {1: Access.MAKE_SYM, 2: Access.REFER, 3: Access.TRUNCATE, 4: Access.TRUNCATE}.get(
        version, Access.IOCTL_DEV
    )
    return Access(2 * newest - 1)


def _ruleset(version: int, handled: Access) -> tuple[bytes, ctypes.c_size_t]:
    """Lay out `struct landlock_ruleset_attr`, as long as this version knows it."""
    fields = [int(handled)]
    if version >= 4:
        fields.append(_TCP_BIND_CONNECT)
    if version >= 6:
        fields.append(_SCOPE_ABSTRACT_UNIX_AND_SIGNAL)
    return struct.pack(f"{len(fields)}Q", *fields), ctypes.c_size_t(8 * len(fields))


def _allow(ruleset: int, path: Path, access: Access) -> None:
    """Add one path (a file, or a directory with all below it)."""
    try:
        fd = os.open(path, os.O_PATH | os.O_CLOEXEC)
    except FileNotFoundError:
        return
    try:
        allowed = access if path.is_dir() else access & _ON_FILES
        _call(_ADD_RULE, ruleset, _RULE_PATH_BENEATH, struct.pack("=Qi", allowed, fd), 0)
    finally:
        os.close(fd)


def _libc() -> ctypes.CDLL:
    return ctypes.CDLL(None, use_errno=True)


def _call(number: int, *arguments: object) -> int:
    """Make one system call; raise OSError when it fails."""
    result = int(_libc().syscall(number, *arguments))
    if result < 0:
        raise OSError(ctypes.get_errno(), f"landlock call {number}: {os.strerror(ctypes.get_errno())}")
    return result
