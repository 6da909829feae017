"""The plan of an encode: pure decisions from what the probe found, each with its reason."""

from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path

import numpy as np

from sfserver.media.contract import (
    AudioPlan,
    EncodePlan,
    MediaLimits,
    ProbeResult,
    Rational,
    SourceFacts,
    StorageBudget,
)
from sfserver.media.encode.audio import plan_audio
from sfserver.media.encode.budget import ALLOWANCE_BYTES, SOURCE_SHARE, expect_bytes
from sfserver.media.encode.chunks import OPENING_GOPS, gop_count, gop_length, opening_length, plan_chunks
from sfserver.media.encode.first_picture import expect_from_first_picture
from sfserver.media.encode.forecast import KeyframeFloor, drop_rungs, keyframe_floor, total_bytes
from sfserver.media.encode.ladder import build_ladder
from sfserver.media.sandbox.calls import sandboxed
from sfserver.media.sandbox.throttle import Report
from sfserver.media.source.grid import Grid, Times
from sfserver.media.source.index import keyframe_slots, write_index
from sfserver.media.source.open import media_errors
from sfserver.media.source.probe import Examined, examine
from sfserver.media.source.timeline import FRAME_SAMPLES


@dataclass(frozen=True)
class ProbeArguments:
    """What `run_probe` needs."""

    source: Path
    limits: MediaLimits


@sandboxed
def run_probe(asked: ProbeArguments, workdir: Path, report: Report) -> ProbeResult:
    """Probe one upload."""
    return probe(asked.source, workdir, asked.limits, report)


def probe(source: Path, workdir: Path, limits: MediaLimits, report: Report) -> ProbeResult:
    """Examine the file, write its frame index into `workdir`, and plan the encode.

    Raises `UnsupportedMediaError`, `DamagedMediaError`, and `MediaLimitError` for each limit of `MediaLimits`.
    """
    found = examine(source, limits, report)
    index_file = write_index(found.grid, found.index, found.picture.sequential, workdir)
    plan = make_plan(found)
    with media_errors():
        expected = expect_from_first_picture(found.first_frame, found.index, found.facts.video.codec, plan)
    plan = replace(plan, budget=expect_bytes(plan.budget, expected))
    return ProbeResult(found.facts, plan, index_file, found.warnings)


def make_plan(found: Examined) -> EncodePlan:
    """Decide rate, ladder, chunks and sound of what was found."""
    fps, gop = found.grid.fps, gop_length(found.grid.fps)
    keyframes = [] if found.picture.sequential else keyframe_slots(found.index, found.time_base, fps)
    opening = 0 if found.picture.sequential else OPENING_GOPS
    chunks = plan_chunks(found.grid.frames, gop, keyframes, _bytes_per_frame(found), opening_gops=opening)
    timescale = track_timescale(fps)
    origin = int(found.index.times[0]) * found.time_base
    stream, sound = found.audio_stream_index, found.facts.audio
    audio = None if stream is None or sound is None else plan_audio(sound, stream, chunks, fps, gop)
    budget = _make_budget(found, audio, len(chunks))
    ladder, reasons = build_ladder(found.facts.video.display_width, found.facts.video.display_height, fps, gop)
    floor = _measure_floor(found, gop)
    rungs, dropped = drop_rungs(ladder, floor, budget)
    return EncodePlan(
        fps=Rational(fps.numerator, fps.denominator),
        timescale=timescale,
        frame_ticks=int(timescale / fps),
        gop_frames=gop,
        frames=found.grid.frames,
        video_stream_index=found.video_stream_index,
        rungs=rungs,
        chunks=chunks,
        audio=audio,
        reasons=[*_explain_grid(found.facts, found.grid), *reasons, *dropped],
        opening_gops=opening_length(chunks, gop) if opening else 0,
        picture=found.picture,
        origin=Rational(origin.numerator, origin.denominator),
        budget=replace(budget, expected_bytes=int(total_bytes(rungs, floor))),
    )


def _measure_floor(found: Examined, gop: int) -> KeyframeFloor:
    shown, frames = found.facts.video, found.grid.frames
    pixels, length_s = shown.display_width * shown.display_height, float(frames / found.grid.fps)
    return keyframe_floor(found.index, gop_count(frames, gop), pixels, length_s)


def _make_budget(found: Examined, audio: AudioPlan | None, chunks: int) -> StorageBudget:
    sound_bytes = 0 if audio is None else audio.bitrate_bps * audio.frames * FRAME_SAMPLES // audio.sample_rate // 8
    allowed = SOURCE_SHARE * (found.index.video_bytes + found.index.audio_bytes) + ALLOWANCE_BYTES - sound_bytes
    return StorageBudget(max(0, allowed), int(found.index.sizes.sum()), chunks)


def _bytes_per_frame(found: Examined) -> Times:
    """Return the source's bytes behind each output frame; those of dropped frames count for the next one."""
    total = np.cumsum(found.index.sizes)[found.grid.shown]
    return np.diff(total, prepend=0)


def track_timescale(fps: Fraction) -> int:
    """Return a timescale in which a frame is a whole number of ticks: 90000, or the rate's numerator × a power of 2."""
    if 90_000 % fps.numerator == 0:
        return 90_000
    scale = fps.numerator
    while scale < 10_000:
        scale *= 2
    return scale


def _explain_grid(facts: SourceFacts, grid: Grid) -> list[str]:
    kind = "constant" if grid.constant_rate else "variable"
    shown = f"{float(grid.fps):.3f} frames a second from a {kind}-rate source of {facts.video.average_fps:.3f}"
    repeated = grid.frames - len(set(grid.shown.tolist()))
    dropped = facts.video.frames - (grid.frames - repeated)
    return [f"{shown}: {grid.frames} frames, {repeated} repeated, {dropped} dropped"]
