"""What the players make of what is served: every frame, exact seeks, the end, and sound in step with the picture."""

import itertools
import json
import os
import pwd
import subprocess
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import av
import numpy as np
import pytest
from av.container import InputContainer
from av.video.frame import VideoFrame

from tests.integration.browsers import PlayerPage, chromium, chromium_tab, firefox, running, wait_until
from tests.integration.server import EmbeddedServer
from tests.integration.signals import FPS, Heard, is_flash, make_signal_clip, watch
from tests.media.clips import Picture, read_number
from tests.requirements import require_tool

SECONDS = 20
FRAMES = SECONDS * FPS
# Frames late in a GOP, on both sides of a chunk's joint, and on a flash; a seek goes to the middle of the frame.
SOUGHT = [310, 59, 480]
KINDS = ["720p", "360p", "hls"]
FILES = KINDS[:2]


def middle(number: int) -> float:
    return (number + 0.5) / FPS


@dataclass(frozen=True)
class Served:
    """A published video and its signed URLs."""

    video_id: str
    urls: dict[str, str]


@pytest.fixture(scope="module")
def served(server: EmbeddedServer, tmp_path_factory: pytest.TempPathFactory) -> Served:
    clip = make_signal_clip(tmp_path_factory.mktemp("signal") / "flash and beep.mkv", SECONDS)
    accepted = server.upload(clip)
    job = server.wait(accepted["job_id"], timeout_s=180)
    assert job["status"] == "ready", job
    answer = server.http.get(f"/api/videos/{accepted['video_id']}/links")
    assert answer.status_code == 200, answer.text
    paths = {file["quality"]: file["url"] for file in answer.json()["files"]} | {"hls": answer.json()["hls"]}
    assert list(paths) == KINDS
    return Served(accepted["video_id"], {kind: server.url + path for kind, path in paths.items()})


@pytest.fixture(autouse=True)
def _no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    """Some players ask a proxy even for a loopback address."""
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)


def run(*command: str) -> str:
    """Run a player to its end and return what it said."""
    done = subprocess.run(
        command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=90, check=False
    )
    text = done.stdout.decode(errors="replace")
    assert done.returncode == 0, text[-3000:]
    return text


def assert_whole(heard: Heard, late_s: float = 0.0) -> None:
    """Every frame once and in its place, every beep with its flash. `late_s` is the player's own delay."""
    assert heard.numbers == list(range(FRAMES))
    assert max(abs(at - late_s - number / FPS) for number, at in enumerate(heard.times)) < 0.002
    assert len(heard.flashes) == len(heard.beeps) == SECONDS - 1
    assert heard.worst_offset_s() < late_s + 0.005


