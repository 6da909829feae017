"""mpv: in its encoding mode for all of a video, and over its socket where it has to seek."""

import json
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.media.clips import read_number
from tests.players.command import Attended, CommandPlayer, read_picture, run
from tests.players.library import Video
from tests.players.signals import Heard, Signal, watch
from tests.requirements import require_tool

_QUIET = ("--no-config", "--msg-level=all=warn")
PATIENCE_S = 20.0


class Mpv(CommandPlayer):
    """Debian's, on the FFmpeg 5.1 that comes with it."""

    def play(self, url: str) -> Heard:
        return self._play(url)

    def show(self, url: str, numbers: list[int], signal: Signal) -> list[int]:
        out = self.folder / "shown.png"
        with _running(self.folder / "socket") as mpv:
            mpv.ask("loadfile", url)
            mpv.wait_for("playback-restart")
            shown = []
            for number in numbers:
                # It shows the first frame that begins at or after the time.
                mpv.ask("seek", max(0.0, signal.middle(number - 1)), "absolute+exact")
                mpv.wait_for("playback-restart")
                mpv.ask("screenshot-to-file", str(out), "video")
                shown.append(read_number(read_picture(out)))
        return shown

    def watch_live(self, video: Video) -> Attended:
        return Attended(self._play(video.hls, "--demuxer-lavf-o=live_start_index=0", "--hls-bitrate=min"))

    def _play(self, url: str, *options: str) -> Heard:
        out = self.folder / "played.nut"
        encoders = ("--vf=scale=160:90,format=gray", "--of=nut", "--ovc=rawvideo", "--oac=pcm_s16le")
        run(require_tool("mpv"), *_QUIET, *encoders, *options, f"--o={out}", url)
        return watch(out)


class _Remote:
    """What mpv's socket takes and tells, one JSON object a line."""

    def __init__(self, connection: socket.socket) -> None:
        self._lines = connection.makefile("rw")

    def ask(self, *command: object) -> Any:
        self._lines.write(json.dumps({"command": command, "request_id": 1}) + "\n")
        self._lines.flush()
        answer = next(message for message in self._messages() if message.get("request_id") == 1)
        assert answer["error"] == "success", (command, answer)
        return answer.get("data")

    def wait_for(self, event: str) -> None:
        found = next(message for message in self._messages() if message.get("event") in {event, "end-file"})
        assert found["event"] == event, found

    def close(self) -> None:
        self._lines.close()

    def _messages(self) -> Iterator[dict[str, Any]]:
        for line in self._lines:
            yield json.loads(line)


@contextmanager
def _running(path: Path) -> Iterator[_Remote]:
    path.unlink(missing_ok=True)
    options = ("--idle", "--pause", "--keep-open", "--vo=null", "--ao=null", f"--input-ipc-server={path}")
    process = subprocess.Popen([require_tool("mpv"), *_QUIET, *options], stdin=subprocess.DEVNULL)
    try:
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(PATIENCE_S)
            _connect(connection, path)
            remote = _Remote(connection)
            yield remote
            remote.close()
    finally:
        process.kill()
        process.wait(timeout=10)


def _connect(connection: socket.socket, path: Path) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while connection.connect_ex(str(path)):
        assert time.monotonic() < deadline, "mpv opens no socket"
        time.sleep(0.02)
