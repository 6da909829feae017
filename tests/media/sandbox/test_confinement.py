import os
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from sfserver.media.sandbox import confinement, landlock
from sfserver.media.sandbox.confinement import Confinement, Wall
from sfserver.media.sandbox.parent import Sandbox, SandboxLimits
from tests.media.sandbox.sandbox_escapes import ESCAPES
from tests.requirements import must_have_everything

WALLS = confinement.available()
REFUSALS = {"EPERM", "EACCES", "ENOSYS", "EXDEV"}
ATTEMPTS = """
import json, socket, sys
from pathlib import Path
from sfserver.media.sandbox import confinement, landlock, seccomp
secret, workdir = map(Path, sys.argv[1:3])
def attempt(action):
    try:
        action()
    except PermissionError:
        return False
    return True
{close}
print(json.dumps({{
    "read": attempt(secret.read_text),
    "write": attempt(lambda: (workdir / "out").write_text("x")),
    "socket": attempt(socket.socket),
}}))
"""


def needs(wall: bool) -> pytest.MarkDecorator:
    """Skip on a laptop without that wall; in CI the test runs and fails."""
    return pytest.mark.skipif(not wall and not must_have_everything(), reason=str(WALLS))


@pytest.fixture
def targets(tmp_path: Path) -> Iterator[dict[str, object]]:
    """Lay out what an intruder would want: a secret, listeners, the parent."""
    (tmp_path / "secret").write_text("hunter2")
    (tmp_path / "input.mp4").write_text("input")
    abstract = f"streamforge-{os.getpid()}"
    unix_path = os.path.relpath(tmp_path / "socket")  # its full path may be too long for a socket
    with (
        socket.create_server(("127.0.0.1", 0)) as tcp,
        socket.socket(socket.AF_UNIX) as unix,
        socket.socket(socket.AF_UNIX) as hidden,
    ):
        unix.bind(unix_path)
        unix.listen()
        hidden.bind("\0" + abstract)
        hidden.listen()
        yield {
            "secret": str(tmp_path / "secret"),
            "input": str(tmp_path / "input.mp4"),
            "outside": str(tmp_path / "outside"),
            "unix": str(tmp_path / "socket"),
            "abstract": abstract,
            "port": tcp.getsockname()[1],
            "parent": os.getpid(),
        }


@needs(WALLS.complete)
@pytest.mark.parametrize("escape", ESCAPES)
def test_no_way_out(escape: str, targets: dict[str, object], tmp_path: Path) -> None:
    workdir = tmp_path / "work"
    workdir.mkdir()
    run = Sandbox(SandboxLimits()).run(
        "tests.media.sandbox.sandbox_escapes:attempt",
        targets | {"escape": escape},
        workdir,
        readable=[Path(str(targets["input"]))],
        output_bytes=1 << 20,
        on_report=lambda _: None,
        should_stop=lambda: None,
    )

    assert run.result["outcome"] in REFUSALS
    assert Path(str(targets["secret"])).read_text() == "hunter2"
    assert Path(str(targets["input"])).read_text() == "input"
    assert not (tmp_path / "outside").exists()
    assert [path.name for path in workdir.iterdir()] == ["stage.log"]


def attempts_after(close: str, tmp_path: Path) -> str:
    (tmp_path / "secret").write_text("hunter2")
    workdir = tmp_path / "work"
    workdir.mkdir()
    command = [sys.executable, "-c", ATTEMPTS.format(close=close), str(tmp_path / "secret"), str(workdir)]
    return subprocess.run(command, cwd=Path(__file__).parents[3], check=True, capture_output=True, text=True).stdout


@needs(WALLS.landlock_abi > 0)
def test_landlock_alone_keeps_files_shut(tmp_path: Path) -> None:
    assert '"read": false, "write": true, "socket": true' in attempts_after(
        "landlock.restrict([], [workdir])", tmp_path
    )


