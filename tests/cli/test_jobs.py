"""`jobs`, `explain` and `reprocess`: what the server works on, stopped, tried again, explained."""

import json

import pytest

from sfserver.wire.jobs import JobError, JobStatus
from tests.cli.conftest import Cli
from tests.cli.fake_server import PLAYABLE_AT, FakeServer

SHORT = JobError(code="storage_full", detail="this step may need 211 MiB, 12 MiB are free", hint="make room")


def add(server: FakeServer, status: JobStatus, title: str = "a film") -> str:
    return str(server.add(title, status).job_id)


def test_cancel_stops_what_runs(cli: Cli, server: FakeServer) -> None:
    job_id = add(server, JobStatus.PROCESSING)
    ran = cli("jobs", "cancel", job_id)
    assert (ran.code, ran.out, ran.err) == (0, f"{job_id}\n", "")
    assert server.jobs[job_id].status == JobStatus.CANCELLED
    assert server.seen[-1] == f"POST /api/jobs/{job_id}/cancel"


@pytest.mark.parametrize("status", [JobStatus.READY, JobStatus.FAILED, JobStatus.CANCELLED])
def test_cancel_leaves_what_has_ended_alone_and_says_so(cli: Cli, server: FakeServer, status: JobStatus) -> None:
    """L8: nothing that a finished job made may be in danger, however the two meet."""
    job_id, other = add(server, status), add(server, JobStatus.QUEUED, "other")
    ran = cli("jobs", "cancel", job_id, other)
    assert (ran.code, ran.out) == (0, f"{other}\n")
    assert ran.err == f"already {status.value}: {job_id}  a film\n"
    assert not [line for line in server.seen if line.startswith("DELETE")]


def test_a_cancel_that_is_refused_for_another_reason_is_an_error(cli: Cli, server: FakeServer) -> None:
    job_id = add(server, JobStatus.PROCESSING)
    server.refuse(f"POST /api/jobs/{job_id}/cancel", 503, "database_unavailable", "The database does not answer")
    ran = cli("jobs", "cancel", job_id)
    assert (ran.code, ran.out) == (1, "")
    assert "The database does not answer" in ran.err


def test_retry_sets_a_failed_job_going(cli: Cli, server: FakeServer) -> None:
    job_id = add(server, JobStatus.FAILED)
    ran = cli("jobs", "retry", job_id[:20])
    assert (ran.code, ran.out) == (0, f"{job_id}\n")
    assert server.jobs[job_id].status == JobStatus.QUEUED
    refused = cli("jobs", "retry", add(server, JobStatus.READY, "done"))
    assert refused.code == 6
    assert "not one to do that with" in refused.err


def test_reprocess_takes_a_video_or_a_stage(cli: Cli, server: FakeServer) -> None:
    video = server.add("a film")
    whole = cli("reprocess", video.id)
    assert (whole.code, whole.out) == (0, f"{video.job_id}\n")
    assert server.seen[-1] == f"POST /api/videos/{video.id}/reprocess"
    stage = cli("reprocess", video.id, "--stage", "poster", "--json")
    assert json.loads(stage.out)["status"] == "ready"
    assert server.seen[-1] == f"POST /api/videos/{video.id}/stages/poster/redo"
    for options, follow in (([], "watch"), (["--stage", "poster"], "jobs")):
        shown = cli("reprocess", video.id, *options, stderr_tty=True)
        assert shown.err == f"next: sfctl {follow} {video.job_id}\n"


@pytest.mark.parametrize(("stage", "code"), [("encode", 6), ("nonsense", 5), ("../../users", 5)])
def test_reprocess_of_a_wrong_stage_is_refused(cli: Cli, server: FakeServer, stage: str, code: int) -> None:
    assert cli("reprocess", server.add("a film").id, "--stage", stage).code == code


def test_a_waiting_job_says_what_the_server_is_short_of(cli: Cli, server: FakeServer) -> None:
    job_id = add(server, JobStatus.PROCESSING)
    server.jobs[job_id].waiting = SHORT
    listed = cli("jobs").out.rstrip("\n").split("\t")
    assert listed[3] == "waiting: storage_full"
    facts = dict(line.split("\t") for line in cli("jobs", job_id).out.splitlines())
    assert facts["waiting"] == "storage full: this step may need 211 MiB, 12 MiB are free"
    assert facts["hint"] == "make room"
    assert cli("explain", job_id).out.startswith("- waiting: storage full: this step may need 211 MiB")


def test_a_job_says_since_when_it_can_be_played(cli: Cli, server: FakeServer) -> None:
    job_id = str(server.add_playable("a film").job_id)
    assert f"playable\t{PLAYABLE_AT.isoformat()}\n" in cli("jobs", job_id).out


def test_explain_shows_quality_and_past_losses(cli: Cli, server: FakeServer) -> None:
    job_id = add(server, JobStatus.READY)
    row = next(line for line in cli("explain", job_id).out.splitlines() if line.startswith("encode 0\t"))
    shown = ["done", "0-60", "720p 360p", "24.5", "3 (1 crashed, 1 lost)", "3.5 s", "6.5 s", "w1", ""]
    assert row.split("\t") == ["encode 0", *shown]
    shown = cli("explain", job_id, stdout_tty=True, width=80, variables={"NO_COLOR": "1"})
    assert max(len(line) for line in shown.out.splitlines()) <= 80
    assert "waiting:" not in shown.out
