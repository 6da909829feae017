"""D8: full disks, broken disks and exhausted descriptors lose nothing: what they meet waits, says so, and goes on."""

import errno
import hashlib
import resource
import shutil
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil
import pytest

from tests.integration.remains import assert_clean
from tests.integration.server import EmbeddedServer
from tests.promises.ledger import Proof, sizes
from tests.promises.reaper import STAGES, wait_until
from tests.requirements import mounted_tmpfs

pytestmark = pytest.mark.promise("D8")
DISK_BYTES = 400 << 20
HOLD_S = 3.0
SETTINGS = {"SF_WORKER__BACKOFF_MAX_S": "1", "SF_STORAGE__RESERVE_BYTES": str(8 << 20)}


class FaultyServer(EmbeddedServer):
    """A server whose object folder fails with an error number while `broken` exists."""

    def __init__(self, data_dir: Path, number: int) -> None:
        super().__init__(data_dir, **SETTINGS)
        self.broken = data_dir.parent / "broken"
        self._number = number

    def command(self) -> list[str]:
        module = ["-m", "tests.promises.faulty_server", str(self._number), str(self.broken)]
        return [sys.executable, *module, "up", "--data-dir", str(self.data_dir), "--port", "0"]


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    with mounted_tmpfs(tmp_path / "disk", DISK_BYTES) as folder:
        yield folder


@contextmanager
def filled(disk: Path, leave_bytes: int) -> Iterator[None]:
    """Fill a disk but for `leave_bytes` while the block runs."""
    filler = disk / "filler"
    with filler.open("wb", buffering=0) as file:
        while (free := psutil.disk_usage(str(disk)).free) > leave_bytes:
            file.write(bytes(min(1 << 20, free - leave_bytes)))
    try:
        yield
    finally:
        filler.unlink()


def begins(server: EmbeddedServer, job_id: str, stage: str) -> bool:
    """Whether a stage of a job has begun (or the job is over)."""
    job = server.job(job_id)
    states = {each["name"]: each["state"] for each in job["stages"]}
    return states.get(stage) not in {None, "waiting"} or is_over(job)


def is_over(job: dict[str, Any]) -> bool:
    return job["status"] in {"ready", "failed", "cancelled"}


def assert_whole(server: EmbeddedServer, accepted: dict[str, Any], clip: Path) -> None:
    """Check that a job became ready, that nobody was charged for it, and that the source is what was sent."""
    job = server.wait(accepted["job_id"], timeout_s=60)
    assert job["status"] == "ready", job
    assert job["waiting"] is None
    assert [(stage["name"], stage["crashes"]) for stage in job["stages"] if stage["crashes"]] == []
    source = server.http.get(f"/api/stream/{accepted['video_id']}/source").content
    assert hashlib.sha256(source).digest() == hashlib.sha256(clip.read_bytes()).digest()
    assert_clean(server.data_dir)


