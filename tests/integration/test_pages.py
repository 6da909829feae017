"""The pages in real browsers: posters in boxes of their size, and a video that plays while it is being made."""

import base64
import itertools
import json
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any, Protocol

import pytest
from websockets.sync.client import ClientConnection, connect

from sfserver.media.encode.sample import make_sample
from tests.integration.browsers import chromium_tab, firefox, running, wait_until
from tests.integration.server import EmbeddedServer
from tests.requirements import require_tool

BOX = "(({offsetWidth, offsetHeight}) => [offsetWidth, offsetHeight])(document.querySelector('.thumb'))"
PICTURE = "document.querySelector('.thumb img')?.naturalWidth ?? 0"
VIDEO = "document.querySelector('video')"
SECONDS = 40
# Everything that happens to the video, with the time of day in seconds.
RECORD = """(() => {
  const video = document.querySelector("video");
  window.heard = [];
  for (const kind of ["timeupdate", "waiting", "seeked", "ended", "error", "emptied"]) {
    video.addEventListener(kind, () => heard.push([kind, Date.now() / 1000, video.currentTime]));
  }
})()"""
# The third append from now on finds no room.
FILL_UP = """(() => {
  const append = SourceBuffer.prototype.appendBuffer;
  let left = 3;
  SourceBuffer.prototype.appendBuffer = function appendOrFail(data) {
    left -= 1;
    if (left === 0) throw new DOMException("full", "QuotaExceededError");
    append.call(this, data);
  };
})()"""
CHOOSE = """(() => {
  const select = document.getElementById("quality");
  select.selectedIndex = [...select.options].findIndex((each) => each.textContent === "%s");
  select.dispatchEvent(new Event("change"));
})()"""
PAGE_STATE = """(() => {
  const [video, shown] = [document.querySelector("video"), (id) => document.getElementById(id).offsetHeight > 0];
  return {
    time: video.currentTime, ended: video.ended, source: video.src, size: video.videoHeight,
    quality: document.getElementById("quality").selectedOptions[0]?.textContent,
    qualities: [...document.querySelectorAll("#quality option")].map((each) => each.textContent),
    player: shown("player"), work: shown("work"), downloads: shown("downloads"),
    stage: document.getElementById("stage").textContent, message: document.getElementById("message").textContent,
  };
})()"""


class Page(Protocol):
    """A tab of a browser."""

    def open(self, url: str) -> None: ...

    def evaluate(self, expression: str) -> Any: ...

    def screenshot(self, path: Path) -> None: ...


class FirefoxTab:
    """One tab of Firefox, driven by WebDriver BiDi."""

    def __init__(self, connection: ClientConnection) -> None:
        self._connection, self._numbers = connection, itertools.count(1)
        self._call("session.new", capabilities={})
        self._context = self._call("browsingContext.getTree")["contexts"][0]["context"]

    def open(self, url: str) -> None:
        self._call("browsingContext.navigate", context=self._context, url=url, wait="complete")

    def evaluate(self, expression: str) -> Any:
        wrapped = f"(async () => JSON.stringify((await ({expression})) ?? null))()"
        target = {"context": self._context}
        answer = self._call("script.evaluate", expression=wrapped, target=target, awaitPromise=True)
        assert answer["type"] == "success", answer
        return json.loads(answer["result"]["value"])

    def screenshot(self, path: Path) -> None:
        path.write_bytes(
            base64.b64decode(self._call("browsingContext.captureScreenshot", context=self._context)["data"])
        )

    def _call(self, method: str, **params: Any) -> Any:
        number = next(self._numbers)
        self._connection.send(json.dumps({"id": number, "method": method, "params": params}))
        while (answer := json.loads(self._connection.recv(timeout=30))).get("id") != number:
            pass
        assert answer["type"] == "success", answer
        return answer["result"]


@contextmanager
def firefox_tab(program: str, home: Path) -> Iterator[FirefoxTab]:
    """Start Firefox with an empty tab and yield it."""
    command = [*firefox(program, home, "about:blank"), "--remote-debugging-port=0"]
    with running(command, home) as log:
        announced = home / "WebDriverBiDiServer.json"
        wait_until(
            lambda: announced.exists() and announced.read_text().strip().endswith("}"), log.read_text, timeout_s=60
        )
        port = json.loads(announced.read_text())["ws_port"]
        with connect(f"ws://127.0.0.1:{port}/session", max_size=None) as connection:
            yield FirefoxTab(connection)


