"""Somebody watches while it encodes: the server is killed under them, the job cancelled, a stored chunk goes."""

import re
import time
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from urllib.parse import urljoin

import pytest

from sfserver.media.encode.sample import make_sample
from tests.integration.server import EmbeddedServer

SECONDS = 30


@pytest.fixture(scope="module")
def long_clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("clips") / "half a minute.mp4"
    make_sample(path, seconds=SECONDS, width=1280, height=720)
    return path


@pytest.fixture
def slow_server(tmp_path: Path) -> Iterator[EmbeddedServer]:
    server = EmbeddedServer(tmp_path / "data", SF_WORKER__CONCURRENCY="1").start()
    yield server
    server.close()


class Viewer:
    """Follows one list as a player does, and keeps every segment it was ever shown."""

    def __init__(self, server: EmbeddedServer, video_id: str, name: str) -> None:
        self._server = server
        self._path = urljoin(server.http.get(f"/api/videos/{video_id}/links").json()["hls"], f"live/{name}.m3u8")
        self.lists: list[str] = []
        self.bytes: dict[tuple[str, str], bytes] = {}

    def poll(self) -> int:
        """Read the list, and what is new in it; return the status."""
        answer = self._server.http.get(self._path)
        if answer.status_code != 200:
            return answer.status_code
        self.lists.append(answer.text)
        for span, uri in re.findall(r"#EXT-X-BYTERANGE:(\S+)\n(\S+)", answer.text):
            self.bytes.setdefault((uri, span), self.fetch(uri, span))
        return 200

    def fetch(self, uri: str, span: str) -> bytes:
        length, start = map(int, span.split("@"))
        asked = {"Range": f"bytes={start}-{start + length - 1}"}
        answer = self._server.http.get(urljoin(self._path, uri), headers=asked)
        assert (answer.status_code, len(answer.content)) == (206, length)
        return answer.content

    @property
    def seconds(self) -> float:
        return sum(map(float, re.findall(r"#EXTINF:([0-9.]+)", self.lists[-1])))


def begin(server: EmbeddedServer, clip: Path) -> tuple[dict[str, str], list[Viewer]]:
    """Upload a clip and wait until it can be played."""
    accepted = server.upload(clip)
    deadline = time.monotonic() + 60
    while not server.job(accepted["job_id"])["playable_at"]:
        assert time.monotonic() < deadline
        time.sleep(0.02)
    viewers = [Viewer(server, accepted["video_id"], name) for name in ("720p", "360p", "audio")]
    assert [viewer.poll() for viewer in viewers] == [200] * 3
    return accepted, viewers


def test_lists_outlive_kills_of_the_server_and_only_grow(slow_server: EmbeddedServer, long_clip: Path) -> None:
    accepted, viewers = begin(slow_server, long_clip)
    for _ in range(3):
        assert slow_server.job(accepted["job_id"])["status"] == "processing", "too fast to be killed meanwhile"
        slow_server.kill()
        slow_server.start()
        assert [viewer.poll() for viewer in viewers] == [200] * 3, "the URLs are good after the start at once"
        time.sleep(0.7)
    assert slow_server.wait(accepted["job_id"])["status"] == "ready"
    for viewer in viewers:
        viewer.poll()
        assert all(later.startswith(earlier) for earlier, later in pairwise(viewer.lists))
        assert abs(viewer.seconds - SECONDS) < 0.1
        assert all(viewer.fetch(*place) == data for place, data in viewer.bytes.items()), "a shown chunk was changed"


def test_a_cancel_tells_those_who_watch(slow_server: EmbeddedServer, long_clip: Path) -> None:
    accepted, viewers = begin(slow_server, long_clip)
    assert slow_server.http.post(f"/api/jobs/{accepted['job_id']}/cancel").status_code == 204
    assert [viewer.poll() for viewer in viewers] == [410] * 3
    status = slow_server.http.get(f"/api/jobs/{accepted['job_id']}/status").json()
    assert (status["status"], status["playable_at"]) == ("cancelled", None)


@pytest.mark.parametrize("damage", ["missing", "short"])
def test_a_stored_chunk_that_goes_fails_the_job_and_not_the_server(
    slow_server: EmbeddedServer, long_clip: Path, damage: str
) -> None:
    accepted, viewers = begin(slow_server, long_clip)
    chunk = next((slow_server.data_dir / "objects" / "video").rglob("720p.0.m4s"))
    chunk.unlink() if damage == "missing" else chunk.write_bytes(chunk.read_bytes()[:-1])
    job = slow_server.wait(accepted["job_id"])
    assert (job["status"], job["error"]["code"]) == ("failed", "source_missing"), job
    assert "reprocess" in job["error"]["hint"]
    assert [viewer.poll() for viewer in viewers] == [410] * 3
    assert slow_server.http.post(f"/api/jobs/{accepted['job_id']}/retry").status_code == 202
    assert slow_server.wait(accepted["job_id"])["status"] == "ready"
