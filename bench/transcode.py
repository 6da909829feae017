"""What half a minute of 1080p30 costs at default settings: our whole pipeline against one ffmpeg command, paired.

And the quality at equal size.

(a) the same x264 parameters, (b) plain `-preset veryfast`, (c) memory and disk. `--pairs N`, `--no-quality`.
"""

import argparse
import os
import sqlite3
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from bench import ffmpeg, quality
from bench.material import film
from bench.measuring import Cost, Peak, Row, folder_bytes, print_table, ratio_row, run_command, tree_cpu_s
from sfserver.media.contract import MediaLimits, ProbeResult
from sfserver.media.encode.plan import probe
from tests.integration.server import EmbeddedServer

SECONDS = 30.0
# The defaults, which the test server shortens.
_SETTINGS = {"SF_WORKER__LEASE_S": "30", "SF_WORKER__BEAT_S": "10", "SF_WORKER__SWEEP_S": "10"}


@dataclass(frozen=True)
class PipelineRun:
    """One video through the server: all of it, its encode tasks alone, bytes made and the most bytes on disk."""

    cost: Cost
    encode_cpu_s: float
    peak_rss_bytes: int
    output_bytes: int
    peak_disk_bytes: int


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pairs", type=int, default=3)
    parser.add_argument("--no-quality", action="store_true")
    arguments, _ = parser.parse_known_args()
    if not ffmpeg.available():
        print("bench.transcode needs an ffmpeg on PATH to compare with", file=sys.stderr)
        return
    source = film()
    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        probed = probe(source, Path(folder), MediaLimits(), lambda _: None)
        print_table(
            "transcode: 30 s of 1080p30 to three rungs", _cost_rows(source, probed, Path(folder), arguments.pairs)
        )
    if not arguments.no_quality:
        print_table("transcode: quality at the size of plain veryfast, CRF 23", _quality_rows(source, probed))


