"""From sample tables to all that packaging adds to the stored chunks: heads of progressive files, and measured rates.

No media byte is read or written here.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path

from sfserver.errors import InconsistentChunksError
from sfserver.media.contract import EncodePlan, PackageResult, TrackFacts
from sfserver.media.mp4.joining import join_audio, join_video
from sfserver.media.mp4.movie import Track, audio_track, video_track
from sfserver.media.mp4.segments import (
    Segment,
    SegmentRule,
    average_bps,
    cut_iframes,
    cut_segments,
    peak_bps,
    target_duration_s,
)
from sfserver.media.mp4.tracks import FragmentIndex, TrackTable
from sfserver.media.mp4.virtual import build_head
from sfserver.media.sandbox.calls import sandboxed
from sfserver.media.sandbox.throttle import Report

_LENGTH_BYTES = 4


@dataclass(frozen=True)
class StoredTables:
    """A track as it was recorded: its decoder settings (hex), and a file of its parts' tables.

    `tables` holds each part's packed table behind its length in four bytes, in order.
    """

    name: str
    codec_config: str
    delay_ticks: int
    tables: Path


@dataclass(frozen=True)
class PackageArguments:
    """What `run_package` needs: the plan, a track a rung, and the sound's where there is sound."""

    plan: EncodePlan
    rungs: list[StoredTables]
    audio: StoredTables | None


@sandboxed
def run_package(asked: PackageArguments, workdir: Path, report: Report) -> PackageResult:
    """Write the head of each rung's progressive file and measure the tracks.

    Reports {"progress": 0–1}. Raises InconsistentChunksError when the parts do not make the tracks of the plan.
    """
    plan, result = asked.plan, PackageResult({}, {})
    sound = None if asked.audio is None else _join_sound(plan, asked.audio)
    if asked.audio is not None and sound is not None:
        result.tracks[asked.audio.name] = _measure(plan, sound)
    for done, stored in enumerate(asked.rungs, 1):
        picture = _join_picture(plan, stored)
        head = build_head((picture.track, picture.table), (sound.track, sound.table) if sound else None)
        result.heads[stored.name] = head_name(stored.name)
        (workdir / head_name(stored.name)).write_bytes(head)
        measured = _measure(plan, picture)
        size = len(head) + measured.size_bytes + (int(sound.table.fragment_sizes.sum()) if sound else 0)
        result.tracks[stored.name] = replace(measured, head_bytes=len(head), progressive_bytes=size)
        report({"progress": done / len(asked.rungs)})
    return result


def head_name(rung: str) -> str:
    """Return the file name of the head of a rung's progressive file."""
    return f"{rung}.head"


def write_tables(path: Path, tables: Iterator[bytes]) -> None:
    """Write packed tables as `StoredTables` has them."""
    with path.open("wb") as file:
        for table in tables:
            file.write(len(table).to_bytes(_LENGTH_BYTES) + table)


def segment_rule(plan: EncodePlan) -> SegmentRule:
    """Return how the plan cuts its tracks into segments."""
    return SegmentRule(plan.segment_gops, plan.opening_gops)


@dataclass(frozen=True)
class _Joined:
    """A track whose parts fit together, and the fragments of each part."""

    track: Track
    table: TrackTable
    parts: list[FragmentIndex]


def _join_picture(plan: EncodePlan, stored: StoredTables) -> _Joined:
    parts = list(_read_tables(stored.tables))
    table = join_video(plan, parts, stored.delay_ticks)
    rung = next(rung for rung in plan.rungs if rung.name == stored.name)
    avcc = bytes.fromhex(stored.codec_config)
    track = video_track(rung, plan.timescale, plan.picture, avcc, stored.delay_ticks)
    return _Joined(track, table, [part.index for part in parts])


def _join_sound(plan: EncodePlan, stored: StoredTables) -> _Joined:
    assert plan.audio is not None
    parts = list(_read_tables(stored.tables))
    track = audio_track(plan.audio, bytes.fromhex(stored.codec_config))
    return _Joined(track, join_audio(plan, parts), [part.index for part in parts])


def _read_tables(path: Path) -> Iterator[TrackTable]:
    with path.open("rb") as file:
        while length := file.read(_LENGTH_BYTES):
            try:
                yield TrackTable.unpack(file.read(int.from_bytes(length)))
            except ValueError as error:
                raise InconsistentChunksError(f"{path.stem}: {error}") from error


def _measure(plan: EncodePlan, joined: _Joined) -> TrackFacts:
    """Measure a track over the very segments that are served: no segment reaches beyond its part."""
    rule, timescale = segment_rule(plan), joined.track.timescale
    target_s = target_duration_s(plan.gop_frames, Fraction(plan.fps.num, plan.fps.den), rule)
    segments: list[Segment] = []
    iframes: list[Segment] = []
    gop = 0
    for part in joined.parts:
        segments += cut_segments(part, timescale, rule, first_gop=gop, start=0)
        iframes += cut_iframes(part, timescale, start=0) if joined.track.width else []
        gop += len(part.sizes)
    return TrackFacts(
        size_bytes=int(joined.table.fragment_sizes.sum()),
        average_bps=average_bps(segments),
        peak_bps=peak_bps(segments, target_s),
        iframe_average_bps=average_bps(iframes),
        iframe_peak_bps=peak_bps(iframes, target_s),
    )
