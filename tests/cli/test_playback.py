import json
import threading

import pytest

from sfserver.wire.jobs import JobError, JobStatus
from sfserver.wire.videos import VideoLinks, VideoRead
from tests.cli.conftest import Cli, Ran
from tests.cli.fake_media import make_links
from tests.cli.fake_server import PLAYABLE_AT, FakeServer, make_video


@pytest.fixture
def film(server: FakeServer) -> VideoRead:
    return server.add('a "film"; rm -rf ~')


def test_url_prints_signed_urls(cli: Cli, server: FakeServer, film: VideoRead) -> None:
    assert cli("url", film.id).out == f"{server.url}/m/sig/{film.id}/file/1080p.mp4\n"
    assert cli("url", film.id, "-f", "worst").out == f"{server.url}/m/sig/{film.id}/file/360p.mp4\n"
    assert cli("url", film.id, "--hls").out == f"{server.url}/m/sig/{film.id}/hls/master.m3u8\n"
    links = json.loads(cli("url", film.id, "--json").out)
    assert all(url.startswith(server.url) for url in [links["hls"], links["dash"], links["files"][0]["url"]])


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
    assert ran.out == " ".join([*words, f"{server.url}/m/sig/{film.id}/file/1080p.mp4"]) + "\n"


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
    assert ran.out == f"{server.url}/sign-in/abc?next=/watch/{film.id}\n"
    assert opened == []
    no_browser = cli("open", "--browser")
    assert opened == [f"{server.url}/sign-in/abc?next=/"]
    assert "no browser found" in no_browser.err


def test_a_link_to_elsewhere_is_refused(cli: Cli, server: FakeServer, film: VideoRead) -> None:
    body = b'{"hls": "file:///etc/passwd", "files": [], "expires_at": "2026-01-01T00:00:00Z"}'
    server.refusals[f"GET /api/videos/{film.id}/links"] = (200, {}, body)
    ran = cli("url", film.id, "--hls")
    assert (ran.code, ran.out) == (1, "")
    assert "scheme 'file'" in ran.err


@pytest.fixture
def growing(server: FakeServer) -> VideoRead:
    """A video of which 14 s of two qualities are there."""
    return server.add_playable("a film")


def test_what_grows_is_played_from_its_beginning(cli: Cli, server: FakeServer, growing: VideoRead) -> None:
    def line(player: str, *more: str) -> str:
        return cli("play", growing.id, "--player", player, "--dry-run", *more).out

    hls = f"{server.url}/m/sig/{growing.id}/hls/master.m3u8"
    mpv = "mpv '--force-media-title=a film' --demuxer-lavf-o=live_start_index=0"
    assert line("mpv") == f"{mpv} --hls-bitrate=2160000 -- {hls}\n"
    assert line("mpv", "-f", "360p") == f"{mpv} --hls-bitrate=1080000 -- {hls}\n"
    vlc = "vlc '--meta-title=a film' --adaptive-livedelay=86400000 --adaptive-logic=highest"
    assert line("vlc", "-f", "720p") == f"{vlc} --adaptive-maxheight=720 -- {hls}\n"
    ffplay = "ffplay -window_title 'a film' -live_start_index 0"
    assert line("ffplay", "-f", "worst") == f"{ffplay} -vst p:2:v -i {hls}\n"
    signed = [headers for call, headers in zip(server.seen, server.headers, strict=True) if "/m/sig/" in call]
    assert signed
    assert not any("Authorization" in headers for headers in signed)


def test_what_grows_is_played_from_a_time_that_is_there(cli: Cli, growing: VideoRead) -> None:
    def play(time: str, player: str) -> Ran:
        return cli("play", f"{growing.id}@{time}", "--player", player, "--dry-run")

    assert "live_start_index=2 " in play("5.9", "mpv").out
    assert "-live_start_index 3 " in play("6", "ffplay").out
    vlc = play("0:10", "vlc")
    assert vlc.code == 8
    assert "hint: --player mpv can" in vlc.err
    later = play("0:14", "mpv")
    assert later.code == 8
    assert later.err == "error: a film is there up to 0:14 so far\n  it is processing; 0:14 comes later\n"