@pytest.fixture(scope="module")
def video_id(server: EmbeddedServer, small_clip: Path) -> str:
    accepted = server.upload(small_clip, title="Film")
    server.wait(accepted["job_id"])

    def poster() -> str:
        stages = {stage["name"]: stage["state"] for stage in server.job(accepted["job_id"])["stages"]}
        return str(stages["poster"])

    wait_until(lambda: poster() in {"done", "failed"}, poster, timeout_s=60)
    assert poster() == "done"
    return str(accepted["video_id"])


@pytest.fixture(scope="module")
def slow_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedServer]:
    """A server that encodes on one core."""
    server = EmbeddedServer(tmp_path_factory.mktemp("slow"), SF_WORKER__CONCURRENCY="1").start()
    yield server
    server.close()


@pytest.fixture(scope="module")
def long_clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("clips") / "long.mp4"
    make_sample(path, seconds=SECONDS, width=1920, height=1080)
    return path


def sign_in(tab: Page, server: EmbeddedServer) -> None:
    link = server.http.post("/api/auth/one-time", json={"next": "/"}).json()["url"]
    tab.open(server.url + link)
    wait_until(lambda: tab.evaluate("document.querySelector('#upload').hidden === false"), lambda: "no list")


def test_pages_show_posters_and_do_without_them(server: EmbeddedServer, video_id: str, tmp_path: Path) -> None:
    poster = f"/api/videos/{video_id}/poster.webp"
    with chromium_tab(require_tool("chromium"), tmp_path) as tab:
        sign_in(tab, server)
        wait_until(lambda: tab.evaluate(PICTURE), lambda: tab.evaluate("document.body.innerHTML"))
        assert tab.evaluate(BOX) == [96, 54]
        assert tab.evaluate("new URL(document.querySelector('.thumb img').src).pathname") == poster
        tab.open(f"{server.url}/watch/{video_id}")
        wait_until(lambda: tab.evaluate(f"{VIDEO}.poster"), lambda: "no poster")
        assert tab.evaluate(f"new URL({VIDEO}.poster).pathname") == poster
        # As it is for a video whose poster was lost, or never made.
        tab.call("Network.enable")
        tab.call("Network.setBlockedURLs", urls=["*/poster.webp*"])
        tab.open(f"{server.url}/")
        wait_until(lambda: tab.evaluate("document.querySelector('.thumb') !== null"), lambda: "no list")
        wait_until(lambda: tab.evaluate("document.querySelector('.thumb img') === null"), lambda: "a broken picture")
        assert tab.evaluate(BOX) == [96, 54]


class Growth:
    """How much of a video was listed when; asked again and again while something else is waited for."""

    def __init__(self, server: EmbeddedServer, accepted: dict[str, Any]) -> None:
        self._server, self._job_id, self._video_id = server, accepted["job_id"], accepted["video_id"]
        self.listed: list[tuple[float, float]] = []
        self.ready_at = 0.0

    def ask(self) -> str:
        """Note what is listed now; return the status of the job."""
        links = self._server.http.get(f"/api/videos/{self._video_id}/links")
        if links.status_code == 200:
            # Sound and picture are listed in steps of their own.
            ends_s = [self._end_of(links.json()["hls"].replace("master", f"live/{name}")) for name in ("720p", "audio")]
            self.listed.append((time.time(), min(ends_s)))
        status = str(self._server.job(self._job_id)["status"])
        if status == "ready":
            self.ready_at = self.ready_at or time.time()
        return status

    def _end_of(self, playlist: str) -> float:
        lines = self._server.http.get(playlist).text.splitlines()
        return sum(float(line[8:].rstrip(",")) for line in lines if line.startswith("#EXTINF:"))

    @property
    def steps(self) -> list[tuple[float, float]]:
        """When more was listed than before."""
        return [now for before, now in itertools.pairwise([(0.0, 0.0), *self.listed]) if now[1] > before[1]]

    def end_at(self, moment: float) -> float:
        """Return up to which second the video was listed at a time of day."""
        return max((end_s for at, end_s in self.listed if at <= moment), default=0.0)

    def there_since(self, second: float) -> float:
        """Return since when a second of the video is listed."""
        return next((at for at, end_s in self.listed if end_s > second), time.time())


