import os
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import psutil
import pytest

from sfserver import errors
from sfserver.media.sandbox.confinement import Confinement, Wall, available
from sfserver.media.sandbox.parent import (
    ChildCrashed,
    Sandbox,
    Stopped,
    StopReason,
    output_file,
)
from tests.media.sandbox.attempts import LIMITS, OUTPUT_BYTES, STAGES, Attempt


def test_a_stage_reports_in_order_and_returns_its_result(attempt: Attempt) -> None:
    run = attempt.run("echo", chunk={"index": 3})

    assert attempt.reports == [{"step": 0}, {"step": 1}, {"step": 2}]
    assert run.result["arguments"] == {"chunk": {"index": 3}}
    assert run.result["pid"] != os.getpid()
    assert run.cpu_s > 0
    assert run.wall_s > 0
    assert 1 << 20 < run.peak_rss_bytes < LIMITS.memory_bytes
    assert output_file(attempt.workdir, "out.bin").read_bytes() == b"0123456789"


def test_codecs_and_their_threads_work_behind_the_walls(attempt: Attempt) -> None:
    assert attempt.run("encode_and_decode").result == {"frames": 30, "random": 8}


def test_an_unknown_stage_is_a_bug_of_the_caller(attempt: Attempt) -> None:
    with pytest.raises(AttributeError):
        attempt.run("no_such_stage")
    with pytest.raises(KeyError):
        attempt.run("_read")


@pytest.mark.parametrize(
    ("stage", "reason", "signal_name"),
    [
        ("segv", "was killed by SIGSEGV", "SIGSEGV"),
        ("abort", "was killed by SIGABRT", "SIGABRT"),
        ("leave", "exited with status 3", None),
        ("fail", "failed: LookupError: no such stream [31m", None),
    ],
)
def test_a_crash_costs_the_child_only(attempt: Attempt, stage: str, reason: str, signal_name: str | None) -> None:
    with pytest.raises(ChildCrashed) as crash:
        attempt.run(stage)

    assert (crash.value.reason, crash.value.signal_name) == (reason, signal_name)
    attempt.assert_gone()


def test_a_crash_leaves_a_stack_in_the_log_without_control_characters(attempt: Attempt) -> None:
    with pytest.raises(ChildCrashed) as crash:
        attempt.run("segv")
    assert "sandbox_stages.py" in crash.value.log
    with pytest.raises(ChildCrashed) as crash:
        attempt.run("fail")
    assert "LookupError" in crash.value.log
    assert "\x1b" not in crash.value.log


def test_a_kill_from_outside_is_named(attempt: Attempt) -> None:
    def kill(report: dict[str, object]) -> None:
        attempt.reports.append(report)
        os.kill(attempt.pid, signal.SIGKILL)

    attempt.on_report = kill
    with pytest.raises(ChildCrashed, match="was killed by SIGKILL"):
        attempt.run("busy")
    attempt.assert_gone()


@pytest.mark.parametrize("stage", ["hang", "busy"])
def test_silence_is_a_stall(attempt: Attempt, stage: str) -> None:
    attempt.limits = replace(LIMITS, stall_s=0.5)
    with pytest.raises(ChildCrashed, match=r"made no progress for 0\.5 s"):
        attempt.run(stage)
    attempt.assert_gone()


@pytest.mark.parametrize("name", ["UnsupportedMediaError", "DamagedMediaError", "MediaLimitError"])
def test_a_refusal_keeps_its_class(attempt: Attempt, name: str) -> None:
    with pytest.raises(errors.PermanentError) as error:
        attempt.run("refuse", **{"class": name})
    assert type(error.value).__name__ == name
    if isinstance(error.value, errors.MediaLimitError):
        assert (error.value.code, error.value.limit, error.value.value) == ("limit_pixels", 10, 12.5)
    else:
        assert (error.value.detail, error.value.hint) == ("not for us", "try another")
    attempt.assert_gone()


