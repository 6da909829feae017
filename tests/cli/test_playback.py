import json

import pytest

from sfserver.wire.jobs import JobStatus
from sfserver.wire.videos import VideoRead
from tests.cli.conftest import Cli
from tests.cli.fake_server import FakeServer


@pytest.fixture
def film(server: FakeServer) -> VideoRead:
    return server.add('a "film"; rm -rf ~')


def test_url_prints_signed_urls(cli: Cli, server: FakeServer, film: VideoRead) -> None:
    assert cli("url", film.id).out == f"{server.url}/m/sig/{film.id}/1080p.mp4\n"
    assert cli("url", film.id, "-f", "worst").out == f"{server.url}/m/sig/{film.id}/360p.mp4\n"
    assert cli("url", film.id, "--hls").out == f"{server.url}/m/sig/{film.id}/hls/master.m3u8\n"
    links = json.loads(cli("url", film.id, "--json").out)
    assert links["files"][0]["url"].startswith(server.url)


def test_quality_comes_from_flag_variable_or_default(cli: Cli, film: VideoRead) -> None:
    assert cli("url", film.id, variables={"SF_QUALITY": "720p"}).out.endswith("/720p.mp4\n")
    assert cli("url", film.id, "-f", "360p", variables={"SF_QUALITY": "720p"}).out.endswith("/360p.mp4\n")
    assert cli("url", film.id, "-f", "source").code == 5
    assert cli("url", film.id, "-f", "4k").code == 2


@pytest.mark.parametrize(
    ("player", "words"),
    [
        ("mpv", ["mpv", "'--force-media-title=a \"film\"; rm -rf ~'", "--start=761", "--"]),
        ("vlc", ["vlc", "'--meta-title=a \"film\"; rm -rf ~'", "--start-time=761", "--"]),
        ("ffplay", ["ffplay", "-window_title", "'a \"film\"; rm -rf ~'", "-ss", "761", "-i"]),
    ],
)
def test_players_get_url_title_and_start(
    cli: Cli, server: FakeServer, film: VideoRead, player: str, words: list[str]
) -> None:
    ran = cli("play", f"{film.id}@00:12:41", "--player", player, "--dry-run")
    assert ran.out == " ".join([*words, f"{server.url}/m/sig/{film.id}/1080p.mp4"]) + "\n"


def test_play_runs_the_player(cli: Cli, film: VideoRead, monkeypatch: pytest.MonkeyPatch) -> None:
    ran_with: list[list[str]] = []
    monkeypatch.setattr("sfctl.players.run_player", lambda command, _variables: ran_with.append(command) or 0)
    monkeypatch.setattr("shutil.which", lambda name: name if name == "vlc" else None)
    assert cli("play", film.id).code == 0
    assert ran_with[0][0] == "vlc"
    monkeypatch.setattr("shutil.which", lambda _name: None)
    missing = cli("play", film.id)
    assert missing.code == 1
    assert "install mpv" in missing.err
    monkeypatch.setattr("sfctl.players.run_player", lambda _command, _variables: 2)
    assert cli("play", film.id, "--player", "mpv").code == 1


def test_play_of_a_wrong_time_or_nothing_yet(cli: Cli, server: FakeServer, film: VideoRead) -> None:
    assert cli("play", f"{film.id}@soon", "--dry-run").code == 2
    assert cli("play", server.add("slow", JobStatus.QUEUED).id, "--dry-run").code == 8
    assert cli("play", server.add("broken", JobStatus.FAILED).id, "--dry-run").code == 1


def test_open_signs_a_browser_in(
    cli: Cli, server: FakeServer, film: VideoRead, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened: list[str] = []
    monkeypatch.setattr("webbrowser.open", opened.append)
    ran = cli("open", film.id)
    assert ran.out == f"{server.url}/auth/once/abc?next=/watch/{film.id}\n"
    assert opened == []
    no_browser = cli("open", "--browser")
    assert opened == [f"{server.url}/auth/once/abc?next=/"]
    assert "no browser found" in no_browser.err


def test_a_link_to_elsewhere_is_refused(cli: Cli, server: FakeServer, film: VideoRead) -> None:
    body = b'{"hls": "file:///etc/passwd", "files": [], "expires_at": "2026-01-01T00:00:00Z"}'
    server.refusals[f"GET /api/videos/{film.id}/links"] = (200, {}, body)
    ran = cli("url", film.id, "--hls")
    assert (ran.code, ran.out) == (1, "")
    assert "scheme 'file'" in ran.err
