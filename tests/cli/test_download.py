import json
from pathlib import Path

import pytest

from sfserver.wire.jobs import JobStatus
from sfserver.wire.videos import VideoRead
from tests.cli.conftest import Cli, Stream
from tests.cli.fake_server import FakeServer


@pytest.fixture
def film(server: FakeServer) -> VideoRead:
    return server.add("a film")


@pytest.fixture(autouse=True)
def patience(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sfctl.commands.download._RETRY_S", (0.01, 0.01, 0.01))


def ranges(server: FakeServer) -> list[str]:
    return [headers["Range"] for headers in server.headers if "Range" in headers]


def test_download_takes_the_best_and_names_it_after_the_title(
    cli: Cli, server: FakeServer, film: VideoRead, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    ran = cli("download", film.id)
    assert (ran.code, ran.out) == (0, "a film.1080p.mp4\n")
    assert Path("a film.1080p.mp4").read_bytes() == server.file
    assert [path.name for path in tmp_path.iterdir() if "part" in path.name] == []
    assert server.seen[-1] == f"GET /api/stream/{film.id}/1080p"


@pytest.mark.parametrize(("wanted", "got"), [("worst", "360p"), ("720p", "720p"), ("source", "source")])
def test_qualities(cli: Cli, server: FakeServer, film: VideoRead, tmp_path: Path, wanted: str, got: str) -> None:
    assert cli("download", film.id, "-f", wanted, "-o", str(tmp_path / "out")).code == 0
    assert server.seen[-1].endswith(f"/{got}")


def test_a_broken_connection_is_taken_up_where_it_broke(
    cli: Cli, server: FakeServer, film: VideoRead, tmp_path: Path
) -> None:
    server.cut_after = [1000, 500]
    ran = cli("download", film.id, "-o", str(tmp_path / "out.mp4"))
    assert ran.code == 0, ran.err
    assert (tmp_path / "out.mp4").read_bytes() == server.file
    assert ranges(server) == ["bytes=1000-", "bytes=1500-"]


def test_an_earlier_run_is_continued(cli: Cli, server: FakeServer, film: VideoRead, tmp_path: Path) -> None:
    server.cut_after = [777, 0, 0, 0, 0]
    first = cli("download", film.id, "-o", str(tmp_path / "out.mp4"))
    assert first.code == 3
    assert (tmp_path / "out.mp4.part").stat().st_size == 777
    assert cli("download", film.id, "-o", str(tmp_path / "out.mp4")).code == 0
    assert ranges(server)[-1] == "bytes=777-"
    assert (tmp_path / "out.mp4").read_bytes() == server.file


def test_a_file_that_changed_is_fetched_anew(cli: Cli, server: FakeServer, film: VideoRead, tmp_path: Path) -> None:
    (tmp_path / "out.mp4.part").write_bytes(b"old bytes")
    (tmp_path / "out.mp4.part.etag").write_text('"v0"')
    assert cli("download", film.id, "-o", str(tmp_path / "out.mp4")).code == 0
    assert server.headers[-1]["If-Range"] == '"v0"'
    assert (tmp_path / "out.mp4").read_bytes() == server.file


def test_a_part_that_is_whole_is_only_renamed(cli: Cli, server: FakeServer, film: VideoRead, tmp_path: Path) -> None:
    (tmp_path / "out.mp4.part").write_bytes(server.file)
    (tmp_path / "out.mp4.part.etag").write_text(server.etag)
    assert cli("download", film.id, "-o", str(tmp_path / "out.mp4")).code == 0
    assert (tmp_path / "out.mp4").read_bytes() == server.file


def test_a_pipe_gets_the_bytes(cli: Cli, server: FakeServer, film: VideoRead) -> None:
    server.cut_after = [100]
    pipe = Stream()
    ran = cli("download", film.id, "-o", "-", stdout=pipe)
    assert ran.code == 0
    assert pipe.buffer.getvalue() == server.file
    assert cli("download", film.id, "-o", "-", stdout_tty=True).code == 2


def test_what_exists_is_not_replaced(cli: Cli, server: FakeServer, film: VideoRead, tmp_path: Path) -> None:
    path = tmp_path / "out.mp4"
    path.write_text("precious")
    ran = cli("download", film.id, "-o", str(path))
    assert (ran.code, path.read_text()) == (2, "precious")
    assert cli("download", film.id, "-o", str(path), "--force", "--json").code == 0
    assert path.read_bytes() == server.file


def test_what_is_not_made_yet_is_8(cli: Cli, server: FakeServer, tmp_path: Path) -> None:
    pending = server.add("slow", JobStatus.PROCESSING)
    ran = cli("download", pending.id, "-o", str(tmp_path / "out.mp4"))
    assert ran.code == 8
    assert f"hint: sfctl watch {pending.job_id}" in ran.err


def test_a_hostile_title_stays_in_the_directory(
    cli: Cli, server: FakeServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    video = server.add("../../\x1b[2Jetc/passwd")
    ran = cli("download", video.id, "--json")
    assert json.loads(ran.out)["file"] == "_.._etc_passwd.1080p.mp4"
    assert [path.name for path in tmp_path.iterdir() if path.is_file()] == []
