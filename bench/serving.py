"""How fast ranges of the virtual file come, against Starlette's FileResponse of the same bytes under uvicorn."""

import argparse
import os
import random
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import FileResponse, Response
from starlette.routing import Route

from bench.clients import Load, Site, fetch_ranges
from bench.material import film
from bench.measuring import Row, print_table, spread, tree_cpu_s
from tests.integration.server import EmbeddedServer

_FILE = "BENCH_FILE"
_MIB = 1 << 20


def plain_app() -> Starlette:
    """Return the app we are compared with: one file, sent by FileResponse."""

    def send(request: Request) -> Response:
        return FileResponse(os.environ[_FILE])

    return Starlette(routes=[Route("/file", send)])


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pairs", type=int, default=5)
    arguments, _ = parser.parse_known_args()
    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        server = EmbeddedServer(Path(folder) / "data", SF_WORKER__SWEEP_S="600", SF_WORKER__BEAT_S="10").start()
        try:
            accepted = server.upload(film())
            assert server.wait(accepted["job_id"], timeout_s=600)["status"] == "ready"
            print_table("serving: the virtual file over loopback", _rows(server, accepted["video_id"], arguments.pairs))
        finally:
            server.close()


def _rows(server: EmbeddedServer, video_id: str, pairs: int) -> list[Row]:
    path = f"/api/stream/{video_id}/1080p"
    copy = server.data_dir / "copy.mp4"
    copy.write_bytes(server.http.get(path).content)
    ours = Site(server.url + path, f"Authorization: Bearer {server.token}\r\n")
    with _plain_server(copy) as (plain_url, plain_pid):
        plain = Site(plain_url)
        rows = []
        for length in (_MIB, _MIB // 16):
            rows += _compare((ours, server.pid), (plain, plain_pid), _picker(copy.stat().st_size, length), pairs)
        rows += _first_bytes(ours, copy.stat().st_size)
    return rows


def _picker(size: int, length: int) -> Callable[[], tuple[int, int]]:
    chosen = random.Random(3)
    return lambda: (chosen.randrange(size - length), length)


def _compare(
    ours: tuple[Site, int], plain: tuple[Site, int], next_range: Callable[[], tuple[int, int]], pairs: int
) -> list[Row]:
    length = next_range()[1]
    speeds: list[tuple[float, float]] = []
    costs: list[tuple[float, float]] = []
    for turn in range(pairs):
        sides = [ours, plain] if turn % 2 == 0 else [plain, ours]
        seen = {}
        for site, pid in sides:
            before = tree_cpu_s(pid)
            load = fetch_ranges(site, next_range, connections=8, seconds=2)
            seen[site] = load.bytes / load.wall_s, (tree_cpu_s(pid) - before) / load.bytes
        speeds.append((seen[ours[0]][0], seen[plain[0]][0]))
        costs.append((seen[ours[0]][1], seen[plain[0]][1]))
    share = [a / b for a, b in speeds]
    at = f"{length // 1024} KiB ranges, 8 connections"
    rate = statistics.median(a for a, _ in speeds) / 1e6
    return [
        Row(
            f"{at}: throughput, of FileResponse",
            f"{spread(share)} × ({rate:.0f} MB/s)",
            "≥ 0.60 ×",
            statistics.median(share) >= 0.6,
        ),
        Row(f"{at}: server's CPU a byte, of FileResponse", f"{spread([a / b for a, b in costs])} ×"),
    ]


def _first_bytes(site: Site, size: int) -> list[Row]:
    paced = fetch_ranges(site, _picker(size, _MIB), connections=50, seconds=10, pause_s=1.6)
    busy = fetch_ranges(site, _picker(size, _MIB // 16), connections=50, seconds=5)
    p99 = _percentile(paced, 99)
    return [
        Row("first byte, 50 players at 5 Mb/s: p50 / p99", _times(paced), "p99 < 30 ms", p99 < 0.030),
        Row(
            "first byte, 50 connections back to back: p50 / p99",
            f"{_times(busy)} at {len(busy.first_byte_s) / busy.wall_s:.0f}/s",
        ),
    ]


def _percentile(load: Load, percent: int) -> float:
    return statistics.quantiles(load.first_byte_s, n=100)[percent - 1]


def _times(load: Load) -> str:
    return f"{_percentile(load, 50) * 1000:.1f} / {_percentile(load, 99) * 1000:.1f} ms"


@contextmanager
def _plain_server(file: Path) -> Iterator[tuple[str, int]]:
    """Run `plain_app` under uvicorn in a process of its own; yield its URL and process id."""
    port = _free_port()
    command = [sys.executable, "-m", "uvicorn", "bench.serving:plain_app", "--factory", "--port", str(port)]
    command += ["--log-level", "warning", "--no-access-log"]
    with subprocess.Popen(command, env={**os.environ, _FILE: str(file)}) as process:
        try:
            url = f"http://127.0.0.1:{port}/file"
            deadline = time.monotonic() + 20
            while True:
                try:
                    httpx.head(url)
                    break
                except httpx.ConnectError:
                    assert time.monotonic() < deadline, "uvicorn did not start"
                    time.sleep(0.1)
            yield url, process.pid
        finally:
            process.terminate()


def _free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


if __name__ == "__main__":
    main()
