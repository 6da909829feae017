"""U3, D4, D5: a crash costs one attempt of one job, poison is contained, a cancel stops the CPU."""

import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from random import Random
from typing import Any

import psutil
import pytest

from tests.integration.remains import assert_clean
from tests.integration.server import EmbeddedServer
from tests.promises.ledger import Proof, sizes
from tests.promises.reaper import STAGES, Order, Reaper, wait_until

SIGNALS = (signal.SIGSEGV, signal.SIGABRT, signal.SIGKILL, signal.SIGSTOP)
DELAYS_S = (0.0, 0.2)
FEW = (
    ("probe", signal.SIGSEGV, 0.0),
    ("probe", signal.SIGKILL, 0.0),
    ("encode", signal.SIGABRT, 0.1),
    ("encode", signal.SIGKILL, 0.0),
    ("encode", signal.SIGSEGV, 0.0),
    ("audio", signal.SIGSTOP, 0.0),
    ("audio", signal.SIGSEGV, 0.0),
    ("audio", signal.SIGABRT, 0.0),
    ("package", signal.SIGKILL, 0.0),
)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedServer]:
    """A server on which a media process that says nothing for 3 seconds counts as hung."""
    server = EmbeddedServer(tmp_path_factory.mktemp("server"), SF_SANDBOX__STALL_S="3", SF_WORKER__CONCURRENCY="2")
    yield server.start()
    server.close()


@pytest.fixture
def reaper(server: EmbeddedServer, proof: Proof) -> Iterator[Reaper]:
    with Reaper(server.data_dir, server.pid, Random(proof.seed)).at_work() as reaper:
        yield reaper


def send(server: EmbeddedServer, reaper: Reaper, clip: Path, order: Order | None) -> str:
    """Upload a clip under an order that is known before its first process can start."""
    job_id = str(server.upload(clip)["job_id"])
    if order:
        reaper.orders[job_id] = order
    return job_id


def assert_untouched(job: dict[str, Any]) -> None:
    assert job["status"] == "ready", job
    assert [stage["crashes"] for stage in job["stages"]] == [0] * len(job["stages"])


def assert_quarantined(job: dict[str, Any], order: Order) -> bool:
    """Check that the third crash, and no other, ended the job and says what it died of; tell whether there was one.

    A process can be over before a late blow lands; then the job went on.
    """
    crashes = max(stage["crashes"] for stage in job["stages"])
    assert job["status"] == ("failed" if crashes == 3 else "ready"), (job, order)
    if crashes < 3:
        return False
    said = "made no progress" if order.number is signal.SIGSTOP else order.number.name
    assert job["error"]["code"] == "worker_crashed", job
    assert said in job["error"]["detail"], job["error"]
    assert order.stage in job["error"]["detail"], job["error"]
    return True


@pytest.mark.promise("U3")
@sizes(1, 25)
def test_a_crash_costs_one_job(
    server: EmbeddedServer, reaper: Reaper, proof: Proof, tiny_clip: Path, long_clip: Path, size: int
) -> None:
    server_born = psutil.Process(server.pid).create_time()
    for turn in range(size):
        points = [(stage, number, delay) for stage in STAGES for number in SIGNALS for delay in DELAYS_S]
        orders = [Order(stage, number, delay_s=delay) for stage, number, delay in (points if size > 1 else FEW)]
        sent = [(order, send(server, reaper, tiny_clip, order)) for order in orders]
        good = [send(server, reaper, clip, None) for clip in (tiny_clip, long_clip)]
        ended = 0
        for order, job_id in sent:
            with proof.cell(f"{order.number.name} in {order.stage} within {order.delay_s} s, turn {turn}"):
                ended += assert_quarantined(server.wait(job_id, timeout_s=300), order)
        assert ended >= len(orders) // 2, (ended, reaper.hits)
        with proof.cell(f"the jobs beside them, turn {turn}"):
            for job_id in good:
                assert_untouched(server.wait(job_id))
            assert psutil.Process(server.pid).create_time() == server_born
            assert_clean(server.data_dir)


