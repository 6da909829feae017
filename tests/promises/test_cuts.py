"""D1: a 201 means it will end, whichever boundary the power cut meets."""

import hashlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import psutil
import pytest

from tests.integration.remains import assert_clean
from tests.integration.server import EmbeddedServer
from tests.promises.cut_server import ARMED
from tests.promises.ledger import Proof, sizes
from tests.promises.reaper import STAGES, Reaper, wait_until

pytestmark = pytest.mark.promise("D1")
# From the upload to its publication a short clip makes about 20 commits that write and stores about 20 objects.
BOUNDARIES = [(what, when, n) for what in ("commit", "publish") for when in ("before", "after") for n in range(1, 26)]


class CutServer(EmbeddedServer):
    """A server that a kill meets at a boundary, counted from `arm` on."""

    def __init__(self, data_dir: Path, cut: str) -> None:
        self._armed = data_dir / "armed"
        super().__init__(data_dir, **{ARMED: str(self._armed)})
        self._cut = cut

    def _start(self) -> "CutServer":
        module = ["-m", "tests.promises.cut_server", self._cut] if self._cut else ["-m", "sfserver"]
        command = [sys.executable, *module, "up", "--data-dir", str(self.data_dir), "--port", "0"]
        self.data_dir.mkdir(parents=True, exist_ok=True)
        with (self.data_dir / "server.log").open("ab") as log:
            self._process = subprocess.Popen(command, env=self._environment, stderr=log, stdout=log)
        self._wait_until_healthy()
        return self

    def arm(self) -> None:
        self._armed.touch()

    def is_dead(self) -> bool:
        return self._process is None or self._process.poll() is not None

    def go_on(self) -> None:
        """Start again, this time without a cut."""
        if not self.is_dead():
            self.kill()
        self._armed.unlink(missing_ok=True)
        self._cut = ""
        self.start()


@pytest.fixture(scope="module")
def reference(tmp_path_factory: pytest.TempPathFactory, tiny_clip: Path) -> str:
    """The digest of what an undisturbed server makes of the clip."""
    server = EmbeddedServer(tmp_path_factory.mktemp("reference"))
    try:
        job = server.start().upload(tiny_clip)
        assert server.wait(job["job_id"])["status"] == "ready"
        return served(server, job["video_id"])
    finally:
        server.close()


def served(server: EmbeddedServer, video_id: str) -> str:
    answer = server.http.get(f"/api/stream/{video_id}/360p")
    assert answer.status_code == 200, answer.text[:300]
    return hashlib.sha256(answer.content).hexdigest()


@sizes(2, len(BOUNDARIES))
def test_a_cut_at_any_boundary_loses_nothing(
    proof: Proof, tmp_path: Path, tiny_clip: Path, reference: str, size: int
) -> None:
    met = 0
    for what, when, number in proof.random.sample(BOUNDARIES, size):
        server = CutServer(tmp_path / f"{what}-{when}-{number}", f"{what}:{when}:{number}")
        try:
            with proof.cell(f"cut {when} {what} {number}"):
                met += cut_once(server.start(), tiny_clip, reference)
        finally:
            server.close()
    assert met >= size // 3, "most of the boundaries must exist"


def cut_once(server: "EmbeddedServer", clip: Path, reference: str) -> bool:
    """Upload under the cut, start again, and check the end; tell whether the cut was met."""
    assert isinstance(server, CutServer)
    server.arm()
    accepted = None
    try:
        accepted = server.upload(clip)
        wait_until(lambda: server.is_dead() or server.job(accepted["job_id"])["status"] == "ready", 60)
    except (httpx.TransportError, psutil.Error):
        pass
    time.sleep(0.2)
    met = server.is_dead()
    server.go_on()
    listed = [video["id"] for video in server.http.get("/api/videos").json()["items"]]
    assert accepted is None or listed == [accepted["video_id"]], "a 201 was forgotten"
    for job in server.http.get("/api/jobs").json()["items"]:
        assert server.wait(job["id"])["status"] == "ready"
        assert served(server, job["video_id"]) == reference
    assert_clean(server.data_dir)
    return met


@pytest.fixture
def struck(tmp_path: Path) -> Iterator[EmbeddedServer]:
    server = EmbeddedServer(tmp_path / "data").start()
    yield server
    server.close()


@sizes(0, 800)
def test_kills_of_server_and_media_processes_in_every_stage_lose_nothing(
    struck: EmbeddedServer, proof: Proof, tiny_clip: Path, reference: str, size: int
) -> None:
    for number in range(size):
        stage, victim = STAGES[number % 4], ("server", "child")[number // 4 % 2]
        with proof.cell(f"{victim} killed in {stage}, {number}"):
            accepted = struck.upload(tiny_clip)
            strike(struck, proof, (accepted["job_id"], stage), victim)
            assert struck.wait(accepted["job_id"])["status"] == "ready"
            assert served(struck, accepted["video_id"]) == reference
            assert_clean(struck.data_dir)
            struck.http.delete(f"/api/videos/{accepted['video_id']}", params={"purge": "1"})


def strike(server: EmbeddedServer, proof: Proof, where: tuple[str, str], victim: str) -> None:
    """Kill the server or the media process somewhere in a stage of a job, if it is still there then."""
    reaper = Reaper(server.data_dir, server.pid, proof.random)
    job_id, _ = where

    def found() -> list[int]:
        return [child.pid for child in reaper.children() if (child.job_id, child.stage) == where]

    wait_until(lambda: bool(found()) or server.job(job_id)["status"] == "ready", 60)
    time.sleep(proof.random.choice((0.0, proof.random.uniform(0, 0.4))))
    if victim == "server":
        server.kill()
        server.start()
    elif pids := found():
        os.kill(pids[0], signal.SIGKILL)
