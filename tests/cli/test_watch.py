import json
from collections.abc import Iterator
from pathlib import Path

from sfserver.wire.events import DoneEvent, ProgressEvent, SnapshotEvent, StateEvent
from sfserver.wire.jobs import JobError, JobRead, JobStatus
from tests.cli.conftest import Cli
from tests.cli.fake_events import pause, playable_events_of, sse
from tests.cli.fake_server import FakeServer


def test_watch_follows_to_the_end(cli: Cli, server: FakeServer) -> None:
    job_id = server.add("a film").job_id
    ran = cli("watch", str(job_id))
    assert ran.code == 0
    assert ran.out == f"{job_id}\tready\ta film\t\n"


def test_watch_reconnects_with_the_last_event_id(cli: Cli, server: FakeServer) -> None:
    def breaks_off(job: JobRead, last_id: str) -> Iterator[bytes]:
        yield sse("snapshot", SnapshotEvent(jobs=[job.model_copy(update={"status": JobStatus.PROCESSING})]), "41")

    def goes_on(job: JobRead, last_id: str) -> Iterator[bytes]:
        if last_id == "41":
            yield sse("done", DoneEvent(job_id=job.id, status=job.status), "42")

    server.event_scripts = [breaks_off, goes_on]
    job_id = server.add("a film").job_id
    ran = cli("watch", str(job_id), "--exit-status")
    assert ran.code == 0
    assert "reconnecting" in ran.err


def test_an_event_that_is_sent_again_is_heard_once(cli: Cli, server: FakeServer) -> None:
    asked: list[str] = []

    def breaks_off(job: JobRead, last_id: str) -> Iterator[bytes]:
        asked.append(last_id)
        yield sse("snapshot", SnapshotEvent(jobs=[job.model_copy(update={"status": JobStatus.QUEUED})]), "1")
        yield sse("state", StateEvent(job_id=job.id, seq=2, status=JobStatus.PROCESSING), "2")

    def breaks_off_before_its_replay(job: JobRead, last_id: str) -> Iterator[bytes]:
        asked.append(last_id)
        yield sse("snapshot", SnapshotEvent(jobs=[job.model_copy(update={"status": JobStatus.PROCESSING})]))

    def replays(job: JobRead, last_id: str) -> Iterator[bytes]:
        asked.append(last_id)
        yield sse("state", StateEvent(job_id=job.id, seq=2, status=JobStatus.PROCESSING), "2")
        yield sse("state", StateEvent(job_id=job.id, seq=3, status=job.status), "3")
        yield sse("done", DoneEvent(job_id=job.id, seq=3, status=job.status), "3")

    server.event_scripts = [breaks_off, breaks_off_before_its_replay, replays]
    ran = cli("watch", str(server.add("a film").job_id), "--json")
    heard = [json.loads(line) for line in ran.out.splitlines()]
    assert [(event["event"], event.get("seq")) for event in heard] == [
        ("snapshot", None),
        ("state", 2),
        ("snapshot", None),
        ("state", 3),
        ("done", 3),
    ]
    assert asked == ["", "2", "2"]


def test_a_job_that_waits_says_for_what(cli: Cli, server: FakeServer) -> None:
    short = JobError(code="storage_full", detail="12 MiB are free", hint="make room")

    def waits(job: JobRead, last_id: str) -> Iterator[bytes]:
        working = job.model_copy(update={"status": JobStatus.PROCESSING, "progress": 0.5})
        yield sse("snapshot", SnapshotEvent(jobs=[working.model_copy(update={"waiting": short})]), "1")
        yield sse("progress", ProgressEvent(job_id=job.id, progress=0.6, stage="encode"))
        yield sse("progress", ProgressEvent(job_id=job.id, progress=0.6, stage="encode", waiting=short))
        yield sse("done", DoneEvent(job_id=job.id, seq=2, status=job.status), "2")

    server.event_scripts = [waits]
    ran = cli("watch", str(server.add("a film").job_id))
    assert ran.code == 0
    assert ran.err.splitlines() == [
        "a film: processing 50%  waiting: storage full: 12 MiB are free",
        "a film: processing encode 60%",
        "a film: processing encode 60%  waiting: storage full: 12 MiB are free",
        "a film: ready 100%",
    ]


def test_exit_status_of_a_failed_job(cli: Cli, server: FakeServer) -> None:
    job_id = str(server.add("a film", JobStatus.FAILED).job_id)
    assert cli("watch", job_id).code == 0
    assert cli("watch", job_id, "--exit-status").code == 1


