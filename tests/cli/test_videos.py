import json

from sfserver.wire.jobs import JobError, JobStatus, StageState
from tests.cli.conftest import Cli
from tests.cli.fake_server import FakeServer

HOSTILE = "[/b]\x1b]0;owned\x07\x1b[31mred\u202egnp.exe[xxxx]"


def test_ls_in_a_pipe_is_tab_separated_without_a_header(cli: Cli, server: FakeServer) -> None:
    video = server.add("a film")
    ran = cli("ls")
    fields = ran.out.removesuffix("\n").split("\t")
    assert ran.code == 0
    assert fields == [video.id, "ready", "0:20", "1080p 720p 360p", "2026-01-02T03:04:05+00:00", "a film"]


def test_ls_on_a_terminal_is_fitted(cli: Cli, server: FakeServer) -> None:
    server.add("a film with a very long title " * 5)
    ran = cli("ls", stdout_tty=True, variables={"NO_COLOR": "1"})
    lines = ran.out.splitlines()
    assert lines[0].split() == ["ID", "STATUS", "LENGTH", "QUALITIES", "CREATED", "TITLE"]
    assert max(map(len, lines)) <= 100
    assert "0192f3a1-7c2b" in lines[1]
    assert lines[1].rstrip().endswith("…")


def test_info_tells_of_the_poster_and_of_every_stage(cli: Cli, server: FakeServer) -> None:
    video = server.add("a film")
    job = server.jobs[video.job_id or ""]
    job.stages[1].state = StageState.FAILED
    job.stages[1].error = JobError(code="source_missing", detail="the index is not there", hint="sfctl reprocess")
    facts = dict(line.split("\t") for line in cli("info", video.id).out.splitlines())
    assert facts["poster"] == f"{server.url}/api/videos/{video.id}/poster.webp"
    assert facts["  encode"] == "done"
    assert facts["  poster"] == "failed: source missing: the index is not there (sfctl reprocess)"
    shown = cli("info", video.id, stdout_tty=True, width=80, variables={"NO_COLOR": "1"})
    assert max(len(line) for line in shown.out.splitlines()) <= 120
    assert json.loads(cli("info", video.id, "--json").out) == video.model_dump(mode="json")


def test_ls_walks_the_pages(cli: Cli, server: FakeServer) -> None:
    server.page_size = 2
    ids = [server.add(f"film {number}").id for number in range(5)]
    assert cli("ls", "-q").out.split() == ids[::-1]
    limited = cli("ls", "-q", "--limit", "3")
    assert limited.out.split() == ids[:1:-1]
    assert "--limit 0" in limited.err


def test_ls_json_is_the_wire_model(cli: Cli, server: FakeServer) -> None:
    video = server.add("a film")
    assert json.loads(cli("ls", "--json").out) == [video.model_dump(mode="json")]


def test_ls_filters_by_status(cli: Cli, server: FakeServer) -> None:
    server.add("done")
    failed = server.add("broken", JobStatus.FAILED)
    assert cli("ls", "-q", "--status", "failed").out.split() == [failed.id]
    assert cli("ls", "--status", "lost").code == 2


def test_hostile_titles_are_data(cli: Cli, server: FakeServer) -> None:
    video = server.add(HOSTILE)
    for args in (["ls"], ["info", video.id], ["jobs"], ["rm", video.id, "--dry-run"]):
        for is_tty in (False, True):
            ran = cli(*args, stdout_tty=is_tty, variables={"NO_COLOR": "1"})
            text = ran.out + ran.err
            assert ran.code == 0
            assert "[/b]redgnp.exe[xxxx]" in text
            assert not set(text) & set("\x1b\x07\u202e")