def assert_smooth(heard: list[tuple[str, float, float]], growth: Growth) -> None:
    """No jump back but the one that was asked for, and no stall that what is listed does not explain.

    A machine that encodes slower than the video plays makes every player wait; it has to go on as soon as it can.
    """
    kinds = [kind for kind, _, _ in heard]
    assert kinds.count("seeked") == 1
    assert not {"error", "emptied"} & set(kinds)
    after = [(at, where) for kind, at, where in heard[kinds.index("seeked") :] if kind == "timeupdate"]
    for (at, where), (later_at, later) in itertools.pairwise(after):
        assert later >= where - 0.01
        if later_at - at > 1:
            # What is listed in the last moment comes too late for who looks once a second.
            assert growth.end_at(at - 2) < where + 1, f"stood still at {where} for {later_at - at} s: {growth.steps}"
            assert later_at - growth.there_since(where + 1) < 4, f"went on late at {where}: {growth.steps}"
            assert later - where < 1, f"left out {later - where} s at {where}"


BROWSERS = pytest.mark.parametrize(
    ("browser", "program"), [(chromium_tab, "chromium"), (firefox_tab, "firefox-esr")], ids=["chromium", "firefox"]
)


@BROWSERS
def test_the_watch_page_plays_while_the_video_is_made(
    slow_server: EmbeddedServer,
    long_clip: Path,
    tmp_path: Path,
    browser: Callable[[str, Path], AbstractContextManager[Page]],
    program: str,
) -> None:
    with browser(require_tool(program), tmp_path) as tab:
        sign_in(tab, slow_server)
        accepted = slow_server.upload(long_clip)
        growth = Growth(slow_server, accepted)
        tab.open(f"{slow_server.url}/watch/{accepted['video_id']}")
        tab.evaluate(RECORD)

        def wait(condition: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
            def look() -> bool:
                time.sleep(0.2)
                state.update(tab.evaluate(PAGE_STATE))
                growth.ask()
                return condition(state)

            state: dict[str, Any] = {}
            wait_until(look, lambda: f"{state}\n{growth.steps}\n{tab.evaluate('heard')}"[:6000], timeout_s=300)
            return state

        early = wait(lambda state: state["time"] > 4)
        assert growth.ask() == "processing", "it was made before it played"
        assert (early["player"], early["work"], early["downloads"]) == (True, True, False)
        assert early["qualities"][0] == early["quality"] == "720p"
        assert early["size"] == 720
        assert "encode" in early["stage"]
        tab.screenshot(tmp_path / "live.png")
        tab.evaluate(CHOOSE % "360p")
        chosen = wait(lambda state: state["size"] == 360 and state["time"] > early["time"])
        assert chosen["time"] < early["time"] + 6
        tab.evaluate("heard.length = 0")
        tab.evaluate(FILL_UP)
        tab.evaluate(f"{VIDEO}.currentTime = 0")
        wait(lambda state: 0.5 < state["time"] < 3)
        assert growth.ask() == "processing"
        late = wait(lambda state: state["ended"])
        assert (late["player"], late["work"], late["downloads"]) == (True, False, True)
        assert late["qualities"][-3:] == ["1080p", "720p", "360p"]
        assert (late["quality"], late["size"], late["source"]) == ("360p", 360, chosen["source"])
        assert late["time"] == pytest.approx(SECONDS, abs=0.05)
        tab.screenshot(tmp_path / "ready.png")
        assert growth.ready_at
        assert_smooth([tuple(each) for each in tab.evaluate("heard")], growth)
        tab.open(f"{slow_server.url}/watch/{accepted['video_id']}")
        assert not wait(lambda state: state["source"])["source"].startswith("blob:")


@BROWSERS
def test_the_watch_page_says_when_what_it_plays_is_cancelled(
    slow_server: EmbeddedServer,
    long_clip: Path,
    tmp_path: Path,
    browser: Callable[[str, Path], AbstractContextManager[Page]],
    program: str,
) -> None:
    with browser(require_tool(program), tmp_path) as tab:
        sign_in(tab, slow_server)
        accepted = slow_server.upload(long_clip)
        tab.open(f"{slow_server.url}/watch/{accepted['video_id']}")
        wait_until(lambda: tab.evaluate(f"{VIDEO}.currentTime > 1"), lambda: tab.evaluate(PAGE_STATE), timeout_s=60)
        slow_server.http.post(f"/api/jobs/{accepted['job_id']}/cancel")
        said = "document.getElementById('message').textContent"
        wait_until(lambda: "cancelled" in tab.evaluate(said), lambda: tab.evaluate(PAGE_STATE))
        state = tab.evaluate(PAGE_STATE)
        assert (state["player"], state["work"]) == (False, False)
        assert tab.evaluate(f"{VIDEO}.paused || {VIDEO}.readyState === 0")
