"""The plan of an encode: pure decisions from what the probe found, each with its reason."""

from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

from sfserver.media.contract import EncodePlan, MediaLimits, ProbeResult, Rational, SourceFacts
from sfserver.media.encode.audio import plan_audio
from sfserver.media.encode.chunks import gop_length, plan_chunks
from sfserver.media.encode.ladder import build_ladder
from sfserver.media.sandbox.calls import sandboxed
from sfserver.media.sandbox.reports import Report
from sfserver.media.source.grid import Grid
from sfserver.media.source.index import keyframe_slots, write_index
from sfserver.media.source.probe import Examined, examine


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
    return ProbeResult(found.facts, make_plan(found), index_file, found.warnings)


def make_plan(found: Examined) -> EncodePlan:
    """Decide rate, ladder, chunks and sound of what was found."""
    fps, gop = found.grid.fps, gop_length(found.grid.fps)
    shown, sound = found.facts.video, found.facts.audio
    rungs, reasons = build_ladder(shown.display_width, shown.display_height, fps, gop, shown.bitrate_bps)
    keyframes = [] if found.picture.sequential else keyframe_slots(found.index, found.time_base, fps)
    chunks = plan_chunks(found.grid.frames, gop, keyframes)
    timescale = track_timescale(fps)
    origin = int(found.index.times[0]) * found.time_base
    audio = found.audio_stream_index
    return EncodePlan(
        fps=Rational(fps.numerator, fps.denominator),
        timescale=timescale,
        frame_ticks=int(timescale / fps),
        gop_frames=gop,
        frames=found.grid.frames,
        video_stream_index=found.video_stream_index,
        rungs=rungs,
        chunks=chunks,
        audio=None if audio is None or sound is None else plan_audio(sound, audio, chunks, fps, gop),
        reasons=[*_explain_grid(found.facts, found.grid), *reasons],
        picture=found.picture,
        origin=Rational(origin.numerator, origin.denominator),
    )


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
