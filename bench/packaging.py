"""What packaging and serving a film of hours cost; its objects are holes in files, so that nobody has to encode it.

Packaging runs as the server does it: a real attempt with a real sandbox, in a process of its own. `--hours 2 12`.
"""

import argparse
import asyncio
import gzip
import json
import logging
import random
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from threading import Event

import structlog
from sqlalchemy import Connection, event

from bench.accounting import moved_by
from bench.gate import first_byte_cpu_s
from bench.long_film import LongFilm, add_held_back, add_long_film, encode_sample
from bench.measuring import Row, print_table, rss_bytes
from bench.runtime import CountingBell, add_job, open_runtime
from sfserver.deps import Runtime
from sfserver.infra.queue.contract import Queue
from sfserver.models import Job, Task, Video
from sfserver.playback.bodies import cut_into_buffers
from sfserver.playback.catalogue import Catalogue, master_playlist
from sfserver.publications.reading import Publication, generation_of, publication_of
from sfserver.roots.worker import make_sandbox
from sfserver.tasks.attempt import Attempt, Bench
from sfserver.tasks.claim import claim_task
from sfserver.wire.jobs import JobStatus

PROMISED = {2: (5.0, 300e6), 12: (30.0, 500e6)}
SEEKS, POLLS, HELD_BACK = 1000, 60, 100
MOST_SEEK_S, MOST_POLL_S = 0.001, 0.002
_BPS = 6_000_000  # of the source, which bounds what a task may write