@pytest.mark.promise("U3")
@sizes(4, 60)
def test_one_crash_is_made_good(
    server: EmbeddedServer, reaper: Reaper, proof: Proof, tiny_clip: Path, size: int
) -> None:
    chosen = [(proof.random.choice(STAGES), proof.random.choice(SIGNALS[:3])) for _ in range(size)]
    orders = [Order(stage, number, times=1, delay_s=0.1) for stage, number in chosen]
    sent = [(order, send(server, reaper, tiny_clip, order)) for order in orders]
    for order, job_id in sent:
        with proof.cell(f"one {order.number.name} in {order.stage}"):
            job = server.wait(job_id, timeout_s=300)
            assert job["status"] == "ready", job
            assert sum(stage["crashes"] for stage in job["stages"]) <= order.done
    with proof.cell("nothing is left"):
        assert_clean(server.data_dir)


@pytest.mark.promise("U3")
@sizes(1, 20)
def test_the_server_outlives_its_fork_server(
    server: EmbeddedServer, reaper: Reaper, proof: Proof, long_clip: Path, size: int
) -> None:
    for _ in range(size):
        job_id = server.upload(long_clip)["job_id"]
        with proof.cell("fork server killed"):
            wait_until(lambda: any(child.stage == "encode" for child in reaper.children()), 60)
            running = reaper.children()[0].pid
            parent = psutil.Process(running).parent()
            assert parent is not None
            assert parent.pid != server.pid
            os.kill(parent.pid, signal.SIGKILL)
            job = server.wait(job_id)
            assert job["status"] == "ready", job
            assert_clean(server.data_dir)


@pytest.mark.promise("D4")
@sizes(4, 50)
def test_poison_is_contained(server: EmbeddedServer, reaper: Reaper, proof: Proof, tiny_clip: Path, size: int) -> None:
    poison = Order("encode", signal.SIGSEGV)
    poisoned = send(server, reaper, tiny_clip, poison)
    good = [send(server, reaper, tiny_clip, None) for _ in range(size)]
    for job_id in good:
        with proof.cell("a good video beside poison"):
            assert_untouched(server.wait(job_id, timeout_s=600))
    with proof.cell("the poison"):
        assert assert_quarantined(server.wait(poisoned), poison)
        assert_clean(server.data_dir)


@pytest.mark.promise("D5")
@sizes(4, 60)
def test_a_cancel_stops_the_cpu_within_two_seconds(
    server: EmbeddedServer, reaper: Reaper, proof: Proof, long_clip: Path, size: int
) -> None:
    for number in range(size):
        stage = STAGES[number % len(STAGES)]
        with proof.cell(f"cancel in {stage}"):
            job_id = server.upload(long_clip)["job_id"]
            assert cancel_took_s(server, reaper, (job_id, stage), proof.random.uniform(0, 0.2)) <= 2
            assert server.job(job_id)["status"] in {"cancelled", "ready"}
            assert_clean(server.data_dir)


def cancel_took_s(server: EmbeddedServer, reaper: Reaper, where: tuple[str, str], pause_s: float) -> float:
    """Cancel a job once it is in a stage; return how long any of its processes lived on.

    One that was too quick has ended: what still runs then is what no job waits for.
    """
    job_id, stage = where
    wait_until(lambda: busy(reaper, job_id, stage) or is_final(server, job_id), 60)
    time.sleep(pause_s)
    answer = server.http.post(f"/api/jobs/{job_id}/cancel")
    assert answer.status_code in {204, 409}, answer.text
    if answer.status_code == 409:
        return 0.0
    return wait_until(lambda: not busy(reaper, job_id, None), 10)


def busy(reaper: Reaper, job_id: str, stage: str | None) -> bool:
    return any(child.job_id == job_id and stage in {None, child.stage} for child in reaper.children())


def is_final(server: EmbeddedServer, job_id: str) -> bool:
    return server.job(job_id)["status"] in {"ready", "failed", "cancelled"}


@pytest.mark.promise("D5")
@sizes(1, 10)
def test_a_graceful_stop_charges_nobody(proof: Proof, tmp_path: Path, long_clip: Path, size: int) -> None:
    server = EmbeddedServer(tmp_path / "data").start()
    try:
        job_id = server.upload(long_clip)["job_id"]
        for _ in range(size):
            with proof.cell("graceful stop"):
                time.sleep(proof.random.uniform(0.1, 0.8))
                assert server.stop() <= 10
                server.start()
                counted = [(t["crashes"], t["losses"]) for t in server.explain(job_id)["tasks"] if t["state"] == "done"]
                assert set(counted) <= {(0, 0)}
        with proof.cell("the job they stopped"):
            assert_untouched(server.wait(job_id))
            assert {task["attempts"] for task in server.explain(job_id)["tasks"] if task["state"] == "done"} == {1}
    finally:
        server.close()
