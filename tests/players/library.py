"""Signal clips that an embedded server has processed, or is at."""

import re
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.integration.server import EmbeddedServer
from tests.players.signals import Signal, make_signal_clip

_RUNG = re.compile(r"RESOLUTION=\d+x(\d+).*\n(?:live/)?(\w+)\.m3u8")


@dataclass(frozen=True)
class Video:
    """A clip, and the signed URLs of what became of it; `files` by their lines. `heights` is the master's order."""

    signal: Signal
    video_id: str
    heights: tuple[int, ...]
    files: dict[int, str]
    hls: str
    dash: str | None

    @property
    def high(self) -> int:
        return max(self.heights)

    @property
    def low(self) -> int:
        return min(self.heights)

    @property
    def everything(self) -> list[str]:
        """Every file, and HLS."""
        return [*self.files.values(), self.hls]


class Library:
    """Uploads each clip once to one server."""

    def __init__(self, server: EmbeddedServer, folder: Path) -> None:
        self.server = server
        self._folder = folder
        self._videos: dict[Signal, Video] = {}

    def video(self, signal: Signal) -> Video:
        """Return the clip's video, ready."""
        if signal not in self._videos:
            accepted = self.upload(signal)
            job = self.server.wait(accepted["job_id"], timeout_s=300)
            assert job["status"] == "ready", job
            self._videos[signal] = self.find(signal, accepted["video_id"])
        return self._videos[signal]

    def upload(self, signal: Signal) -> dict[str, Any]:
        clip = make_signal_clip(self._folder / f"clip {time.monotonic_ns()}.mkv", signal)
        return self.server.upload(clip, title="flash and beep")

    def live(self, signal: Signal) -> tuple[Video, str]:
        """Upload the clip; returns its video as soon as it can be played, and the job that is still at it."""
        accepted = self.upload(signal)
        deadline = time.monotonic() + 60
        while not (links := self._links(accepted["video_id"])):
            assert time.monotonic() < deadline, self.server.job(accepted["job_id"])
            time.sleep(0.05)
        assert links["live"], f"ready before it could be played live: {links}"
        return self._video(signal, accepted["video_id"], links), accepted["job_id"]

    def find(self, signal: Signal, video_id: str) -> Video:
        """Return what the server has of the video now."""
        links = self._links(video_id)
        assert links is not None, video_id
        return self._video(signal, video_id, links)

    def _links(self, video_id: str) -> dict[str, Any] | None:
        answer = self.server.http.get(f"/api/videos/{video_id}/links")
        assert answer.status_code in {200, 404}, answer.text
        links: dict[str, Any] = answer.json()
        return links if answer.status_code == 200 else None

    def _video(self, signal: Signal, video_id: str, links: dict[str, Any]) -> Video:
        rungs = {rung: int(lines) for lines, rung in _RUNG.findall(self.server.http.get(links["hls"]).text)}
        url = self.server.url
        files = {rungs[file["quality"]]: url + file["url"] for file in links["files"]}
        dash = url + links["dash"] if links["dash"] else None
        return Video(signal, video_id, tuple(rungs.values()), files, url + links["hls"], dash)
