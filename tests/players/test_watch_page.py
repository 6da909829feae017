"""The watch page plays in a real browser."""

from pathlib import Path

from tests.integration.browsers import chromium_tab, wait_until
from tests.players.command import read_picture
from tests.players.library import Library
from tests.players.signals import Signal
from tests.requirements import require_tool


def test_the_watch_page_plays_after_a_one_time_sign_in(library: Library, tmp_path: Path) -> None:
    server, video = library.server, library.video(Signal())
    path = f"/watch/{video.video_id}"
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
    page = read_picture(tmp_path / "watch.png")[100:600, 200:1080]
    assert (page < 40).mean() > 0.5, "the page is not black where the video is"
    assert (page > 200).any(), "none of the video's white squares is on the page"
