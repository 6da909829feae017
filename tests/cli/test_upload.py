import json
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from sfserver.wire.jobs import JobRead, JobStatus
from tests.cli.conftest import Cli
from tests.cli.fake_events import pause, playable_events_of
from tests.cli.fake_server import PLAYABLE_AT, TOKEN, FakeServer


@pytest.fixture
def film(tmp_path: Path) -> Path:
    path = tmp_path / "film.mp4"
    path.write_bytes(b"moving pictures" * 10_000)
    return path


def test_upload_sends_the_file_and_its_fields(cli: Cli, server: FakeServer, film: Path) -> None:
    ran = cli("upload", str(film), "--title", "The film", "--visibility", "unlisted", "--json")
    (sent,) = json.loads(ran.out)
    assert ran.code == 0
    assert sent["status"] == "queued"
    assert server.jobs[sent["job_id"]].title == "The film"
    assert film.read_bytes() in server.bodies[-1]
    assert b'name="visibility"\r\n\r\nunlisted' in server.bodies[-1]


def test_upload_wait_ends_with_ready(cli: Cli, server: FakeServer, film: Path) -> None:
    ran = cli("upload", str(film), "--wait")
    video_id, status, name, why = ran.out.removesuffix("\n").split("\t")
    assert (ran.code, status, name, why) == (0, "ready", str(film), "")
    assert video_id in server.videos
    assert "film.mp4: processing encode 10%\n" in ran.err
    assert ran.err.endswith("film.mp4: ready 100%  1.8x\n")


def test_upload_wait_tells_when_it_is_playable(cli: Cli, server: FakeServer, film: Path) -> None:
    def made(job: JobRead, last_id: str) -> Iterator[bytes]:
        server.jobs[job.id].playable_at = PLAYABLE_AT
        yield from playable_events_of(job, last_id)

    server.event_scripts = [made]
    ran = cli("upload", str(film), "--wait", "--title", "The film")
    assert "The film: playable after 2.6 s: sfctl play 0192f3a1-7c2b\n" in ran.err


def test_upload_wait_of_a_job_that_fails_is_1(cli: Cli, server: FakeServer, film: Path) -> None:
    server.upload_ends_as = JobStatus.FAILED
    ran = cli("upload", str(film), "--wait")
    assert ran.code == 1
    assert "failed" in ran.out


def test_one_bad_file_of_twenty(cli: Cli, server: FakeServer, tmp_path: Path) -> None:
    for number in range(20):
        text = b"not a video" if number == 7 else b"frames"
        (tmp_path / f"clip{number:02}.mp4").write_bytes(text)
    ran = cli("upload", "-r", str(tmp_path))
    lines = [line.split("\t") for line in ran.out.splitlines()]
    assert ran.code == 1
    assert len(server.videos) == 19
    assert [line[2:] for line in lines if line[1] == "failed"] == [[str(tmp_path / "clip07.mp4"), "it is text"]]
    assert "request id: req-9" in ran.err


def test_a_rejection_of_everything_is_6(cli: Cli, film: Path) -> None:
    film.write_bytes(b"not a video")
    ran = cli("upload", str(film))
    assert ran.code == 6
    assert ran.err.endswith(": Not a supported video\n  it is text\nrequest id: req-9\n")


@pytest.mark.parametrize(
    ("name", "code", "what"),
    [("missing.mp4", 2, "cannot read"), ("empty.mp4", 6, "is empty"), (".", 2, "-r sends the videos in it")],
)
def test_files_are_checked_before_they_are_sent(
    cli: Cli, server: FakeServer, tmp_path: Path, name: str, code: int, what: str
) -> None:
    (tmp_path / "empty.mp4").touch()
    ran = cli("upload", str(tmp_path / name))
    assert ran.code == code
    assert what in ran.err
    assert server.seen == []


def test_a_server_that_is_away_is_3(bare: Cli, film: Path) -> None:
    ran = bare("upload", str(film))
    assert ran.code == 3
    assert "hint: start one with `sfctl up`" in ran.err


def test_no_token_is_4(cli: Cli, film: Path) -> None:
    ran = cli("upload", str(film), str(film.with_name("other.mp4")), variables={"SF_TOKEN": ""})
    assert ran.code == 4
    assert "not sent" in ran.out


def test_quiet_prints_the_videos(cli: Cli, server: FakeServer, film: Path) -> None:
    ran = cli("upload", str(film), "-q", "--progress", "none")
    assert ran.out.split() == list(server.videos)
    assert ran.err == ""


def test_a_directory_without_videos_is_a_usage_error(cli: Cli, tmp_path: Path) -> None:
    ran = cli("upload", "-r", str(tmp_path))
    assert ran.code == 2
    assert "no videos there" in ran.err


def test_ctrl_c_says_how_to_go_on(server: FakeServer, film: Path, tmp_path: Path) -> None:
    server.event_scripts = [lambda _job, _last: pause(5)]
    process = subprocess.Popen(
        [Path(sys.executable).with_name("sfctl"), "upload", str(film), "--wait"],
        env={"SF_URL": server.url, "SF_TOKEN": TOKEN, "HOME": str(tmp_path)},
        stderr=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    while not any("/events" in line for line in server.seen):
        assert process.poll() is None
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=10)
    (job_id,) = server.jobs
    assert process.returncode == 130
    assert f"  watch:  sfctl watch {job_id}\n  cancel: sfctl jobs cancel {job_id}\n" in err


def test_a_refusal_while_the_file_is_being_sent(bare: Cli, tmp_path: Path) -> None:
    """A server judges the size early and lingers (RFC 9112, 9.6): the client stops sending and tells what it said."""
    film = tmp_path / "film.mp4"
    with film.open("wb") as file:
        file.truncate(100_000_000)
    drained: list[int] = []
    body = (
        b'{"title":"The upload is too large","status":413,"detail":"limit","code":"upload_too_large","request_id":"r"}'
    )
    head = f"HTTP/1.1 413 Too Large\r\nContent-Length: {len(body)}\r\nConnection: close\r\n\r\n".encode()

    def refuse(listener: socket.socket) -> None:
        connection, _ = listener.accept()
        connection.recv(65536)
        connection.sendall(head + body)
        connection.shutdown(socket.SHUT_WR)
        with connection, suppress(ConnectionResetError):
            while data := connection.recv(65536):
                drained.append(len(data))

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=refuse, args=(listener,))
        thread.start()
        ran = bare("upload", str(film), variables={"SF_URL": f"http://127.0.0.1:{listener.getsockname()[1]}"})
        thread.join()
    assert ran.code == 6, ran.err
    assert "The upload is too large" in ran.err
    assert sum(drained) < 50_000_000
