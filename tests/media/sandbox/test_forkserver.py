"""The fork server dies or stops under children that run or start: nobody waits for long, no media is blamed."""

import os
import signal
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psutil
import pytest

from sfserver.errors import TransientError
from sfserver.media.sandbox import forkserver, process
from sfserver.media.sandbox.parent import ChildLost, Sandbox, SandboxLimits, StageRun, Stopped, StopReason
from sfserver.media.sandbox.usage import has_ended
from tests.media.sandbox import sandbox_stages

PRELOAD = ["sfserver.media.encode.video:run_encode"]


@pytest.fixture
def server() -> Iterator[psutil.Process]:
    """The fork server, which has answered once."""
    process.stop_fork_server()
    Sandbox(SandboxLimits(), preload=PRELOAD).walls()
    server = psutil.Process(process.start_fork_server())
    yield server
    process.stop_fork_server()


def run(
    stage: str, workdir: Path, on_report: Callable[[dict[str, object]], None], reason: StopReason | None = None
) -> StageRun:
    reported: list[dict[str, object]] = []

    def note(report: dict[str, object]) -> None:
        reported.append(report)
        on_report(report)

    return Sandbox(SandboxLimits()).run(
        f"{sandbox_stages.__name__}:{stage}",
        {},
        workdir,
        readable=[],
        output_bytes=1 << 20,
        on_report=note,
        should_stop=lambda: reason if reported else None,
    )


@pytest.mark.parametrize("stage", ["hang", "busy"])
def test_its_death_is_charged_to_no_media(server: psutil.Process, tmp_path: Path, stage: str) -> None:
    pids = []

    def kill(report: dict[str, object]) -> None:
        pids.append(int(str(report["pid"])))
        server.kill()

    with pytest.raises(ChildLost, match="the fork server died"):
        run(stage, tmp_path, kill)
    assert has_ended(pids[0])
    assert run("facts", tmp_path, print).result["modules"] == ["av", "sfserver.media.encode.video"]


def test_a_child_that_ends_unseen_is_lost(
    server: psutil.Process, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sfserver.media.sandbox.watch._GOODBYE_S", 0.5)

    def stop(_: dict[str, object]) -> None:
        server.suspend()
        (tmp_path / "go").touch()

    with pytest.raises(ChildLost, match="did not tell its end"):
        run("linger", tmp_path, stop)


def test_a_child_that_dies_unseen_is_lost(
    server: psutil.Process, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(process, "_UNTOLD_S", 0.5)

    def stop(report: dict[str, object]) -> None:
        server.suspend()
        os.kill(int(str(report["pid"])), signal.SIGKILL)

    with pytest.raises(ChildLost, match="did not tell its end"):
        run("hang", tmp_path, stop)


def test_a_cancel_needs_no_fork_server(server: psutil.Process, tmp_path: Path) -> None:
    with pytest.raises(Stopped):
        run("busy", tmp_path, lambda _: server.suspend(), StopReason.CANCELLED)
    assert all(child.status() == psutil.STATUS_ZOMBIE for child in server.children())


def test_a_stopped_one_is_replaced(server: psutil.Process, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(forkserver, "_START_S", 0.5)
    server.suspend()

    def one(number: int) -> object:
        workdir = tmp_path / str(number)
        workdir.mkdir()
        return run("facts", workdir, print).result["leads_group"]

    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(one, range(4))) == [True] * 4
    assert not server.is_running()
    assert psutil.Process(process.start_fork_server()).is_running()


def test_one_that_dies_while_children_start_is_replaced(server: psutil.Process, tmp_path: Path) -> None:
    server.kill()
    assert run("facts", tmp_path, print).result["leads_group"] is True


def test_one_that_never_loads_its_libraries_is_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    process.stop_fork_server()
    monkeypatch.setattr(forkserver, "_BOOT", "import time; time.sleep(600)")
    monkeypatch.setattr(forkserver, "_BOOT_S", 0.3)
    with pytest.raises(TransientError, match=r"started no child after 0\.3 s"):
        run("facts", tmp_path, print)
    process.stop_fork_server()


def test_no_descriptors_in_it_are_said_so(server: psutil.Process, tmp_path: Path) -> None:
    server.rlimit(psutil.RLIMIT_NOFILE, (7, 1024))  # its own six and one of three
    with pytest.raises(TransientError, match="has no descriptors left"):
        run("facts", tmp_path, print)
    assert server.is_running()


def test_no_descriptors_for_a_child_are_said_so(
    server: psutil.Process, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def none_left() -> tuple[int, int]:
        raise OSError(24, "Too many open files")

    monkeypatch.setattr(os, "pipe", none_left)
    with pytest.raises(TransientError, match="Too many open files"):
        run("facts", tmp_path, print)
    assert server.is_running()


def test_no_descriptor_stays_open(server: psutil.Process, tmp_path: Path) -> None:
    before = [psutil.Process().num_fds(), server.num_fds()]
    for _ in range(5):
        run("facts", tmp_path, print)
    assert psutil.Process().num_fds() == before[0]
    assert server.num_fds() <= before[1] + 1  # it closes the last pipe just after it has told


def test_it_inherits_no_secret(server: psutil.Process, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SF_DATABASE__URL", "secret")
    process.stop_fork_server()
    assert "SF_DATABASE__URL" not in psutil.Process(process.start_fork_server()).environ()