@pytest.mark.parametrize("quality", FILES)
def test_ffprobe_counts_every_frame_at_one_step(served: Served, quality: str) -> None:
    shown = "stream=nb_read_frames,start_time,duration:frame=pts"
    options = ("-v", "error", "-select_streams", "v:0", "-count_frames", "-show_entries", shown, "-of", "json")
    found = json.loads(run(require_tool("ffprobe"), *options, served.urls[quality]))
    stream = found["streams"][0]
    assert stream["nb_read_frames"] == str(FRAMES)
    assert float(stream["start_time"]) == 0
    assert float(stream["duration"]) == SECONDS
    times = [frame["pts"] for frame in found["frames"]]
    assert {after - before for before, after in itertools.pairwise(times)} == {90_000 // FPS}


def play_ffmpeg(url: str, out: Path) -> None:
    picture = ("-map", "0:v:0", "-vf", "scale=160:90,format=gray", "-c:v", "rawvideo", "-fps_mode", "passthrough")
    sound = ("-map", "0:a:0", "-c:a", "pcm_s16le")
    ffmpeg = (require_tool("ffmpeg"), "-v", "error", "-xerror", "-nostdin")
    run(*ffmpeg, "-i", url, *picture, *sound, "-copyts", "-f", "nut", str(out))


def play_mpv(url: str, out: Path) -> None:
    encoders = ("--vf=scale=160:90,format=gray", "--of=nut", "--ovc=rawvideo", "--oac=pcm_s16le")
    run(require_tool("mpv"), "--no-config", "--msg-level=all=warn", *encoders, f"--o={out}", url)


def play_gstreamer(url: str, out: Path) -> None:
    gst = require_tool("gst-launch-1.0")
    # The muxer takes turns with its inputs, which lie whole segments apart: a queue with a limit would stand still.
    queue = "queue max-size-time=0 max-size-buffers=0 max-size-bytes=0"
    picture = f"source. ! videoconvert ! videoscale ! video/x-raw,format=GRAY8,width=160,height=90 ! {queue} ! mux."
    sound = f"source. ! audioconvert ! audio/x-raw,format=S16LE,channels=1 ! {queue} ! mux."
    # With its speed given it stays with one rendition: another one comes out of new pads, which nothing is linked to.
    source = f"uridecodebin uri={url} connection-speed=100000 name=source"
    pipeline = f"{source} matroskamux name=mux ! filesink location={out} {picture} {sound}"
    run(gst, "-q", *pipeline.split())


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("play", [play_ffmpeg, play_mpv, play_gstreamer])
def test_players_show_every_frame_with_its_sound(
    served: Served, tmp_path: Path, play: Callable[[str, Path], None], kind: str
) -> None:
    play(served.urls[kind], tmp_path / "played")
    # In HLS GStreamer ignores the edit list that takes back the delay of the reordered frames.
    late_s = 1 / FPS if play is play_gstreamer and kind == "hls" else 0.0
    assert_whole(watch(tmp_path / "played"), late_s)


@pytest.mark.parametrize("kind", KINDS)
def test_pyav_shows_every_frame_with_its_sound(served: Served, kind: str) -> None:
    assert_whole(watch(served.urls[kind]))


@pytest.mark.parametrize("quality", FILES)
def test_pyav_seeks_to_the_frame(served: Served, quality: str) -> None:
    with av.open(served.urls[quality]) as container:
        assert [read_number(seek(container, number).to_ndarray(format="gray")) for number in SOUGHT] == SOUGHT


def seek(container: InputContainer, number: int) -> VideoFrame:
    container.seek(round(middle(number) * av.time_base))
    frames = container.decode(video=0)
    return next(frame for frame in frames if frame.time is not None and frame.time + 1 / FPS > middle(number))


@pytest.mark.parametrize("quality", FILES)
def test_mpv_starts_at_the_frame(served: Served, tmp_path: Path, quality: str) -> None:
    options = ("--no-config", "--msg-level=all=warn", "--no-audio", "--frames=1", "--vo=image", "--vo-image-format=png")
    # mpv shows the first frame that begins at or after the time.
    for number in SOUGHT:
        start = f"--start={middle(number - 1)}"
        run(require_tool("mpv"), *options, f"--vo-image-outdir={tmp_path / str(number)}", start, served.urls[quality])
    pictures = [read_picture(tmp_path / str(number) / "00000001.png") for number in SOUGHT]
    assert [read_number(luma) for luma in pictures] == SOUGHT


def read_picture(path: Path) -> Picture:
    with av.open(str(path)) as container:
        return next(container.decode(video=0)).to_ndarray(format="gray").astype(np.uint8)


def play_vlc(url: str, *options: str) -> Heard:
    """Let VLC encode what it would show; it refuses to do anything as root."""
    is_root = os.geteuid() == 0
    account = pwd.getpwnam("nobody") if is_root else pwd.getpwuid(os.getuid())
    with tempfile.TemporaryDirectory() as home:
        os.chown(home, account.pw_uid, account.pw_gid)
        # The muxer begins with the streams it knows: it has to wait until there is a picture too.
        encode = "transcode{vcodec=h264,venc=x264{preset=ultrafast,tune=zerolatency},acodec=s16l}"
        sout = f"#{encode}:std{{access=file,mux=avformat{{mux=matroska}},dst={home}/played.mkv}}"
        quiet = ("--intf=dummy", "--no-interact", "--avcodec-hw=none", "--sout-mux-caching=10000", "--quiet")
        done = subprocess.run(
            [require_tool("cvlc"), *quiet, *options, f"--sout={sout}", url, "vlc://quit"],
            env={**os.environ, "HOME": home},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=90,
            check=True,
            user=account.pw_uid if is_root else None,
            group=account.pw_gid if is_root else None,
            extra_groups=[] if is_root else None,
        )
        assert (Path(home) / "played.mkv").exists(), done.stderr[-3000:]
        return watch(Path(home) / "played.mkv")


@pytest.mark.parametrize("quality", FILES)
def test_vlc_shows_every_frame_with_its_sound(served: Served, quality: str) -> None:
    heard = play_vlc(served.urls[quality])
    assert heard.numbers == list(range(FRAMES))
    assert len(heard.flashes) == len(heard.beeps) == SECONDS - 1
    assert heard.worst_offset_s() < 1 / FPS


def test_vlc_seeks(served: Served) -> None:
    heard = play_vlc(served.urls["360p"], f"--start-time={middle(310)}")
    assert heard.numbers[0] in {309, 310}
    assert heard.numbers == list(range(heard.numbers[0], FRAMES))
    assert len(heard.flashes) == SECONDS - 11
    assert heard.worst_offset_s() < 1 / FPS


@pytest.mark.parametrize(
    ("browser", "programs", "kinds"),
    [(chromium, ("chromium", "google-chrome"), KINDS), (firefox, ("firefox-esr", "firefox"), FILES)],
)
def test_browsers_play_seek_and_end(
    served: Served,
    tmp_path: Path,
    browser: Callable[[str, Path, str], list[str]],
    programs: tuple[str, ...],
    kinds: list[str],
) -> None:
    program = require_tool(*programs)
    seeks = [middle(number) for number in SOUGHT]
    plan = {kind: {"url": served.urls[kind], "seeks": seeks, "tail_s": 0.4} for kind in kinds}
    with PlayerPage(plan) as page, running(browser(program, tmp_path, page.url), tmp_path) as log:
        reports = page.reports(log, timeout_s=90)
    for kind in kinds:
        report = reports[kind]
        assert "error" not in report, report
        assert report["duration"] == pytest.approx(SECONDS, abs=0.01)
        assert report["end"] == pytest.approx(SECONDS, abs=0.01)
        assert [(shown["number"], shown["white"]) for shown in report["seeks"]] == [(n, is_flash(n)) for n in SOUGHT]
        assert [shown["time"] for shown in report["seeks"]] == pytest.approx(seeks, abs=0.001)
    assert [reports[quality]["size"] for quality in FILES] == [[960, 540], [640, 360]]


def test_the_watch_page_plays_after_a_one_time_sign_in(server: EmbeddedServer, served: Served, tmp_path: Path) -> None:
    path = f"/watch/{served.video_id}"
    link = server.http.post("/api/auth/one-time", json={"next": path}).json()["url"]
    with chromium_tab(require_tool("chromium", "google-chrome"), tmp_path) as tab:
        tab.open(server.url + link)
        text = "document.body?.innerText"
        wait_until(lambda: tab.evaluate("document.querySelector('video')?.readyState >= 2"), lambda: tab.evaluate(text))
        assert tab.evaluate("location.pathname") == path
        tab.evaluate("document.querySelector('video').play()")
        wait_until(lambda: tab.evaluate("document.querySelector('video').currentTime > 0.5"), lambda: "it stands still")
        tab.screenshot(tmp_path / "watch.png")
        assert tab.evaluate("document.title") == "flash and beep · StreamForge"
        assert tab.evaluate("[...document.querySelectorAll('#quality option')].map((each) => each.textContent)") == [
            "Auto", "720p", "360p"
        ]  # fmt: skip
        assert tab.evaluate(text).count("private") == 1
    player = read_picture(tmp_path / "watch.png")[100:600, 200:1080]
    assert (player < 40).mean() > 0.5, "the page is not black where the video is"
    assert (player > 200).any(), "none of the video's white squares is on the page"
