"""The pages in a real browser: a video is shown by its poster, in a box that has its size before the picture comes."""

from pathlib import Path

import pytest

from tests.integration.browsers import Tab, chromium_tab, wait_until
from tests.integration.server import EmbeddedServer
from tests.requirements import require_tool

BOX = "(({offsetWidth, offsetHeight}) => [offsetWidth, offsetHeight])(document.querySelector('.thumb'))"
PICTURE = "document.querySelector('.thumb img')?.naturalWidth ?? 0"


@pytest.fixture(scope="module")
def video_id(server: EmbeddedServer, small_clip: Path) -> str:
    accepted = server.upload(small_clip, title="Film")
    server.wait(accepted["job_id"])

    def poster() -> str:
        stages = {stage["name"]: stage["state"] for stage in server.job(accepted["job_id"])["stages"]}
        return stages["poster"]

    wait_until(lambda: poster() in {"done", "failed"}, poster, timeout_s=60)
    assert poster() == "done"
    return str(accepted["video_id"])


def sign_in(tab: Tab, server: EmbeddedServer) -> None:
    link = server.http.post("/api/auth/one-time", json={"next": "/"}).json()["url"]
    tab.open(server.url + link)
    wait_until(lambda: tab.evaluate("document.querySelector('.videos li') !== null"), lambda: "no list")


def test_pages_show_posters_and_do_without_them(server: EmbeddedServer, video_id: str, tmp_path: Path) -> None:
    poster = f"/api/videos/{video_id}/poster.webp"
    with chromium_tab(require_tool("chromium"), tmp_path) as tab:
        sign_in(tab, server)
        wait_until(lambda: tab.evaluate(PICTURE), lambda: tab.evaluate("document.body.innerHTML"))
        assert tab.evaluate(BOX) == [96, 54]
        assert tab.evaluate("new URL(document.querySelector('.thumb img').src).pathname") == poster
        tab.open(f"{server.url}/watch/{video_id}")
        wait_until(lambda: tab.evaluate("document.querySelector('video').poster"), lambda: "no poster")
        assert tab.evaluate("new URL(document.querySelector('video').poster).pathname") == poster
        # As it is for a video whose poster was lost, or never made.
        tab.call("Network.enable")
        tab.call("Network.setBlockedURLs", urls=["*/poster.webp*"])
        tab.open(f"{server.url}/")
        wait_until(lambda: tab.evaluate("document.querySelector('.thumb') !== null"), lambda: "no list")
        wait_until(lambda: tab.evaluate("document.querySelector('.thumb img') === null"), lambda: "a broken picture")
        assert tab.evaluate(BOX) == [96, 54]