@dataclass(frozen=True)
class Packaged:
    """One attempt: seconds in all, in the child and in the longest transaction; peaks of memory; bytes moved by all."""

    wall_s: float
    child_s: float
    commit_s: float
    parent_rss: int
    parent_before: int
    child_rss: int
    read: int
    written: int


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--hours", type=int, nargs="+", default=sorted(PROMISED))
    parser.add_argument("--attempt", type=Path, help=argparse.SUPPRESS)
    arguments, _ = parser.parse_known_args()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.ERROR))
    if arguments.attempt:
        print(json.dumps(asdict(attempt(arguments.attempt))))
        return
    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        (scratch := Path(folder) / "sample").mkdir()
        sample = encode_sample(scratch)
        for hours in arguments.hours:
            (data := Path(folder) / f"{hours}h").mkdir()
            runtime = open_runtime(data, CountingBell())
            job_id = add_job(runtime, hours * 3600 * _BPS // 8)
            made = add_long_film(runtime, job_id, sample, hours, HELD_BACK)
            rows = _live_rows(runtime, made)
            rows = [*_package_rows(data, made, hours), *rows, *_serve_rows(runtime, made)]
            print_table(f"packaging: {hours} h in {made.chunks} chunks, {made.media_bytes / 1e9:.1f} GB", rows)
            runtime.database.close()


# Packaging -----------------------------------------------------------------------------------------------------------


def attempt(data: Path) -> Packaged:
    """Claim the package task that waits in a data directory and attempt it; this process is the worker."""
    runtime = open_runtime(data, CountingBell())
    sandbox = make_sandbox(runtime.settings)
    sandbox.start()
    sandbox.walls()  # as the server does: the fork server has loaded everything by then
    claim = claim_task(runtime, Queue.IO, "bench")
    assert claim is not None
    assert claim.kind == "package"
    held, pid = _longest_transaction(runtime), Path("/proc/self")
    before, moved = rss_bytes(int(pid.resolve().name)), moved_by(int(pid.resolve().name))
    (pid / "clear_refs").write_text("5")  # proc(5): begin the peak anew
    started = time.monotonic()
    Attempt(Bench(runtime, sandbox, data / "work", Event()), claim).run()
    wall_s = time.monotonic() - started
    moved = moved_by(int(pid.resolve().name)) - moved
    with runtime.database.read() as session:
        task, job = session.get_one(Task, claim.task_id), session.get_one(Job, claim.job_id)
        assert job.status == JobStatus.READY, (task.error, job.error)
        child_s, child_rss = task.wall_s or 0.0, task.peak_rss_bytes or 0
    return Packaged(
        wall_s, child_s, max(held), _peak_rss_bytes(pid), before, child_rss, read=moved.read, written=moved.written
    )


def _longest_transaction(runtime: Runtime) -> list[float]:
    """Return where the seconds that each transaction holds the one writer's place are noted."""
    held, began = [0.0], [0.0]

    def begin(_connection: Connection) -> None:
        began[0] = time.monotonic()

    def end(_connection: Connection) -> None:
        held.append(time.monotonic() - began[0])

    event.listen(runtime.database.engine, "begin", begin)
    event.listen(runtime.database.engine, "commit", end)
    return held


def _peak_rss_bytes(process: Path) -> int:
    line = next(line for line in (process / "status").read_text().splitlines() if line.startswith("VmHWM"))
    return int(line.split()[1]) << 10


def _package_rows(data: Path, made: LongFilm, hours: int) -> list[Row]:
    command = [sys.executable, "-m", "bench.packaging", "--attempt", str(data)]
    run = subprocess.run(command, check=True, stdout=subprocess.PIPE)
    found = Packaged(**json.loads(run.stdout.splitlines()[-1]))
    heads = sum(path.stat().st_size for path in (data / "objects").rglob("*.head"))
    most_s, most_bytes = PROMISED.get(hours, (float("inf"), float("inf")))
    peak = max(found.parent_rss, found.child_rss)
    return [
        Row("package, wall", _parts(found), f"< {most_s:g} s", found.wall_s < most_s),
        Row("package, peak RSS", _memory(found), f"< {most_bytes / 1e6:.0f} MB, each", peak < most_bytes),
        Row("package, the one writer's place held for", f"{found.commit_s * 1000:.0f} ms at most"),
        Row("package, bytes of all processes", _moved(found, made, heads), "no media byte", made.untouched()),
    ]


def _moved(found: Packaged, made: LongFilm, heads: int) -> str:
    moved = f"read {found.read / 1e6:.1f} MB, written {found.written / 1e6:.1f} MB"
    parts = f"tables {made.tables_bytes / 1e6:.1f} MB, heads {heads / 1e6:.1f} MB"
    return f"{moved} ({parts}); {len(made.objects)} media objects {'un' * made.untouched()}touched"


def _parts(found: Packaged) -> str:
    return f"{found.wall_s:.2f} s ({found.child_s:.2f} s in the child)"


def _memory(found: Packaged) -> str:
    child, parent, before = (size / 1e6 for size in (found.child_rss, found.parent_rss, found.parent_before))
    return f"child {child:.0f} MB, parent {parent:.0f} MB (before: {before:.0f} MB)"


# The list that grows -------------------------------------------------------------------------------------------------


def _live_rows(runtime: Runtime, made: LongFilm) -> list[Row]:
    """Poll the list of the top rung, with nothing new and with one new chunk each time."""
    with runtime.database.read() as session:
        published = generation_of(session, made.video_id, 1)
    catalogue, track = Catalogue(runtime.database), published.pictures[0]
    asked_s = _timed(lambda: catalogue.load_chunks(published, track))
    known, waiting = catalogue.load_chunks(published, track), iter(made.held_back)
    built_s = _timed(lambda: known.playlist("live", packed=False))
    first = f"{_ms(built_s)} on the event loop, {_ms(asked_s)} on a thread"
    rows = [Row(f"live list of {len(known.cuts)} segments, first asked for", first)]
    for is_new in (False, True):
        for packed in (False, True):
            asked, built = list[float](), list[float]()
            for _ in range(POLLS if not is_new else HELD_BACK // 2):
                if is_new:
                    add_held_back(runtime, next(waiting))
                known.asked_at = -1e9  # else what it knows is good for half a second
                asked.append(_timed(lambda: catalogue.load_chunks(published, track)))
                built.append(_timed(lambda packed=packed: known.playlist("live", packed=packed)))  # type: ignore[misc]
            size = len(known.playlist("live", packed=packed))
            rows.append(_poll_row(f"{'gzip' if packed else 'plain'}, {int(is_new)} new", asked, built, size))
    return rows


def _poll_row(name: str, asked: list[float], built: list[float], size: int) -> Row:
    whole = [a + b for a, b in zip(asked, built, strict=True)]
    parts = f"{_ms(statistics.median(built))} on the event loop, {_ms(statistics.median(asked))} on a thread"
    measured = f"{_ms(statistics.median(whole))} ({parts}), p99 {_ms(_p99(whole))}; {size / 1e3:.0f} KB"
    return Row(f"live list, a poll: {name}", measured, "< 2 ms", statistics.median(whole) < MOST_POLL_S)


# What is published ---------------------------------------------------------------------------------------------------


def _serve_rows(runtime: Runtime, made: LongFilm) -> list[Row]:
    with runtime.database.read() as session:
        published = publication_of(session, session.get_one(Video, made.video_id))
    catalogue, top = Catalogue(runtime.database), published.pictures[0]
    cold_s = _timed(lambda: catalogue.load_file(published, top.name))
    file, chosen = catalogue.load_file(published, top.name), random.Random(3)
    starts = [chosen.randrange(file.size) for _ in range(SEEKS)]
    mapped = [
        _timed(lambda start=start: next(cut_into_buffers(file.iter_range(start, file.size))))  # type: ignore[misc]
        for start in starts
    ]
    gate = asyncio.run(first_byte_cpu_s(runtime, published, f"file/{top.name}.mp4", starts))
    return [
        Row(f"progressive file of {file.size / 1e9:.1f} GB, first asked for", f"{cold_s * 1000:.0f} ms on a thread"),
        Row(
            f"{SEEKS} seeks: range to first buffer, on the event loop",
            f"{_ms(statistics.median(mapped))}, p99 {_ms(_p99(mapped))}, worst {_ms(max(mapped))}",
            "< 1 ms",
            statistics.median(mapped) < MOST_SEEK_S,
        ),
        Row(
            f"{SEEKS} seeks: whole request to first byte, CPU of the event loop",
            f"{_ms(statistics.median(gate))}, p99 {_ms(_p99(gate))}, worst {_ms(max(gate))}",
        ),
        *_text_rows(runtime, published),
    ]


def _text_rows(runtime: Runtime, published: Publication) -> list[Row]:
    catalogue = Catalogue(runtime.database)
    for track in (*published.pictures, *([published.sound] if published.sound else [])):
        catalogue.load_chunks(published, track)
    known = catalogue.load_chunks(published, published.pictures[0])
    return [
        _text_row("master, on the event loop", lambda: master_playlist(published, "en").encode()),
        _text_row("VOD list, on a thread at first", lambda: known.playlist("vod", packed=False)),
        _text_row("I-frame list, on a thread at first", lambda: known.playlist("iframes", packed=False)),
        _text_row("MPD, on a thread", lambda: catalogue.load_manifest(published, "../", "en", packed=False)),
    ]


def _text_row(name: str, make: Callable[[], bytes]) -> Row:
    first_s = _timed(make)
    again_s = statistics.median(_timed(make) for _ in range(5))
    text = make()
    sizes = f"{len(text) / 1e3:.1f} KB, {len(gzip.compress(text)) / 1e3:.1f} KB packed"
    return Row(name, f"{sizes}; {_ms(first_s)} at first, {_ms(again_s)} again")


def _timed(action: Callable[[], object]) -> float:
    started = time.perf_counter()
    action()
    return time.perf_counter() - started


def _ms(seconds: float) -> str:
    return f"{seconds * 1000:.3g} ms"


def _p99(values: list[float]) -> float:
    return statistics.quantiles(values, n=100)[98]


if __name__ == "__main__":
    main()