def _cost_rows(source: Path, probed: ProbeResult, folder: Path, pairs: int) -> list[Row]:
    rungs = probed.plan.rungs
    commands = {
        name: ffmpeg.command(source, rungs, [options(rung, rung.maxrate_bps // 1000) for rung in rungs], folder)
        for name, options in (("same", ffmpeg.same_settings), ("veryfast", ffmpeg.plain_veryfast))
    }
    ours: list[PipelineRun] = []
    theirs: dict[str, list[Cost]] = {"same": [], "veryfast": []}
    server = EmbeddedServer(folder / "data", **_SETTINGS).start()
    try:
        steps: list[Callable[[], object]] = [
            lambda: theirs["same"].append(run_command(commands["same"])),
            lambda: ours.append(run_pipeline(server, source)),
            lambda: theirs["veryfast"].append(run_command(commands["veryfast"])),
        ]
        for turn in range(pairs):
            # Turn about, so that what drifts over the minutes favours nobody.
            for step in steps if turn % 2 == 0 else steps[::-1]:
                step()
    finally:
        server.close()
    return [*_ratio_rows(ours, theirs), *_resource_rows(ours, source)]


def run_pipeline(server: EmbeddedServer, source: Path) -> PipelineRun:
    """Put a video through a running server and remove it again."""
    before, held = tree_cpu_s(server.pid), folder_bytes(server.data_dir)
    with Peak(lambda: folder_bytes(server.data_dir), interval_s=0.5) as disk:
        started = time.time()
        accepted = server.upload(source)
        job = _wait(server, accepted["job_id"])
    wall_s = datetime.fromisoformat(job["finished_at"]).timestamp() - started
    cost = Cost(wall_s, tree_cpu_s(server.pid) - before)
    tasks = server.explain(accepted["job_id"])["tasks"]
    encode_cpu_s = sum(task["cpu_s"] for task in tasks if task["kind"] == "encode")
    peak_rss, made = _peak_rss_bytes(server.data_dir), folder_bytes(server.data_dir / "objects" / "video")
    server.http.delete(f"/api/videos/{accepted['video_id']}", params={"purge": 1})
    while folder_bytes(server.data_dir / "objects"):
        time.sleep(1)  # the sweeper empties the garbage
    return PipelineRun(cost, encode_cpu_s, peak_rss, made, disk.value - held)


def _wait(server: EmbeddedServer, job_id: str) -> dict[str, Any]:
    """Ask once a second, as a client without events would: asking costs the server CPU, too."""
    while (job := server.job(job_id))["status"] in {"queued", "processing"}:
        time.sleep(1)
    assert job["status"] == "ready", job
    return job


def _ratio_rows(ours: list[PipelineRun], theirs: dict[str, list[Cost]]) -> list[Row]:
    same, veryfast = theirs["same"], theirs["veryfast"]
    encode = [(run.encode_cpu_s, cost.cpu_s) for run, cost in zip(ours, same, strict=True)]
    cpu = [(run.cost.cpu_s, cost.cpu_s) for run, cost in zip(ours, same, strict=True)]
    wall = [(run.cost.wall_s, cost.wall_s) for run, cost in zip(ours, same, strict=True)]
    stock = [(run.cost.cpu_s, cost.cpu_s) for run, cost in zip(ours, veryfast, strict=True)]
    stock_wall = [(run.cost.wall_s, cost.wall_s) for run, cost in zip(ours, veryfast, strict=True)]
    mission = [(run.cost.wall_s, SECONDS) for run in ours]
    return [
        Row(
            "CPU: ours / ffmpeg, same settings / ffmpeg, veryfast",
            " / ".join(
                f"{min(costs):.1f} s"
                for costs in ([r.cost.cpu_s for r in ours], [c.cpu_s for c in same], [c.cpu_s for c in veryfast])
            ),
        ),
        ratio_row("encode tasks' CPU, of ffmpeg with the same settings", encode, 1.05),
        ratio_row("whole pipeline's CPU, of the same", cpu, 1.15),
        ratio_row("upload to ready, wall, of the same", wall, 1.10),
        ratio_row("whole pipeline's CPU, of ffmpeg -preset veryfast", stock, 0.85),
        ratio_row("upload to ready, wall, of ffmpeg -preset veryfast", stock_wall, 1.0),
        ratio_row("upload to ready, wall, of the video's length", mission, 2.0),
    ]


def _resource_rows(ours: list[PipelineRun], source: Path) -> list[Row]:
    peak_rss = max(run.peak_rss_bytes for run in ours)
    # The source itself is stored for good, in the embedded store for once as well as for the worker.
    disk = [(run.peak_disk_bytes - source.stat().st_size, source.stat().st_size + run.output_bytes) for run in ours]
    return [
        Row("biggest media process, RSS", f"{peak_rss / 1e6:.0f} MB", "< 700 MB", peak_rss < 700e6),
        ratio_row("most disk beside the stored source, of source + output", disk, 1.2),
    ]


def _peak_rss_bytes(data_dir: Path) -> int:
    with closing(sqlite3.connect(data_dir / "streamforge.db")) as database:
        return int(database.execute("SELECT max(peak_rss_bytes) FROM tasks").fetchone()[0])


def _quality_rows(source: Path, probed: ProbeResult) -> list[Row]:
    rows = []
    for rung in probed.plan.rungs:
        frames = quality.reference(source, rung, probed.plan.gop_frames, every=3)
        found = quality.compare(frames, rung, probed.plan)
        ssim, xpsnr = found.ours.ssim - found.theirs.ssim, found.ours.xpsnr - found.theirs.xpsnr
        at = f"{rung.name} (CRF {found.crf:.1f}, size {found.size_ratio - 1:+.1%})"
        rows.append(Row(f"{at}: SSIM", f"{found.ours.ssim:.4f} ({ssim:+.4f})", "≥ −0.0020", ssim >= -0.002))
        rows.append(Row(f"{at}: XPSNR", f"{found.ours.xpsnr:.2f} dB ({xpsnr:+.2f})", "≥ −0.30 dB", xpsnr >= -0.3))
    return rows


if __name__ == "__main__":
    os.nice(0)
    main()