def test_a_child_cannot_ask_for_retries_without_end(attempt: Attempt) -> None:
    with pytest.raises(ChildCrashed, match="sent garbage"):
        attempt.run("refuse", **{"class": "StoreUnavailableError"})


@pytest.mark.parametrize(
    ("data", "times"),
    [
        ("no json\n", 1),
        ("[]\n", 1),
        ('{"type":"result","values":7}\n', 1),
        ('{"type":"report","values":{"progress":NaN}}\n', 1),
        ('{"type":"error","class":"Exception"}\n', 1),
        ('{"type":"error","class":"MediaLimitError","name":"../x","limit":1,"value":2}\n', 1),
        ("x" * 1024, 17 * 1024),
        ("\n", 1),
    ],
)
def test_garbage_ends_the_child(attempt: Attempt, data: str, times: int) -> None:
    attempt.limits = replace(LIMITS, stall_s=2.0)
    with pytest.raises(ChildCrashed, match=r"garbage|no progress"):
        attempt.run("garbage", data=data, times=times)
    attempt.assert_gone()


def test_half_a_message_does_not_hold_the_parent(attempt: Attempt) -> None:
    attempt.limits = replace(LIMITS, stall_s=0.5)
    with pytest.raises(ChildCrashed, match="made no progress"):
        attempt.run("garbage", data='{"type":"resu')
    attempt.assert_gone()


def test_a_result_from_a_child_that_then_crashes_does_not_count(attempt: Attempt) -> None:
    with pytest.raises(ChildCrashed, match="SIGABRT"):
        attempt.run("result_then_crash")


@pytest.mark.parametrize("stage", ["hang", "busy", "encode_forever"])
def test_cancel_reaches_native_code(attempt: Attempt, stage: str) -> None:
    attempt.stop_once_running()
    with pytest.raises(Stopped) as stopped:
        attempt.run(stage)
    assert stopped.value.reason is StopReason.CANCELLED
    attempt.assert_gone()


def test_a_stop_of_the_whole_service_is_no_crash(attempt: Attempt) -> None:
    told = iter([None, None])

    def terminate(report: dict[str, object]) -> None:
        attempt.reports.append(report)
        os.kill(attempt.pid, signal.SIGTERM)

    attempt.on_report = terminate
    attempt.should_stop = lambda: next(told, StopReason.SHUTDOWN)
    with pytest.raises(Stopped) as stopped:
        attempt.run("busy")
    assert stopped.value.reason is StopReason.SHUTDOWN


def test_close_stops_what_runs(tmp_path: Path) -> None:
    sandbox = Sandbox(LIMITS)
    with pytest.raises(Stopped) as stopped:
        sandbox.run(
            f"{STAGES}:busy",
            {},
            tmp_path,
            readable=[],
            output_bytes=OUTPUT_BYTES,
            on_report=lambda _: sandbox.close(),
            should_stop=lambda: None,
        )
    assert stopped.value.reason is StopReason.SHUTDOWN


def test_a_lost_lease_ends_the_child(attempt: Attempt) -> None:
    attempt.stop_once_running(StopReason.LOST)
    with pytest.raises(Stopped) as stopped:
        attempt.run("hang")
    assert stopped.value.reason is StopReason.LOST
    attempt.assert_gone()


def test_an_error_in_a_callback_ends_the_child(attempt: Attempt) -> None:
    def fail(report: dict[str, object]) -> None:
        attempt.reports.append(report)
        raise errors.DatabaseUnavailableError

    attempt.on_report = fail
    with pytest.raises(errors.DatabaseUnavailableError):
        attempt.run("busy")
    attempt.assert_gone()


def test_four_children_at_once_do_not_disturb_each_other(tmp_path: Path) -> None:
    def one(number: int) -> str:
        workdir = tmp_path / str(number)
        workdir.mkdir()
        attempt = Attempt(workdir)
        if number % 2:
            return str(attempt.run("echo", number=number).result["arguments"])
        with pytest.raises(ChildCrashed) as crash:
            attempt.run("segv")
        return crash.value.reason

    with ThreadPoolExecutor(4) as pool:
        answers = list(pool.map(one, range(24)))

    assert answers[0::2] == ["was killed by SIGSEGV"] * 12
    assert answers[1::2] == [str({"number": number}) for number in range(1, 24, 2)]