@sizes(3, 80)
def test_a_full_disk_delays_and_loses_nothing(proof: Proof, disk: Path, long_clip: Path, size: int) -> None:
    """Fill the disk at a stage, to a level; whatever had been acknowledged is whole when there is room again."""
    server = EmbeddedServer(disk / "data", **SETTINGS).start()
    levels = [0, 4 << 10, 64 << 10, 1 << 20, 4 << 20, 12 << 20]
    try:
        for number in range(size):
            stage, level = STAGES[number % len(STAGES)], levels[(number // len(STAGES) + number) % len(levels)]
            with proof.cell(f"{level} bytes left at {stage}"):
                accepted = server.upload(long_clip)
                wait_until(lambda: begins(server, accepted["job_id"], stage), 60)  # noqa: B023 - called at once
                with filled(disk, level):
                    hold(server, accepted["job_id"])
                    second = server.http.post("/api/upload", files={"file": ("x.mp4", long_clip.read_bytes())})
                    assert second.status_code in {503, 507} | ({201} if level > 64 << 10 else set()), second.text
                assert_whole(server, accepted, long_clip)
                if second.status_code == 201:
                    assert_whole(server, second.json(), long_clip)
    finally:
        server.close()


def test_a_full_disk_is_said(proof: Proof, disk: Path, long_clip: Path) -> None:
    """A job that waits for room names what it waits for, and so does health."""
    server = EmbeddedServer(disk / "data", **SETTINGS).start()
    try:
        with proof.cell("said"):
            accepted = server.upload(long_clip)
            wait_until(lambda: begins(server, accepted["job_id"], "encode"), 60)
            with filled(disk, 0):
                wait_until(lambda: server.job(accepted["job_id"])["waiting"] or not health(server)["ok"], 30)
                assert not health(server)["ok"]
                wait_until(lambda: server.job(accepted["job_id"])["waiting"] is not None, 60)
                assert server.job(accepted["job_id"])["status"] == "processing"
            assert_whole(server, accepted, long_clip)
            assert health(server)["ok"]
    finally:
        server.close()


@pytest.mark.parametrize("number", [errno.EIO, errno.EROFS, errno.ENOSPC])
@sizes(1, 12)
def test_a_broken_disk_delays_and_loses_nothing(
    proof: Proof, tmp_path: Path, long_clip: Path, number: int, size: int
) -> None:
    server = FaultyServer(tmp_path / "data", number)
    server.start()
    try:
        for turn in range(size):
            stage = STAGES[(turn + number) % len(STAGES)]
            with proof.cell(f"{errno.errorcode[number]} at {stage}"):
                accepted = server.upload(long_clip)
                wait_until(lambda: begins(server, accepted["job_id"], stage), 60)  # noqa: B023
                server.broken.touch()
                hold(server, accepted["job_id"])
                assert not health(server)["ok"]
                server.broken.unlink()
                assert_whole(server, accepted, long_clip)
    finally:
        server.close()


@sizes(1, 12)
def test_no_descriptors_left_delays_and_loses_nothing(proof: Proof, tmp_path: Path, long_clip: Path, size: int) -> None:
    server = EmbeddedServer(tmp_path / "data", **SETTINGS).start()
    process = psutil.Process(server.pid)
    soft, hard = process.rlimit(resource.RLIMIT_NOFILE)
    try:
        for turn in range(size):
            stage = STAGES[turn % len(STAGES)]
            with proof.cell(f"EMFILE at {stage}"):
                accepted = server.upload(long_clip)
                wait_until(lambda: begins(server, accepted["job_id"], stage), 60)  # noqa: B023
                process.rlimit(resource.RLIMIT_NOFILE, (process.num_fds(), hard))
                time.sleep(HOLD_S)
                process.rlimit(resource.RLIMIT_NOFILE, (soft, hard))
                assert_whole(server, accepted, long_clip)
    finally:
        server.close()


def hold(server: EmbeddedServer, job_id: str) -> None:
    """Let trouble last; no job may fail of it."""
    deadline = time.monotonic() + HOLD_S
    while time.monotonic() < deadline:
        assert server.job(job_id)["status"] in {"queued", "processing", "ready"}
        time.sleep(0.2)


def health(server: EmbeddedServer) -> dict[str, Any]:
    storage: dict[str, Any] = server.http.get("/api/health").json()["storage"]
    return storage


def test_a_work_folder_that_cannot_be_written_is_said(proof: Proof, tmp_path: Path, long_clip: Path) -> None:
    """The store is well and the work waits: health is degraded and names what is missing."""
    server = EmbeddedServer(tmp_path / "data", **SETTINGS).start()
    work = server.data_dir / "work"
    try:
        with proof.cell("work/ is a file"):
            shutil.rmtree(work, ignore_errors=True)
            work.touch()
            accepted = server.upload(long_clip)
            wait_until(lambda: server.job(accepted["job_id"])["waiting"] is not None, 30)
            told = server.http.get("/api/health").json()
            assert (told["status"], told["storage"]["ok"], told["tasks"]["ok"]) == ("degraded", True, False)
            assert "work" in told["tasks"]["detail"]
            work.unlink()
            assert_whole(server, accepted, long_clip)
            assert server.http.get("/api/health").json()["status"] == "ok"
    finally:
        server.close()
