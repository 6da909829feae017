"""Headless browsers, and a tab driven from outside."""

import base64
import itertools
import json
import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from websockets.sync.client import ClientConnection, connect

_FIREFOX_PREFERENCES = {
    "app.normandy.enabled": False,
    "app.update.enabled": False,
    "browser.aboutwelcome.enabled": False,
    "browser.safebrowsing.downloads.enabled": False,
    "browser.safebrowsing.malware.enabled": False,
    "browser.safebrowsing.phishing.enabled": False,
    "browser.shell.checkDefaultBrowser": False,
    "datareporting.policy.dataSubmissionEnabled": False,
    "extensions.update.enabled": False,
    "media.autoplay.block-webaudio": False,
    "media.autoplay.blocking_policy": 0,
    "media.autoplay.default": 0,
    "media.gmp-manager.updateEnabled": False,
    "network.captive-portal-service.enabled": False,
    "network.connectivity-service.enabled": False,
    "services.settings.server": "data:,",
    "toolkit.telemetry.enabled": False,
}


def chromium(program: str, home: Path, url: str, *options: str) -> list[str]:
    """Build a command line; without Chromium's own sandbox, which needs rights that a container rarely gives."""
    quiet = ["--no-first-run", "--disable-background-networking", "--disable-breakpad", "--disable-dev-shm-usage"]
    media = ["--autoplay-policy=no-user-gesture-required", "--mute-audio", "--disable-gpu"]
    return [program, "--headless", "--no-sandbox", f"--user-data-dir={home}", *quiet, *media, *options, url]


def firefox(program: str, home: Path, url: str) -> list[str]:
    """Build a command line and write the profile that goes with it."""
    lines = [f"user_pref({json.dumps(name)}, {json.dumps(value)});" for name, value in _FIREFOX_PREFERENCES.items()]
    (home / "user.js").write_text("\n".join(lines))
    return [program, "--headless", "--no-remote", "--profile", str(home), url]


@contextmanager
def running(command: Sequence[str], home: Path) -> Iterator[Path]:
    """Run a browser with its children in a group of their own, and end them all; yields its log."""
    log = home / "browser.log"
    environment = {**os.environ, "HOME": str(home), "TMPDIR": str(home), "MOZ_CRASHREPORTER_DISABLE": "1"}
    with log.open("wb") as output:
        process = subprocess.Popen(
            command, env=environment, stdin=subprocess.DEVNULL, stdout=output, stderr=output, start_new_session=True
        )
    try:
        yield log
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait(timeout=10)


class Tab:
    """One tab of Chromium, driven by the DevTools protocol."""

    def __init__(self, connection: ClientConnection) -> None:
        self._connection = connection
        self._numbers = itertools.count(1)
        self._events: set[str] = set()

    def call(self, method: str, **params: Any) -> Any:
        """Call a method and return its result."""
        number = next(self._numbers)
        self._connection.send(json.dumps({"id": number, "method": method, "params": params}))
        while (answer := self._receive()).get("id") != number:
            pass
        assert "error" not in answer, answer
        return answer["result"]

    def open(self, url: str) -> None:
        """Go to a page and wait until it is loaded: a script's context does not outlive the page before."""
        self.call("Page.enable")
        self._events.clear()
        self.call("Page.navigate", url=url)
        while "Page.loadEventFired" not in self._events:
            self._receive()

    def evaluate(self, expression: str) -> Any:
        """Return the value of an expression, awaited where it is a promise."""
        answer = self.call("Runtime.evaluate", expression=expression, awaitPromise=True, returnByValue=True)
        assert "exceptionDetails" not in answer, answer
        return answer["result"].get("value")

    def screenshot(self, path: Path) -> None:
        path.write_bytes(base64.b64decode(self.call("Page.captureScreenshot")["data"]))

    def _receive(self) -> dict[str, Any]:
        message: dict[str, Any] = json.loads(self._connection.recv(timeout=30))
        self._events.add(message.get("method", ""))
        return message


@contextmanager
def chromium_tab(program: str, home: Path) -> Iterator[Tab]:
    """Start Chromium with an empty tab of 1280 by 960 and yield it."""
    options = ("--remote-debugging-port=0", "--window-size=1280,960")
    with running(chromium(program, home, "about:blank", *options), home) as log:
        announced = home / "DevToolsActivePort"
        wait_until(lambda: announced.exists() and len(announced.read_text().splitlines()) == 2, log.read_text)
        port, path = announced.read_text().splitlines()
        with connect(f"ws://127.0.0.1:{port}{path}", max_size=None) as browser:
            target = Tab(browser).call("Target.createTarget", url="about:blank")["targetId"]
            with connect(f"ws://127.0.0.1:{port}/devtools/page/{target}", max_size=None) as page:
                yield Tab(page)


def wait_until(condition: Callable[[], Any], explain: Callable[[], object], timeout_s: float = 30) -> None:
    """Ask until the answer is true."""
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, explain()
        time.sleep(0.05)
