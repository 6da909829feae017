import errno
import os
import struct

import pytest

from sfserver.media.sandbox import seccomp

PID = 4242
ALLOW, KILL = 0x7FFF0000, 0x80000000
EPERM, ENOSYS = 0x50000 | errno.EPERM, 0x50000 | errno.ENOSYS
X86_64 = {
    "read": 0, "mmap": 9, "clone": 56, "kill": 62, "tgkill": 234, "prlimit64": 302, "prctl": 157,
    "socket": 41, "connect": 42, "execve": 59, "ptrace": 101, "unshare": 272, "keyctl": 250,
    "openat": 257, "unlinkat": 263, "renameat2": 316, "fallocate": 285,
}  # fmt: skip
AARCH64 = {
    "read": 63, "mmap": 222, "clone": 220, "kill": 129, "tgkill": 131, "prlimit64": 261, "prctl": 167,
    "socket": 198, "connect": 203, "execve": 221, "ptrace": 117, "unshare": 97, "keyctl": 219,
    "openat": 56, "unlinkat": 35, "renameat2": 276, "fallocate": 47,
}  # fmt: skip
MACHINES = {"x86_64": (0xC000003E, X86_64), "aarch64": (0xC00000B7, AARCH64)}  # AUDIT_ARCH_* of linux/audit.h
I386 = 0x40000003
PTHREAD_FLAGS, FORK_FLAGS = 0x3D0F00, 0x1200011


def decide(machine: str, number: int, *arguments: int, architecture: int | None = None) -> int:
    """Run the filter as the kernel would (classic BPF, the five instructions it uses)."""
    audit, _ = MACHINES[machine]
    padded = (*arguments, *(0,) * (6 - len(arguments)))
    data = struct.pack("<iIQ6Q", number, audit if architecture is None else architecture, 0, *padded)
    program, at, accumulator = seccomp.write_program(machine, PID), 0, 0
    while True:
        code, if_true, if_false, constant = program[at]
        at += 1
        if code == 0x06:
            return constant
        if code == 0x20:
            (accumulator,) = struct.unpack_from("<I", data, constant)
            continue
        holds = {0x15: accumulator == constant, 0x35: accumulator >= constant, 0x45: bool(accumulator & constant)}[code]
        at += if_true if holds else if_false


def call(machine: str, name: str, *arguments: int) -> int:
    return decide(machine, MACHINES[machine][1][name], *arguments)


@pytest.fixture(params=MACHINES)
def machine(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.mark.parametrize("name", ["socket", "connect", "execve", "ptrace", "unshare", "keyctl"])
def test_ways_out_are_refused(machine: str, name: str) -> None:
    assert call(machine, name) == EPERM


@pytest.mark.parametrize("name", ["read", "mmap"])
def test_work_is_allowed(machine: str, name: str) -> None:
    assert call(machine, name) == ALLOW


def test_a_thread_is_allowed_and_a_process_is_not(machine: str) -> None:
    assert call(machine, "clone", PTHREAD_FLAGS) == ALLOW
    assert call(machine, "clone", FORK_FLAGS) == EPERM
    assert decide(machine, 435) == ENOSYS


@pytest.mark.parametrize("name", ["kill", "tgkill"])
def test_a_process_may_abort_itself_alone(machine: str, name: str) -> None:
    assert call(machine, name, PID, 6) == ALLOW
    assert call(machine, name, PID + 1, 6) == EPERM
    assert call(machine, name, 0xFFFFFFFF, 9) == EPERM


@pytest.mark.parametrize("name", ["unlinkat", "renameat2", "fallocate"])
def test_room_that_nobody_can_count_is_refused(machine: str, name: str) -> None:
    assert call(machine, name) == EPERM


def test_files_have_names(machine: str) -> None:
    assert call(machine, "openat", 0, 0, os.O_CREAT | os.O_RDWR) == ALLOW
    assert call(machine, "openat", 0, 0, os.O_DIRECTORY) == ALLOW
    assert call(machine, "openat", 0, 0, os.O_TMPFILE | os.O_RDWR) == EPERM
    assert decide(machine, 437) == ENOSYS


def test_the_old_open_is_no_way_round() -> None:
    assert decide("x86_64", 2, 0, os.O_CREAT | os.O_RDWR) == ALLOW
    assert decide("x86_64", 2, 0, os.O_TMPFILE | os.O_RDWR) == EPERM


def test_limits_can_be_read_but_not_set(machine: str) -> None:
    assert call(machine, "prlimit64", 0, 2, 0, 0x7FFF0000) == ALLOW
    assert call(machine, "prlimit64", 0, 2, 0x7FFF0000) == EPERM
    assert call(machine, "prlimit64", 0, 2, 0x7FFF00000000) == EPERM


def test_the_death_signal_stays(machine: str) -> None:
    assert call(machine, "prctl", 1, 0) == EPERM
    assert call(machine, "prctl", 15, 0) == ALLOW


def test_calls_that_are_newer_or_of_another_abi_do_not_exist(machine: str) -> None:
    assert decide(machine, 470) == ENOSYS
    assert decide(machine, (1 << 30) + 41) == ENOSYS
    assert decide(machine, 102, architecture=I386) == KILL
