"""A seccomp filter by prctl: the system calls that decoding needs stay, those that reach outside answer EPERM.

The program is classic BPF over `struct seccomp_data` (seccomp(2)). It denies by name rather than allows by name:
codec libraries differ in what they call, and what is listed is what leads to the network, to other processes, to
other programs, to kernel surface, to attributes of files that Landlock does not guard, or to room on the disk that the
parent can't count (removed files, files without a name, blocks beyond a file's end).
"""

import ctypes
import errno
import os
import platform
import struct
import sys

# name, number on x86_64, number on aarch64 (- where it has none)
_DENIED = """
socket 41 198  socketpair 53 199  connect 42 203  bind 49 200  listen 50 201  accept 43 202  accept4 288 242
sendto 44 206  sendmsg 46 211  sendmmsg 307 269  io_uring_setup 425 425  io_uring_enter 426 426
io_uring_register 427 427  fork 57 -  vfork 58 -  execve 59 221  execveat 322 281  tkill 200 130
rt_sigqueueinfo 129 138  rt_tgsigqueueinfo 297 240  pidfd_send_signal 424 424  pidfd_open 434 434
pidfd_getfd 438 438  ptrace 101 117  process_vm_readv 310 270  process_vm_writev 311 271
process_madvise 440 440  kcmp 312 272  bpf 321 280  perf_event_open 298 241  userfaultfd 323 282
mount 165 40  umount2 166 39  pivot_root 155 41  chroot 161 51  move_mount 429 429  open_tree 428 428
fsopen 430 430  fsconfig 431 431  fsmount 432 432  fspick 433 433  mount_setattr 442 442  open_tree_attr 467 467
setns 308 268  unshare 272 97  keyctl 250 219  add_key 248 217  request_key 249 218  init_module 175 105
finit_module 313 273  delete_module 176 106  kexec_load 246 104  kexec_file_load 320 294  reboot 169 142
swapon 167 224  swapoff 168 225  quotactl 179 60  quotactl_fd 443 443  acct 163 89  settimeofday 164 170
clock_settime 227 112  clock_adjtime 305 266  adjtimex 159 171  sethostname 170 161  setdomainname 171 162
iopl 172 -  ioperm 173 -  modify_ldt 154 -  personality 135 92  syslog 103 116  vhangup 153 58
fanotify_init 300 262  name_to_handle_at 303 264  open_by_handle_at 304 265  mknod 133 -  mknodat 259 33
symlink 88 -  symlinkat 266 36  chmod 90 -  fchmod 91 52  fchmodat 268 53  fchmodat2 452 452  chown 92 -
fchown 93 55  lchown 94 -  fchownat 260 54  setxattr 188 5  lsetxattr 189 6  fsetxattr 190 7
setxattrat 463 463  removexattr 197 14  lremovexattr 198 15  fremovexattr 199 16  removexattrat 466 466
utime 132 -  utimes 235 -  utimensat 280 88  futimesat 261 -  setrlimit 160 164  setpriority 141 140
sched_setscheduler 144 119  sched_setparam 142 118  sched_setattr 314 274  ioprio_set 251 30
migrate_pages 256 238  move_pages 279 239  memfd_create 319 279  memfd_secret 447 447  shmget 29 194
shmat 30 196  shmctl 31 195  msgget 68 186  semget 64 190  mq_open 240 180  setuid 105 146  setgid 106 144
setreuid 113 145  setregid 114 143  setresuid 117 147  setresgid 119 149  setgroups 116 159  setfsuid 122 151
setfsgid 123 152  capset 126 91  unlink 87 -  unlinkat 263 35  rmdir 84 -  rename 82 -  renameat 264 38
renameat2 316 276  fallocate 285 47
"""
_FIRST_UNKNOWN = 468  # calls newer than this list, and the x32 ones (numbers from 2^30), do not exist for the child

_ARCHITECTURES = {"x86_64": (0, 0xC000003E), "aarch64": (1, 0xC00000B7)}  # column of the list, AUDIT_ARCH_*
_CLONE, _CLONE3, _PRLIMIT64, _PRCTL, _KILL, _TGKILL = (56, 220), 435, (302, 261), (157, 167), (62, 129), (234, 131)
_OPEN, _OPENAT, _OPENAT2 = 2, (257, 56), 437  # ARM64 has no open

_LOAD, _JUMP_EQUAL, _JUMP_GREATER_EQUAL, _JUMP_ANY_BIT, _RETURN = 0x20, 0x15, 0x35, 0x45, 0x06
_NUMBER, _ARCHITECTURE, _ARGUMENTS = 0, 4, 16  # offsets in struct seccomp_data
_ALLOW, _ERRNO, _KILL_PROCESS = 0x7FFF0000, 0x00050000, 0x80000000
_CLONE_THREAD = 0x00010000
_O_TMPFILE = 0x00400000  # the bit that is its own; the other, O_DIRECTORY, is fine
_PR_SET_PDEATHSIG, _PR_GET_SECCOMP, _PR_SET_SECCOMP, _PR_SET_NO_NEW_PRIVS, _MODE_FILTER = 1, 21, 22, 38, 2

