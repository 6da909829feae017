"""U1: one file in, nothing else touched, by path and over HTTP, whatever the file is called."""

import socket
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import httpx
import pytest

from sfserver.errors import PermanentError
from sfserver.media.contract import MediaLimits
from sfserver.media.encode.plan import probe
from tests.integration.server import EmbeddedServer
from tests.media.clips import Clip, ignore, make_clip
from tests.media.hostile import hostile_binaries, hostile_texts
from tests.media.source.test_open import Watch
from tests.promises.hostile_containers import carriers, text_only, upload_names
from tests.promises.ledger import Proof, sizes

pytestmark = pytest.mark.promise("U1")
EXTENSIONS = ("mp4", "m3u8", "avi", "mkv", "png")
REFUSALS = {"unsupported_media", "limit_video_streams"}


class Bait:
    """A listener and a real video beside the hostile files: following any reference would show."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir()
        self.file = make_clip(folder / "canary.mp4", Clip(frames=5, options={"preset": "ultrafast"}))
        self._watch = Watch(self.file)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._listener.setblocking(False)
        self.port: int = self._listener.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}/a.mp4"

    def touches(self) -> list[str]:
        """Return what was touched since the last question."""
        found = ["the file was opened"] if self._watch.was_opened() else []
        with suppress(BlockingIOError):
            while True:
                self._listener.accept()[0].close()
                found.append("somebody connected")
        return found

    def close(self) -> None:
        self._watch.close()
        self._listener.close()

    def refused(self) -> dict[str, bytes]:
        """Return everything hostile that is no video."""
        name = str(self.file)
        return {**hostile_texts(name, self.port), **hostile_binaries(name), **text_only(self.file, self.url)}


@pytest.fixture
def bait(tmp_path: Path) -> Iterator[Bait]:
    bait = Bait(tmp_path / "in")
    yield bait
    bait.close()


@sizes(1, 1)
def test_the_bait_would_show_a_touch(bait: Bait, proof: Proof, size: int) -> None:
    with proof.cell("control"):
        assert bait.touches() == []
        bait.file.read_bytes()
        assert bait.touches() == ["the file was opened"]
        with socket.create_connection(("127.0.0.1", bait.port)):
            assert bait.touches() == ["somebody connected"] * size


@sizes(1, 5)
def test_no_reference_is_followed_by_path(bait: Bait, proof: Proof, tmp_path: Path, size: int) -> None:
    made = {**bait.refused(), **carriers(tmp_path, bait.file, bait.url)}
    for number, (name, content) in enumerate(made.items()):
        for turn in range(size):
            extension = EXTENSIONS[(number + turn) % len(EXTENSIONS)]
            hostile = bait.file.parent / f"upload.{extension}"
            hostile.write_bytes(content)
            with proof.cell(f"{name}.{extension}"):
                code = probe_code(hostile)
                assert bait.touches() == []
                assert code in REFUSALS or is_carrier(name), code
            hostile.unlink()
    assert len(made) >= 45


def is_carrier(name: str) -> bool:
    """Tell whether the file holds a real picture too, so that it may well become a video."""
    return name.startswith(("mov_", "gab2_hls", "gab2_concat", "attachment_"))


def probe_code(path: Path) -> str | None:
    """Return what the probe refuses the file with, or None."""
    try:
        probe(path, path.parent, MediaLimits(), ignore)
    except PermanentError as error:
        return error.code
    return None


@sizes(1, 5)
def test_no_reference_is_followed_over_http(
    server: EmbeddedServer, bait: Bait, proof: Proof, tmp_path: Path, size: int
) -> None:
    made = {**bait.refused(), **carriers(tmp_path, bait.file, bait.url)}
    accepted = {}
    for number, (name, content) in enumerate(made.items()):
        for turn in range(size):
            extension = EXTENSIONS[(number + turn) % len(EXTENSIONS)]
            with proof.cell(f"post {name}.{extension}"):
                answer = server.http.post("/api/upload", files={"file": (f"upload.{extension}", content)})
                assert answer.status_code in {201, 415}, answer.text
                if answer.status_code == 201:
                    accepted[f"{name}.{extension}"] = answer.json()["job_id"]
    for name, job_id in accepted.items():
        with proof.cell(f"job {name}"):
            job = server.wait(job_id)
            assert (job["error"] or {"code": None})["code"] in REFUSALS or is_carrier(name), job
    with proof.cell("canaries"):
        assert bait.touches() == []
    assert accepted, "some must get past the first look at their bytes"


@sizes(1, 1)
def test_a_file_name_is_never_opened(server: EmbeddedServer, bait: Bait, proof: Proof, size: int) -> None:
    content = bait.file.read_bytes()
    assert bait.touches() == ["the file was opened"]
    jobs = {}
    for name in upload_names(bait.file, bait.port) * size:
        with proof.cell(f"post as {name!r}"):
            jobs[name] = post_as(server, name, content).json()["job_id"]
    for name, job_id in jobs.items():
        with proof.cell(f"job of {name!r}"):
            assert server.wait(job_id)["status"] == "ready"
            assert bait.touches() == []


def post_as(server: EmbeddedServer, name: str, content: bytes) -> httpx.Response:
    answer = server.http.post("/api/upload", files={"file": (name, content)})
    assert answer.status_code == 201, answer.text
    return answer
