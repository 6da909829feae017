"""A film of hours whose every chunk is recorded and none of which takes room: real tables, over and over.

A few chunks of the film of `bench.material` and all of its sound are really encoded; the tables of their GOPs, one by
one, make up those of any length. Each repeat has sample sizes of its own, or tables and lists would pack too well. The
objects are holes in files, as long as they should be.
"""

import os
from base64 import b64decode, b64encode
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from fractions import Fraction
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from sqlalchemy import insert, update
from sqlalchemy.orm import Session

from bench.material import film
from sfserver.deps import Runtime
from sfserver.infra.clock import db_now
from sfserver.infra.queue.contract import Queue
from sfserver.media.contract import ChunkResult, ChunkSpec, EncodePlan, MediaLimits, ProbeResult, TrackPart
from sfserver.media.encode.audio import encode_audio, gop_bounds, plan_audio
from sfserver.media.encode.chunks import opening_length, plan_chunks
from sfserver.media.encode.plan import probe
from sfserver.media.encode.video import encode_chunk
from sfserver.media.mp4.segments import SegmentRule
from sfserver.media.mp4.tracks import TrackTable
from sfserver.models import Job, JobStage, Task, TaskPart, Track, TrackChunk, Video, new_id
from sfserver.publications import repository as publications
from sfserver.publications import service as tracks
from sfserver.stages.encode import ENCODE, chunk_of, part_name
from sfserver.tasks import lifecycle, pipeline, record, repository
from sfserver.tasks.claim import claim_task
from sfserver.wire.jobs import JobStatus, StageState
from tests.tasks.made import run_of

_ENCODED = (0, 3)  # a chunk of the opening, and the first one after it
Row = dict[str, Any]


@dataclass(frozen=True)
class Sample:
    """What was really encoded: the probe's result, and of each track the tables of its GOPs, and a part."""

    probed: ProbeResult
    gops: dict[str, list[TrackTable]]
    parts: dict[str, TrackPart]


@dataclass(frozen=True)
class LongFilm:
    """A job whose package task waits; `held_back` are rows of the top rung that are not recorded yet."""

    job_id: str
    video_id: str
    chunks: int
    media_bytes: int
    tables_bytes: int
    held_back: list[Row]
    objects: list[Path]

    def untouched(self) -> bool:
        """Whether no chunk was read or written since it was made: reading a file moves its time, writing fills it."""
        found = [path.stat() for path in self.objects]
        return all((each.st_blocks, each.st_atime, each.st_mtime) == (0, 0, 0) for each in found)


def encode_sample(folder: Path) -> Sample:
    """Encode some seconds of the film in every rung, and its sound."""
    source = film()
    probed = probe(source, folder, MediaLimits(), lambda _: None)
    plan, parts = probed.plan, dict[str, list[TrackPart]]()
    for number in _ENCODED:
        made = encode_chunk(
            source, folder / probed.index_file, plan, plan.chunks[number], folder, report=lambda _: None
        )
        for rung, part in made.parts.items():
            parts.setdefault(rung, []).append(part)
    encode_audio(source, plan, folder, lambda _: None, parts.setdefault(tracks.SOUND, []).append)
    gops = {name: [gop for part in some for gop in _gops_of(part)] for name, some in parts.items()}
    return Sample(probed, gops, {name: some[0] for name, some in parts.items()})


def add_long_film(runtime: Runtime, job_id: str, sample: Sample, hours: int, hold_back: int = 0) -> LongFilm:
    """Give a queued job the plan of a film of so many hours and record every chunk of it; packaging is all it lacks."""
    plan = _plan(sample.probed, hours)
    probing = claim_task(runtime, Queue.IO, "bench")
    assert probing is not None
    assert probing.job_id == job_id
    record.record_success(runtime, probing, run_of(replace(sample.probed, plan=plan)))
    with runtime.database.write() as session:
        job = session.get_one(Job, job_id)
        rows = _pictures(session, job, sample, plan) | {tracks.SOUND: _sounds(session, job, sample, plan)}
        for name, mine in rows.items():
            _show(session, job, sample.parts[name], mine)
        top = rows[plan.rungs[0].name]
        kept = {name: mine[1 : len(mine) - (hold_back if mine is top else 0)] for name, mine in rows.items()}
        for mine in kept.values():
            session.execute(insert(TrackChunk), mine)
        _close(session, runtime, job)
        every = [row for mine in rows.values() for row in mine]
        root = runtime.settings.data_dir / "objects"
        return LongFilm(
            objects=[_make_hole(root / row["key"], row["size_bytes"]) for row in every],
            job_id=job_id,
            video_id=job.video_id,
            chunks=len(plan.chunks),
            media_bytes=sum(row["size_bytes"] for row in every),
            tables_bytes=sum(len(row["samples"]) for row in every),
            held_back=top[len(top) - hold_back :],
        )