def test_timeout_is_124(cli: Cli, server: FakeServer) -> None:
    def hangs(job: JobRead, last_id: str) -> Iterator[bytes]:
        yield sse("snapshot", SnapshotEvent(jobs=[job]), "1")
        yield from pause(1.0)

    server.event_scripts = [hangs]
    job_id = str(server.add("a film", JobStatus.PROCESSING).job_id)
    ran = cli("watch", job_id, "--timeout", "0.2")
    assert ran.code == 124
    assert f"{job_id}\tprocessing" in ran.out
    assert "not finished after 0.2 s" in ran.err


def test_json_is_a_line_per_event(cli: Cli, server: FakeServer) -> None:
    job_id = str(server.add("a film").job_id)
    ran = cli("watch", job_id, "--json")
    events = [json.loads(line) for line in ran.out.splitlines()]
    assert [event["event"] for event in events] == ["snapshot", "stage", "progress", "progress", "done"]
    assert events[2]["rungs"]["720p"] == {"progress": 0.42, "fps": 88.2}
    assert ran.err == ""


def test_unknown_events_are_passed_over(cli: Cli, server: FakeServer) -> None:
    def newer(job: JobRead, last_id: str) -> Iterator[bytes]:
        yield b"event: hologram\ndata: {}\n\n"
        yield b"event: progress\ndata: not json\n\n"
        yield sse("done", DoneEvent(job_id=job.id, status=job.status), "1")

    server.event_scripts = [newer]
    assert cli("watch", str(server.add("a film").job_id)).code == 0


def test_a_video_id_or_the_start_of_a_job_id_will_do(cli: Cli, server: FakeServer) -> None:
    video = server.add("a film")
    assert cli("watch", video.id, "-q").out.strip() == video.job_id
    assert cli("watch", "0192f3a1-7c2b-7000-9", "-q").out.strip() == video.job_id


def test_many_jobs_at_once(cli: Cli, server: FakeServer) -> None:
    ids = [str(server.add(f"film {number}").job_id) for number in range(20)]
    ran = cli("watch", *ids, "--exit-status")
    assert ran.code == 0
    assert ran.out.count("\tready\t") == 20


def test_that_it_is_playable_is_told_once(cli: Cli, server: FakeServer, tmp_path: Path) -> None:
    server.event_scripts = [playable_events_of]
    video = server.add_playable("a film")
    option = f"--data-dir={tmp_path / 'my data'}"
    ran = cli("watch", str(video.job_id), option)
    assert ran.code == 0
    note = f"a film: playable after 2.6 s: sfctl play 0192f3a1-7c2b --data-dir '{tmp_path / 'my data'}'"
    assert ran.err.splitlines().count(note) == 1
    assert ran.err.count(": playable") == 1


def test_that_it_is_playable_already_is_told_too(cli: Cli, server: FakeServer) -> None:
    def ends(job: JobRead, last_id: str) -> Iterator[bytes]:
        yield sse("snapshot", SnapshotEvent(jobs=[job]), "1")
        yield sse("done", DoneEvent(job_id=job.id, seq=2, status=JobStatus.READY), "2")

    server.event_scripts = [ends]
    ran = cli("watch", str(server.add_playable("a film").job_id))
    assert "a film: playable after 2.6 s: sfctl play 0192f3a1-7c2b\n" in ran.err
    ready = cli("watch", str(server.add("done").job_id))
    assert "playable" not in ready.err


def test_programs_hear_when_it_is_playable(cli: Cli, server: FakeServer) -> None:
    video = server.add_playable("a film")
    server.event_scripts = [playable_events_of, playable_events_of]
    ran = cli("watch", str(video.job_id), "--progress", "json")
    rows = [json.loads(line) for line in ran.err.splitlines()]
    assert [row["playable_s"] for row in rows] == [None, 2.6, 2.6, 2.6]
    events = [json.loads(line) for line in cli("watch", str(video.job_id), "--json").out.splitlines()]
    assert [event["event"] for event in events] == ["snapshot", "playable", "progress", "done"]
    assert events[1] == {"event": "playable", "job_id": video.job_id, "seq": 2, "video_id": video.id}


def test_a_server_that_does_not_say_when_it_was_playable(cli: Cli, server: FakeServer) -> None:
    server.event_scripts = [playable_events_of]
    ran = cli("watch", str(server.add("a film", JobStatus.PROCESSING).job_id))
    assert ran.code == 0
    assert "playable" not in ran.err
