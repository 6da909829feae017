"""The players of the matrix, by name, and the browsers that some of them run in."""

import tempfile
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from functools import cache
from pathlib import Path

from tests.integration.browsers import chromium, firefox, running
from tests.players.browser import BrowserPlayer
from tests.players.command import CommandPlayer
from tests.players.mpv import Mpv
from tests.players.origin import Origin
from tests.players.programs import Ffmpeg, GStreamer, PyAv
from tests.players.scripts import install_scripts
from tests.players.vlc import Vlc
from tests.requirements import require_tool

AnyPlayer = CommandPlayer | BrowserPlayer


def make_players(stack: ExitStack, folder: Path) -> Mapping[str, AnyPlayer]:
    """Return one of each, at work in `folder`; a browser starts when it is needed first, and ends with the stack."""

    @cache
    def in_chromium() -> Origin:
        program = require_tool("chromium", "google-chrome")
        return _open(stack, lambda home, url: chromium(program, home, url), install_scripts())

    @cache
    def in_firefox() -> Origin:
        program = require_tool("firefox-esr", "firefox")
        return _open(stack, lambda home, url: firefox(program, home, url))

    return {
        "ffmpeg 5.1": Ffmpeg(folder),
        "PyAV (FFmpeg 8.1)": PyAv(folder),
        "mpv 0.35": Mpv(folder),
        "VLC 3": Vlc(folder),
        "GStreamer 1.22": GStreamer(folder),
        # Its AudioContext waits for a loudspeaker, its recorder doesn't.
        "Firefox ESR": BrowserPlayer("progressive", in_firefox, on_tape=True),
        "Chromium": BrowserPlayer("progressive", in_chromium),
        "Chromium's own HLS": BrowserPlayer("native", in_chromium, goes_back=False),
        "hls.js": BrowserPlayer("hls.js", in_chromium),
        "shaka HLS": BrowserPlayer("shaka HLS", in_chromium),
        "shaka DASH": BrowserPlayer("shaka DASH", in_chromium),
        "dash.js": BrowserPlayer("dash.js", in_chromium),
    }


def _open(stack: ExitStack, command: Callable[[Path, str], list[str]], scripts: Path | None = None) -> Origin:
    """Start a browser on the page."""
    home = Path(stack.enter_context(tempfile.TemporaryDirectory(ignore_cleanup_errors=True)))
    origin = stack.enter_context(Origin(scripts))
    stack.enter_context(running(command(home, origin.url), home))
    return origin