def add_held_back(runtime: Runtime, row: Row) -> None:
    """Record one more chunk."""
    with runtime.database.write() as session:
        session.execute(insert(TrackChunk), [row])


def _make_hole(path: Path, size: int) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch()
    os.truncate(path, size)
    os.utime(path, (0, 0))
    return path


def _plan(probed: ProbeResult, hours: int) -> EncodePlan:
    """Plan it as the probe would have, with a keyframe of the source at each GOP."""
    plan, sound = probed.plan, probed.facts.audio
    assert plan.audio is not None
    assert sound is not None
    fps, gop = Fraction(plan.fps.num, plan.fps.den), plan.gop_frames
    frames = int(hours * 3600 * fps)
    chunks = plan_chunks(frames, gop, range(0, frames, gop))
    audio = plan_audio(sound, plan.audio.stream_index, chunks, fps, gop)
    return replace(plan, frames=frames, chunks=chunks, audio=audio, opening_gops=opening_length(chunks, gop))


def _pictures(session: Session, job: Job, sample: Sample, plan: EncodePlan) -> dict[str, list[Row]]:
    """Make every encode task done, and return the rows of its chunks by rung, in order."""
    rows: dict[str, list[Row]] = {rung.name: [] for rung in plan.rungs}
    ids, video = _track_ids(session, job), session.get_one(Video, job.video_id)
    fingerprint, done = "0" * 16, StageState.DONE
    for task in repository.tasks_of(session, job.id, ENCODE.kind):
        chunk, task.token, task.state = chunk_of(task.spec), 1, done
        claim, parts = lifecycle.claim_of(task, job, video), dict[str, TrackPart]()
        for rung in chunk.rungs or list(rows):
            first, end = (-(-frame // plan.gop_frames) for frame in (chunk.start_frame, chunk.end_frame))
            table = _repeat(sample.gops[rung], range(first, end))
            part = _part(sample.parts[rung], table, first, part_name(rung, chunk.index))
            rows[rung].append(_row(ids[rung], chunk, ENCODE.key(claim, part.file), table, part))
            parts[rung] = part
        frames = chunk.end_frame - chunk.start_frame
        task.result = ENCODE.result_json(ChunkResult(parts, fingerprint, frames, 0, 0))
    for mine in rows.values():
        mine.sort(key=lambda row: int(row["index"]))
    return rows


def _sounds(session: Session, job: Job, sample: Sample, plan: EncodePlan) -> list[Row]:
    """Make the sound's task done with its parts, and return the rows of their chunks."""
    assert plan.audio is not None
    (task,) = repository.tasks_of(session, job.id, "audio")
    task.token, task.state, task.result = 1, StageState.DONE, {}
    counts = [end - start for start, end in pairwise(gop_bounds(plan, plan.audio))]
    by_count = {len(table.sizes): table for table in sample.gops[tracks.SOUND]}
    rows, parts, track_id = [], [], _track_ids(session, job)[tracks.SOUND]
    for number, (first, end) in enumerate(pairwise([0, *plan.audio.part_ends])):
        table = TrackTable.concatenate([_varied(by_count[counts[gop]], gop) for gop in range(first, end)])
        part = _part(sample.parts[tracks.SOUND], table, first, f"audio.{number}.m4s")
        key = f"video/{job.video_id}/{job.id}/audio-0/1/{part.file}"
        rows.append(_row(track_id, ChunkSpec(number, 0, 0), key, table, part))
        parts.append({"id": new_id(), "task_id": task.id, "index": number, "key": key, "result": asdict(part)})
    session.execute(insert(TaskPart), parts)
    return rows


def _show(session: Session, job: Job, example: TrackPart, rows: list[Row]) -> None:
    """Record the first chunk as its stage would, which settles the decoder; the others are only counted."""
    first = rows[0]
    table = b64encode(first["samples"]).decode()
    index = TrackTable.unpack(first["samples"])
    part = replace(
        example, size_bytes=first["size_bytes"], samples=len(index.sizes), fragments=len(index.fragment_sizes)
    )
    name = next(name for name, track_id in _track_ids(session, job).items() if track_id == first["track_id"])
    tracks.show_chunk(session, job, tracks.NewChunk(name, 0, first["key"], replace(part, table=table)))
    publication = publications.find_publication_of_job(session, job.id)
    assert publication is not None
    rule = SegmentRule(publication.segment_gops, publication.opening_gops)
    track = session.get_one(Track, first["track_id"])
    track.shown_chunks = len(rows)
    track.shown_segments = sum(len(rule.firsts(row["first_gop"], len(row["fragments"]) // 12)) for row in rows)


def _close(session: Session, runtime: Runtime, job: Job) -> None:
    """Say that the stages before packaging are done."""
    job.status, job.started_at, job.playable_at = JobStatus.PROCESSING, db_now(session), db_now(session)
    mine = (JobStage.job_id == job.id, JobStage.kind.in_([ENCODE.kind, "audio"]))
    session.execute(update(JobStage).where(*mine).values(state=StageState.DONE, done=JobStage.tasks))
    session.flush()
    session.expire_all()
    pipeline.open_stages(session, runtime, session.get_one(Job, job.id))
    waiting = Task.state == StageState.WAITING
    assert session.query(Task).where(Task.job_id == job.id, Task.kind == "package", waiting).count() == 1


def _track_ids(session: Session, job: Job) -> dict[str, str]:
    publication = publications.find_publication_of_job(session, job.id)
    assert publication is not None
    return {track.name: track.id for track in publications.tracks_of(session, [publication.id])}


def _row(track_id: str, chunk: ChunkSpec, key: str, table: TrackTable, part: TrackPart) -> Row:
    return {
        "track_id": track_id,
        "index": chunk.index,
        "key": key,
        "start": 0,
        "size_bytes": part.size_bytes,
        "first_gop": part.first_gop,
        "fragments": table.index.pack(),
        "samples": table.pack(),
    }


def _part(example: TrackPart, table: TrackTable, first_gop: int, file: str) -> TrackPart:
    """Return a part as its task keeps it, without its table."""
    return replace(
        example,
        file=file,
        size_bytes=int(table.fragment_sizes.sum()),
        samples=len(table.sizes),
        first_gop=first_gop,
        fragments=len(table.fragment_sizes),
        table="",
    )


def _repeat(gops: Sequence[TrackTable], numbers: range) -> TrackTable:
    return TrackTable.concatenate([_varied(gops[number % len(gops)], number) for number in numbers])


def _varied(gop: TrackTable, number: int) -> TrackTable:
    """Return a GOP whose samples are up to 30 % smaller or larger."""
    factors = np.random.default_rng(number).uniform(0.7, 1.3, len(gop.sizes))
    sizes = np.maximum(1, gop.sizes * factors).astype(np.uint32)
    return replace(gop, sizes=sizes, fragment_sizes=gop.data_starts + np.uint64(sizes.sum(dtype=np.uint64)))


def _gops_of(part: TrackPart) -> Iterator[TrackTable]:
    """Take the table of a part apart, a fragment each."""
    table = TrackTable.unpack(b64decode(part.table))
    ends = np.cumsum(table.fragment_samples).tolist()
    for number, (start, end) in enumerate(pairwise([0, *ends])):
        yield TrackTable(
            table.sizes[start:end],
            table.durations[start:end],
            table.composition_offsets[start:end],
            table.sync[start:end],
            table.fragment_sizes[number : number + 1],
            table.data_starts[number : number + 1],
            table.fragment_samples[number : number + 1],
            table.fragment_ticks[number : number + 1],
        )