def test_a_quality_that_has_not_begun(cli: Cli, server: FakeServer, growing: VideoRead) -> None:
    ran = cli("play", growing.id, "-f", "1080p", "--dry-run")
    assert ran.code == 8
    assert ran.err == "error: 1080p of a film has not begun yet\nhint: there is 720p 360p\n"
    server.begun = {"1080p"}
    assert "--hls-bitrate=3240000" in cli("play", growing.id, "--dry-run").out
    source = cli("play", growing.id, "-f", "source", "--dry-run")
    assert source.code == 5
    assert source.err.endswith(f"hint: sfctl download {growing.id} -f source fetches it\n")


def test_the_url_of_what_grows(cli: Cli, server: FakeServer, growing: VideoRead) -> None:
    hls = f"{server.url}/m/sig/{growing.id}/hls/master.m3u8"
    assert cli("url", growing.id).out == f"{hls}\n"
    assert cli("url", growing.id, variables={"SF_QUALITY": "360p"}).out == f"{hls}\n"
    assert cli("url", growing.id, "--hls").out == f"{hls}\n"
    links = json.loads(cli("url", growing.id, "--json").out)
    assert (links["hls"], links["dash"], links["files"], links["live"]) == (hls, None, [], True)
    file = cli("url", growing.id, "-f", "720p", "--data-dir", "my data")
    assert (file.code, file.out) == (8, "")
    assert "there is no file of a film yet" in file.err
    assert f"hint: sfctl url {growing.id} --hls --data-dir 'my data'\n" in file.err


@pytest.mark.parametrize("command", [["play", "--dry-run"], ["url"], ["url", "--json"], ["download"], ["formats"]])
def test_before_anything_can_be_played(cli: Cli, server: FakeServer, command: list[str]) -> None:
    video = server.add("slow", JobStatus.QUEUED)
    ran = cli(*command, video.id, "--data-dir", "my data")
    assert (ran.code, ran.out) == (8, "")
    assert "slow is queued" in ran.err
    assert f"hint: sfctl watch {video.job_id} --data-dir 'my data'\n" in ran.err


def test_play_waits_until_it_can(cli: Cli, server: FakeServer) -> None:
    video = server.add("slow", JobStatus.PROCESSING)
    job = server.jobs[str(video.job_id)]
    timer = threading.Timer(0.5, lambda: setattr(job, "playable_at", PLAYABLE_AT))
    timer.start()
    ran = cli("play", video.id, "--wait", "--dry-run")
    timer.join()
    assert "live_start_index=0" in ran.out
    job.status, job.error = JobStatus.FAILED, JobError(code="damaged_media", detail="half of it is missing")
    job.playable_at, video.status = None, JobStatus.FAILED
    failed = cli("play", video.id, "--wait", "--dry-run")
    assert failed.code == 1
    assert failed.err == "error: slow is failed\n  damaged media: half of it is missing\n"
    job.error = None
    assert cli("play", video.id, "--wait", "--dry-run").code == 1


def _as_answer(model: VideoRead | VideoLinks) -> tuple[int, dict[str, str], bytes]:
    return 200, {}, model.model_dump_json().encode()


def test_what_became_ready_since_it_was_read(cli: Cli, server: FakeServer, growing: VideoRead) -> None:
    answers = [_as_answer(growing), _as_answer(make_video(growing.id, str(growing.job_id), "a film"))]
    server.sequences[f"GET /api/videos/{growing.id}"] = answers
    server.sequences[f"GET /api/videos/{growing.id}/links"] = [_as_answer(make_links(make_video(growing.id, "", "")))]
    assert cli("url", growing.id, "-f", "360p").out == f"{server.url}/m/sig/{growing.id}/file/360p.mp4\n"


def test_what_is_taken_back_meanwhile(cli: Cli, server: FakeServer, growing: VideoRead) -> None:
    server.refuse(f"GET /m/sig/{growing.id}/hls/master.m3u8", 410, "media_gone", "This is not there any more")
    ran = cli("play", growing.id, "--dry-run")
    assert ran.code == 6
    assert "This is not there any more" in ran.err