def test_a_child_inherits_nothing(attempt: Attempt) -> None:
    facts = attempt.run("facts").result

    assert len(list(facts["fds"])) == 4  # type: ignore[call-overload]
    assert set(facts["environment"]) <= {  # type: ignore[call-overload]
        *("PATH", "HOME", "LANG", "LC_ALL", "LC_CTYPE", "TMPDIR", "TZ", "OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS")
    }
    assert facts["cwd"] == str(attempt.workdir)
    assert (facts["core"], facts["leads_group"]) == (0, True)
    assert facts["nice"] == min(19, os.getpriority(os.PRIO_PROCESS, 0) + LIMITS.nice)
    assert facts["modules"] == ["av", "sfserver.media.encode.video"]


@pytest.mark.parametrize("name", ["../secret", "/etc/passwd", "link.mp4", "missing.mp4", "folder", ""])
def test_an_output_must_be_a_file_of_the_stage(tmp_path: Path, name: str) -> None:
    (tmp_path / "secret").write_text("secret")
    workdir = tmp_path / "work"
    (workdir / "folder").mkdir(parents=True)
    (workdir / "link.mp4").symlink_to(tmp_path / "secret")
    with pytest.raises(ChildCrashed, match="named a file"):
        output_file(workdir, name)


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="death signals are Linux's")
@pytest.mark.parametrize("stage", ["hang", "busy"])
def test_a_killed_parent_takes_every_process_with_it(stage: str) -> None:
    secret = "hunter2-in-the-environment"
    with subprocess.Popen(
        [sys.executable, "-m", "tests.media.sandbox.sandbox_parent", stage],
        stdout=subprocess.PIPE,
        env=os.environ | {"SF_DATABASE__URL": secret},
        cwd=Path(__file__).parents[3],
        text=True,
    ) as parent:
        assert parent.stdout is not None
        child = psutil.Process(int(parent.stdout.readline()))
        family = [child, *psutil.Process(parent.pid).children(recursive=True)]
        environments = [Path(f"/proc/{process.pid}/environ").read_bytes() for process in (child, child.parent())]  # type: ignore[union-attr]
        parent.kill()
        parent.wait()
    _, alive = psutil.wait_procs(family, timeout=5)

    assert len(set(family)) == 2
    assert not alive
    assert not any(secret.encode() in environment for environment in environments)


def test_walls_are_what_the_children_have() -> None:
    offered = available()
    assert Sandbox(LIMITS).walls() == offered
    assert Sandbox(replace(LIMITS, omit_walls=[Wall.SECCOMP])).walls() == Confinement(offered.landlock_abi, False)
    assert Sandbox(replace(LIMITS, omit_walls=[Wall.LANDLOCK])).walls() == Confinement(0, offered.seccomp)


@pytest.mark.parametrize("wall", Wall)
def test_missing_walls_can_be_refused(tmp_path: Path, wall: Wall) -> None:
    limits = replace(LIMITS, omit_walls=[wall], require_walls=True)
    with pytest.raises(errors.ConflictError, match=f"(?i)no {wall}") as refused:
        Sandbox(limits).start()
    assert "SF_SANDBOX__REQUIRE_WALLS" in str(refused.value.hint)
    attempt = Attempt(tmp_path)
    attempt.limits = limits
    with pytest.raises(errors.TransientError, match="incomplete"):
        attempt.run("echo")
    assert attempt.reports == []


def test_cpu_time_and_niceness_are_the_calls_own(attempt: Attempt) -> None:
    attempt.cpu_s, attempt.nice = 12.5, 3
    facts = attempt.run("facts").result
    assert (facts["cpu"], facts["nice"]) == (13, min(19, os.getpriority(os.PRIO_PROCESS, 0) + 3))