@needs(WALLS.seccomp)
def test_seccomp_alone_keeps_sockets_shut(tmp_path: Path) -> None:
    assert '"read": true, "write": true, "socket": false' in attempts_after("seccomp.restrict()", tmp_path)


def test_a_system_without_walls_runs_all_the_same(tmp_path: Path) -> None:
    bare = "confinement.available = lambda: confinement.Confinement(0, False); confinement.confine([], workdir)"
    assert '"read": true, "write": true, "socket": true' in attempts_after(bare, tmp_path)


def test_no_wall_goes_up_round_a_thread_it_would_miss(tmp_path: Path) -> None:
    done = threading.Event()
    thread = threading.Thread(target=done.wait)
    thread.start()
    try:
        with pytest.raises(RuntimeError, match="threads were started"):
            confinement.confine([], tmp_path)
    finally:
        done.set()
        thread.join()


@pytest.mark.parametrize(
    ("walls", "text", "complete"),
    [
        (Confinement(7, True), "rlimits, Landlock ABI 7, seccomp", True),
        (Confinement(0, True), "rlimits, no Landlock, seccomp", False),
        (Confinement(0, False), "rlimits, no Landlock, no seccomp", False),
    ],
)
def test_the_walls_are_named(walls: Confinement, text: str, complete: bool) -> None:
    assert (str(walls), walls.complete) == (text, complete)


@pytest.mark.parametrize(
    ("version", "bits"), [(1, 0x1FFF), (2, 0x3FFF), (3, 0x7FFF), (4, 0x7FFF), (5, 0xFFFF), (7, 0xFFFF)]
)
def test_only_rights_the_kernel_knows_are_handled(version: int, bits: int) -> None:
    assert landlock.handled_access(version) == bits


@pytest.mark.parametrize("wall", Wall)
def test_a_wall_that_is_refused_is_missing_and_the_log_says_so(tmp_path: Path, wall: Wall) -> None:
    refuse = (
        "def refuse(*_): raise OSError(1, 'not permitted here')\n"
        f"{wall}.restrict = refuse\n"
        "walls = confinement.confine([], workdir)\n"
        f"print(walls, file=sys.stderr)"
    )
    (tmp_path / "secret").write_text("hunter2")
    command = [sys.executable, "-c", ATTEMPTS.format(close=refuse), str(tmp_path / "secret"), str(tmp_path)]
    done = subprocess.run(command, cwd=Path(__file__).parents[3], check=True, capture_output=True, text=True)
    assert "a wall was refused: [Errno 1] not permitted here" in done.stderr
    assert f"no {wall}" in done.stderr.lower()


def test_an_error_of_the_machine_is_no_refusal(tmp_path: Path) -> None:
    fail = (
        "def fail(*_): raise OSError(24, 'too many open files')\n"
        "landlock.restrict = fail\n"
        "confinement.available = lambda: confinement.Confinement(7, False)\n"
        "confinement.confine([], workdir)"
    )
    with pytest.raises(subprocess.CalledProcessError) as failed:
        attempts_after(fail, tmp_path)
    assert "too many open files" in failed.value.stderr


@pytest.mark.skipif(os.getuid() != 0, reason="only root can become another user")
def test_a_user_has_a_bound_on_threads_of_all(tmp_path: Path) -> None:
    code = (
        "import os, resource; from sfserver.media.sandbox import confinement as c\n"
        "c._FIRST_NAMESPACES = {n: os.stat(f'/proc/self/ns/{n}').st_ino for n in ('pid', 'user')}\n"
        "os.setuid(65534); c.limit_resources(c.ResourceLimits(1 << 30, 1 << 20, 64, 5, 0, 0))\n"
        "print(resource.getrlimit(resource.RLIMIT_NPROC)[0])"
    )
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, cwd=Path(__file__).parents[3], check=True, capture_output=True, text=True)
    assert 1024 + 5 < int(done.stdout) < 1024 + 5 + 500
