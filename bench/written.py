"""What a job writes to the disk for each byte that it publishes: a media byte should be written once.

Counted by the kernel (`bench.accounting`): pages that server, fork server and media processes made dirty on a disk. The
database lies in memory (/dev/shm), which counts as no disk; the upload's share is measured beforehand, with noise of
the same size that the probe refuses.
"""

import argparse
import os
import sqlite3
import tempfile
import time
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench import accounting
from bench.accounting import Moved, moved_by
from bench.clients import post_file
from bench.clips import clip
from bench.measuring import Row, folder_bytes, print_table
from tests.integration.server import EmbeddedServer

MEMORY = Path("/dev/shm")
MOST = 1.1
# The defaults, which the test server shortens.
_SETTINGS = {"SF_WORKER__LEASE_S": "30", "SF_WORKER__BEAT_S": "10", "SF_WORKER__SWEEP_S": "10"}
_MP4_HEAD = bytes.fromhex("00000018667479706d70343200000000") + b"mp42isom"


@dataclass(frozen=True)
class Published:
    """Bytes of chunks and heads that players can ask for, and of everything else that was stored beside the source."""

    chunks: int
    heads: int
    others: int

    @property
    def media(self) -> int:
        return self.chunks + self.heads


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=int, default=60)
    arguments, _ = parser.parse_known_args()
    if not MEMORY.is_dir():
        print(f"bench.written keeps the database in {MEMORY}, which is not there")
        return
    source = clip(arguments.seconds)
    with tempfile.TemporaryDirectory(prefix="bench-") as folder, tempfile.TemporaryDirectory(dir=MEMORY) as memory:
        if wrong := accounting.check(Path(folder)):
            print(f"bench.written can't tell: {wrong}")
            return
        database = Path(memory) / "streamforge.db"
        server = EmbeddedServer(Path(folder) / "data", SF_DATABASE__URL=f"sqlite:///{database}", **_SETTINGS).start()
        try:
            noise = _noise(Path(folder) / "noise.mp4", source.stat().st_size)
            uploaded, _ = _put_through(server, noise, "failed")
            moved, video_id = _put_through(server, source, "ready")
        finally:
            server.close()
        published = _published(server.data_dir, database, video_id)
        rows = _rows(moved, uploaded, published, source.stat().st_size)
        rows.append(Row("the database, in memory, at the end", f"{folder_bytes(Path(memory)) / 1e6:.2f} MB"))
        print_table(f"written: {arguments.seconds} s of 1080p30, {published.media / 1e6:.1f} MB published", rows)


def _noise(path: Path, size: int) -> Path:
    """Write a file that begins like an MP4 and is none."""
    path.write_bytes(_MP4_HEAD + os.urandom(size - len(_MP4_HEAD)))
    return path


def _put_through(server: EmbeddedServer, path: Path, end: str) -> tuple[Moved, str]:
    """Upload a file and wait until nothing of its job is left to do; return what was moved for it."""
    before = moved_by(server.pid)
    answer = post_file(server.url, server.token, path).answer
    while _is_busy(job := server.job(answer["job_id"])):
        time.sleep(1)
    assert job["status"] == end, job
    return moved_by(server.pid) - before, answer["video_id"]


def _is_busy(job: dict[str, Any]) -> bool:
    is_open = job["status"] in {"queued", "processing"}
    ready = job["status"] == "ready"
    return is_open or (ready and any(stage["state"] in {"waiting", "running"} for stage in job["stages"]))


def _published(data_dir: Path, database: Path, video_id: str) -> Published:
    objects = data_dir / "objects"
    with closing(sqlite3.connect(database)) as rows:
        of_video = "FROM publications p JOIN tracks t ON t.publication_id = p.id AND p.video_id = ?"
        chunks = "JOIN track_chunks c ON c.track_id = t.id"
        (size,) = rows.execute(f"SELECT sum(c.size_bytes) {of_video} {chunks}", [video_id]).fetchone()
        keys = rows.execute(f"SELECT t.head_key {of_video} WHERE t.head_key IS NOT NULL", [video_id]).fetchall()
    heads = sum((objects / key).stat().st_size for (key,) in keys)
    others = folder_bytes(objects) - folder_bytes(objects / "source") - size - heads
    return Published(size, heads, others)


def _rows(moved: Moved, uploaded: Moved, published: Published, source_bytes: int) -> list[Row]:
    by_job = moved - uploaded
    share = by_job.to_disk / published.media
    calls = by_job.written / published.media
    beside = f"chunks {published.chunks / 1e6:.2f}, heads {published.heads / 1e6:.2f}"
    return [
        Row(
            "written to the disk by the job, of what it published",
            f"{share:.3f} × ({by_job.to_disk / 1e6:.2f} MB; {beside}, others {published.others / 1e6:.2f} MB)",
            f"≤ {MOST} ×",
            share <= MOST,
        ),
        Row("bytes given to write calls, pipes and database included", f"{calls:.3f} ×"),
        Row("the upload beforehand, of the source", f"{uploaded.to_disk / source_bytes:.3f} ×"),
    ]


if __name__ == "__main__":
    main()
