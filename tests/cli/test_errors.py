"""Exit codes and how errors are told."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from sfctl.exits import Exit, exit_for_status
from tests.cli.conftest import Cli
from tests.cli.fake_server import TOKEN, FakeServer

UNKNOWN = "0192f3a1-7c2b-7000-8000-00000000dead"


def test_statuses_become_exit_codes() -> None:
    expected = {401: 4, 403: 4, 404: 5, 400: 6, 413: 6, 415: 6, 429: 6, 500: 1, 503: 1}
    assert {status: int(exit_for_status(status)) for status in expected} == expected


def test_an_error_says_what_why_hint_and_request(cli: Cli, server: FakeServer) -> None:
    server.refuse("GET /api/videos", 429, "slow_down", "Too many", detail="100 a minute", hint="wait 7 s")
    ran = cli("ls")
    assert ran.code == Exit.REJECTED
    assert ran.err == "error: Too many\n  100 a minute\nhint: wait 7 s\nrequest id: req-1\n"
    assert ran.out == ""


def test_what_the_server_says_is_data(cli: Cli, server: FakeServer) -> None:
    server.refuse("GET /api/videos", 400, "x", "[/b]\x1b[2J\u202etitle", detail="a\nerror: b")
    assert cli("ls").err == "error: [/b]title\n  a error: b\nrequest id: req-1\n"


def test_an_answer_of_a_proxy(cli: Cli, server: FakeServer) -> None:
    server.refusals["GET /api/videos"] = (502, {"Content-Type": "text/html"}, b"<html>")
    ran = cli("ls")
    assert ran.code == 1
    assert ran.err == "error: the server answered 502 Bad Gateway\n"


def test_an_answer_of_something_else(cli: Cli, server: FakeServer) -> None:
    server.refusals["GET /api/videos"] = (200, {}, b'{"hello": "world"}')
    ran = cli("ls")
    assert ran.code == 1
    assert "cannot understand the answer" in ran.err


@pytest.mark.parametrize("args", [["info"], ["formats"], ["jobs"], ["explain"], ["watch"], ["rm", "--yes"], ["url"]])
def test_unknown_ids_are_5(cli: Cli, server: FakeServer, args: list[str]) -> None:
    server.add("a film")
    for text in (UNKNOWN, "0192dead", "../videos"):
        assert cli(*args, text).code == Exit.NOT_FOUND


def test_a_start_that_fits_many_ids_is_refused(cli: Cli, server: FakeServer) -> None:
    server.add("one")
    server.add("two")
    ran = cli("info", "0192f3a1")
    assert ran.code == Exit.USAGE
    assert "is the start of 2 ids" in ran.err


def test_ids_are_found_in_urls_and_by_their_job(cli: Cli, server: FakeServer) -> None:
    video = server.add("a film")
    for text in (f"http://127.0.0.1/watch/{video.id}", str(video.job_id), video.id.upper(), video.id[:30]):
        assert cli("info", text, "-q").out == f"{video.id}\n"


@pytest.mark.parametrize("args", [["ls"], ["status"], ["jobs"], ["open"], ["auth", "status"]])
def test_no_server_is_3(bare: Cli, args: list[str]) -> None:
    ran = bare(*args)
    assert ran.code == Exit.UNREACHABLE
    assert "error: no server answers at http://127.0.0.1:1\n" in ran.err


def test_no_token_is_4(cli: Cli) -> None:
    ran = cli("ls", variables={"SF_TOKEN": ""})
    assert ran.code == Exit.NOT_SIGNED_IN


def test_a_wrong_address_is_2(bare: Cli) -> None:
    assert bare("ls", variables={"SF_URL": "localhost:8420"}).code == Exit.USAGE
    assert bare("ls", variables={"SF_URL": "file:///etc"}).code == Exit.USAGE


def test_rm_asks_on_a_terminal_and_needs_yes_without_one(cli: Cli, server: FakeServer) -> None:
    video = server.add("a film")
    deleted = f"DELETE /api/videos/{video.id}"
    assert cli("rm", video.id).code == Exit.USAGE
    assert cli("rm", video.id, stdin="\n", stdin_tty=True).code == Exit.USAGE
    assert cli("rm", video.id, "--dry-run").code == 0
    assert deleted not in server.seen
    assert cli("rm", video.id, stdin="y\n", stdin_tty=True).code == 0
    assert server.seen[-1] == deleted
    assert cli("rm", video.id, video.id, "--yes", "--purge", "--json").code == 0
    assert server.seen[-1] == f"{deleted}?purge=1"


def test_a_bug_shows_no_traceback_unless_asked(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    def breaks(*_: object) -> None:
        raise ZeroDivisionError("boom")

    monkeypatch.setattr("sfctl.commands.videos._print_videos", breaks)
    ran = cli("ls")
    assert ran.code == 1
    assert ran.err.startswith("error: this is a bug in sfctl\n  ZeroDivisionError: boom\nhint: ")
    with pytest.raises(ZeroDivisionError):
        cli("ls", "--debug")


def test_debug_shows_where_an_error_comes_from(bare: Cli) -> None:
    ran = bare("ls", "--debug")
    assert "Traceback" in ran.err
    assert ran.code == 3


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_signals(server: FakeServer, tmp_path: Path, number: signal.Signals, code: int) -> None:
    from tests.cli.fake_events import pause

    server.event_scripts = [lambda _job, _last: pause(5)]
    job_id = str(server.add("a film").job_id)
    process = subprocess.Popen(
        [Path(sys.executable).with_name("sfctl"), "watch", job_id],
        env={"SF_URL": server.url, "SF_TOKEN": TOKEN, "HOME": str(tmp_path)},
        stderr=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    while not any("/events" in line for line in server.seen):
        assert process.poll() is None
    time.sleep(0.5)  # let it settle: a signal in the middle of an import is Python's to report
    process.send_signal(number)
    _, err = process.communicate(timeout=10)
    assert process.returncode == code
    assert "Traceback" not in err


def test_a_reader_that_goes_away_is_no_error(server: FakeServer, tmp_path: Path) -> None:
    for number in range(50):
        server.add(f"film {number} " * 40)
    reader, writer = os.pipe()
    os.close(reader)
    done = subprocess.run(
        [Path(sys.executable).with_name("sfctl"), "ls"],
        env={"SF_URL": server.url, "SF_TOKEN": TOKEN, "HOME": str(tmp_path)},
        stdout=writer,
        stderr=subprocess.PIPE,
        text=True,
        timeout=20,
        check=False,
    )
    os.close(writer)
    assert done.stderr == ""


def test_jobs_and_their_exit_status(cli: Cli, server: FakeServer) -> None:
    from sfserver.wire.jobs import JobStatus

    ids = {status: str(server.add(status, status).job_id) for status in JobStatus}
    codes = {status: cli("jobs", job_id, "--exit-status").code for status, job_id in ids.items()}
    assert codes == {"queued": 8, "processing": 8, "ready": 0, "failed": 1, "cancelled": 1}
    assert cli("jobs", ids[JobStatus.FAILED]).code == 0
    ended = cli("jobs", "cancel", ids[JobStatus.READY], ids[JobStatus.QUEUED])
    assert ended.out == f"{ids[JobStatus.QUEUED]}\n"
    assert "already ready" in ended.err
    assert not any(seen == f"DELETE /api/jobs/{ids[JobStatus.READY]}" for seen in server.seen)
