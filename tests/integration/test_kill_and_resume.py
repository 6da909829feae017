"""SIGKILL at any point of any stage, start again: every accepted job ends ready and recorded work stays (D1)."""

import random
import time
from pathlib import Path

import av
import psutil
import pytest

from tests.integration.remains import assert_clean
from tests.integration.server import EmbeddedServer

SEED = 20260


def decoded_frames(server: EmbeddedServer, video_id: str, quality: str, tmp_path: Path) -> tuple[int, float]:
    """Return the frames and the seconds of sound in what is served."""
    answer = server.http.get(f"/api/stream/{video_id}/{quality}")
    assert answer.status_code == 200
    path = tmp_path / f"{video_id}.mp4"
    path.write_bytes(answer.content)
    with av.open(str(path)) as container:
        frames = sum(1 for _ in container.decode(video=0))
    with av.open(str(path)) as container:
        samples = sum(frame.samples for frame in container.decode(audio=0))
    return frames, samples / 48_000


def children_of(pid: int) -> list[psutil.Process]:
    return psutil.Process(pid).children(recursive=True)


def wait_for_stage(server: EmbeddedServer, job_id: str, stage: str, state: str = "running") -> bool:
    """Wait until `stage` is in `state`; False if the job was faster."""
    while True:
        job = server.job(job_id)
        if any(found["name"] == stage and found["state"] == state for found in job["stages"]):
            return True
        if job["status"] in {"ready", "failed", "cancelled"}:
            return False
        time.sleep(0.01)


@pytest.mark.parametrize("stage", ["probe", "audio", "encode", "package"])
def test_a_kill_in_each_stage_costs_only_unrecorded_work(
    own_server: EmbeddedServer, clip: Path, tmp_path: Path, stage: str
) -> None:
    accepted = own_server.upload(clip)
    assert wait_for_stage(own_server, accepted["job_id"], stage)
    before = {(t["kind"], t["index"]): t for t in own_server.explain(accepted["job_id"])["tasks"]}
    processes = children_of(own_server.pid)
    own_server.kill()
    _gone, alive = psutil.wait_procs(processes, timeout=3)
    assert alive == [], "media processes must not outlive the server"
    own_server.start()
    job = own_server.wait(accepted["job_id"])
    assert job["status"] == "ready", job
    for task in own_server.explain(accepted["job_id"])["tasks"]:
        earlier = before.get((task["kind"], task["index"]))
        if earlier is not None and earlier["state"] == "done":
            assert task["attempts"] == earlier["attempts"], "recorded work was done again"
    frames, sound_s = decoded_frames(own_server, accepted["video_id"], "720p", tmp_path)
    assert frames == 300
    assert abs(sound_s - 10) < 0.1
    assert_clean(own_server.data_dir)


def test_twenty_kills_at_random_moments_lose_nothing(own_server: EmbeddedServer, clip: Path, tmp_path: Path) -> None:
    rng = random.Random(SEED)
    accepted = [own_server.upload(clip, title=f"clip {n}") for n in range(3)]
    for _ in range(20):
        time.sleep(rng.uniform(0.0, 1.2))
        own_server.kill()
        own_server.start()
    for one in accepted:
        job = own_server.wait(one["job_id"])
        assert job["status"] == "ready", (SEED, job)
        assert decoded_frames(own_server, one["video_id"], "360p", tmp_path)[0] == 300
    assert_clean(own_server.data_dir)


def test_work_resumes_within_three_seconds_of_the_start(own_server: EmbeddedServer, clip: Path) -> None:
    accepted = own_server.upload(clip)
    assert wait_for_stage(own_server, accepted["job_id"], "encode")
    own_server.kill()
    own_server.start()
    started = time.monotonic()
    assert wait_for_stage(own_server, accepted["job_id"], "encode") or own_server.job(accepted["job_id"])
    while not any(task["state"] == "running" for task in own_server.explain(accepted["job_id"])["tasks"]):
        assert time.monotonic() - started < 3
        time.sleep(0.05)
    assert own_server.wait(accepted["job_id"])["status"] == "ready"


def test_a_graceful_stop_is_quick_and_charges_no_attempt(own_server: EmbeddedServer, clip: Path) -> None:
    accepted = own_server.upload(clip)
    assert wait_for_stage(own_server, accepted["job_id"], "encode")
    assert own_server.stop() < 10
    assert not (own_server.data_dir / "server.json").exists()
    own_server.start()
    assert own_server.wait(accepted["job_id"])["status"] == "ready"
    tasks = own_server.explain(accepted["job_id"])["tasks"]
    assert {task["attempts"] for task in tasks} == {1}


def test_cancel_stops_the_cpu_within_two_seconds(own_server: EmbeddedServer, clip: Path) -> None:
    accepted = own_server.upload(clip)
    assert wait_for_stage(own_server, accepted["job_id"], "encode")
    assert own_server.http.delete(f"/api/jobs/{accepted['job_id']}").status_code == 204
    time.sleep(2)
    busy = [child for child in children_of(own_server.pid) if child.cpu_percent(interval=0.3) > 20]
    assert busy == []
    assert own_server.job(accepted["job_id"])["status"] == "cancelled"
    assert_clean(own_server.data_dir)