Instruction = tuple[int, int, int, int]  # code, jump if true, jump if false, constant


def available() -> bool:
    """Tell whether this kernel and architecture can filter system calls."""
    return (
        sys.platform.startswith("linux")
        and platform.machine() in _ARCHITECTURES
        and ctypes.CDLL(None).prctl(_PR_GET_SECCOMP, *map(ctypes.c_ulong, (0, 0, 0, 0))) >= 0
    )


def restrict() -> None:
    """Filter the system calls of this thread and all it will start; no way back. Raises OSError when refused."""
    code = b"".join(struct.pack("HBBI", *one) for one in write_program(platform.machine(), os.getpid()))
    buffer = ctypes.create_string_buffer(code, len(code))
    program = struct.pack("HP", len(code) // 8, ctypes.addressof(buffer))
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(_PR_SET_NO_NEW_PRIVS, *map(ctypes.c_ulong, (1, 0, 0, 0))):
        raise OSError(ctypes.get_errno(), "no_new_privs was refused")
    if libc.prctl(_PR_SET_SECCOMP, ctypes.c_ulong(_MODE_FILTER), program, *map(ctypes.c_ulong, (0, 0))):
        raise OSError(ctypes.get_errno(), f"seccomp: {os.strerror(ctypes.get_errno())}")


def write_program(machine: str, pid: int) -> list[Instruction]:
    """Write the filter for `machine` (as in uname) and the process `pid`: special calls, the list, then allow."""
    column, architecture = _ARCHITECTURES[machine]
    deny = _refuse(errno.EPERM)
    own_pid_only = [_load(0), (_JUMP_EQUAL, 1, 0, pid), deny]
    threads_only = [_load(0), (_JUMP_ANY_BIT, 1, 0, _CLONE_THREAD), deny]
    no_new_limit = [_load(2), (_JUMP_EQUAL, 0, 2, 0), _load(2, high=True), (_JUMP_EQUAL, 1, 0, 0), deny]
    keeps_death_signal = [_load(0), (_JUMP_EQUAL, 0, 1, _PR_SET_PDEATHSIG), deny]
    named_files = [(_JUMP_ANY_BIT, 0, 1, _O_TMPFILE), deny]
    opens = _rule(_OPEN, [_load(1), *named_files]) if machine == "x86_64" else []
    return [
        (_LOAD, 0, 0, _ARCHITECTURE),
        (_JUMP_EQUAL, 1, 0, architecture),
        (_RETURN, 0, 0, _KILL_PROCESS),
        (_LOAD, 0, 0, _NUMBER),
        (_JUMP_GREATER_EQUAL, 0, 1, _FIRST_UNKNOWN),
        _refuse(errno.ENOSYS),
        *_rule(_KILL[column], own_pid_only),
        *_rule(_TGKILL[column], own_pid_only),
        *_rule(_CLONE[column], threads_only),
        *opens,
        *_rule(_OPENAT[column], [_load(2), *named_files]),
        # their flags lie in memory, where a filter can't look; libc falls back to clone and openat
        *_rule(_CLONE3, [_refuse(errno.ENOSYS)]),
        *_rule(_OPENAT2, [_refuse(errno.ENOSYS)]),
        *_rule(_PRLIMIT64[column], no_new_limit),
        *_rule(_PRCTL[column], keeps_death_signal),
        *(step for number in _denied(column) for step in ((_JUMP_EQUAL, 0, 1, number), deny)),
        (_RETURN, 0, 0, _ALLOW),
    ]


def _rule(number: int, body: list[Instruction]) -> list[Instruction]:
    """Run `body` for one system call; what falls through its end goes on with the next rule."""
    return [(_JUMP_EQUAL, 0, len(body) + 1, number), *body, (_LOAD, 0, 0, _NUMBER)]


def _load(argument: int, *, high: bool = False) -> Instruction:
    """Load one half of a call's argument (little-endian, 64 bits)."""
    return (_LOAD, 0, 0, _ARGUMENTS + 8 * argument + 4 * high)


def _refuse(number: int) -> Instruction:
    return (_RETURN, 0, 0, _ERRNO | number)


def _denied(column: int) -> list[int]:
    """Pick the numbers of one architecture from the list."""
    numbers = _DENIED.split()[1 + column :: 3]
    return [int(number) for number in numbers if number != "-"]
