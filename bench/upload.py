"""How fast a big upload is taken, against `cp`, fsync and sha256sum of the same file; what it costs in memory."""

import argparse
import os
import statistics
import subprocess
import tempfile
import time
from pathlib import Path

from bench.clients import post_file
from bench.measuring import Peak, Row, print_table, rss_bytes, spread
from tests.integration.server import EmbeddedServer

_MP4_HEAD = bytes.fromhex("00000018667479706d70343200000000") + b"mp42isom"


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pairs", type=int, default=3)
    parser.add_argument("--gb", type=float, default=2.0)
    arguments, _ = parser.parse_known_args()
    size = int(arguments.gb * 1e9)
    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        file = Path(folder) / "big.mp4"
        _fill(file, size)
        server = EmbeddedServer(Path(folder) / "data", SF_LIMITS__MAX_UPLOAD_BYTES=str(2 * size)).start()
        try:
            _fill(file.with_name("small.mp4"), 1 << 20)
            _post(server, file.with_name("small.mp4"))
            print_table(f"upload: {arguments.gb:g} GB in one POST", _rows(server, file, arguments.pairs))
        finally:
            server.close()


def _fill(path: Path, size: int) -> None:
    """Write a file that begins like an MP4 and goes on as noise, so that nothing can be saved on it."""
    noise = os.urandom(1 << 20)
    with path.open("wb") as file:
        file.write(_MP4_HEAD)
        for n in range(size >> 20):
            file.write(n.to_bytes(8, "big") + noise[8:])


def _rows(server: EmbeddedServer, file: Path, pairs: int) -> list[Row]:
    taken: list[tuple[float, float]] = []
    answers: list[float] = []
    growth: list[int] = []
    for turn in range(pairs):
        copied = _copy(file) if turn % 2 == 0 else 0.0
        before = rss_bytes(server.pid)
        with Peak(lambda: rss_bytes(server.pid)) as peak:
            wall_s, answer_s = _post(server, file)
        copied = copied or _copy(file)
        taken.append((copied, wall_s))
        answers.append(answer_s)
        growth.append(peak.value - before)
    share = [a / b for a, b in taken]
    rate = file.stat().st_size / statistics.median(b for _, b in taken) / 1e6
    return [
        Row(
            "throughput, of cp + fsync + sha256sum",
            f"{spread(share)} × ({rate:.0f} MB/s)",
            "≥ 0.70 ×",
            statistics.median(share) >= 0.7,
        ),
        Row("answer after the last byte", f"{max(answers) * 1000:.0f} ms at most", "< 200 ms", max(answers) < 0.2),
        Row("growth of the server's RSS", f"{max(growth) / 1e6:.1f} MB at most", "< 40 MB", max(growth) < 40e6),
    ]


def _copy(file: Path) -> float:
    target = file.with_name("copy")
    started = time.monotonic()
    subprocess.run(["cp", "--reflink=never", file, target], check=True)
    with target.open("rb") as copied:
        os.fsync(copied.fileno())
    subprocess.run(["sha256sum", target], check=True, stdout=subprocess.DEVNULL)
    wall_s = time.monotonic() - started
    target.unlink()
    return wall_s


def _post(server: EmbeddedServer, file: Path) -> tuple[float, float]:
    """Send the file and remove it again; return seconds in all and for the answer."""
    posted = post_file(server.url, server.token, file)
    server.http.delete(f"/api/videos/{posted.answer['video_id']}", params={"purge": 1})
    return posted.answered_at - posted.began_at, posted.answered_at - posted.sent_at


if __name__ == "__main__":
    main()
