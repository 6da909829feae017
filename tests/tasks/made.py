"""What stages give back, made by hand: a 30 fps clip of one rung in chunks of 60 frames."""

from base64 import b64encode
from collections.abc import Sequence
from typing import Any

import numpy as np

from sfserver.media.contract import (
    AudioPlan,
    AudioResult,
    ChunkResult,
    ChunkSpec,
    EncodePlan,
    PackageResult,
    ProbeResult,
    Rational,
    Rung,
    SourceFacts,
    TrackFacts,
    TrackPart,
    VideoFacts,
)
from sfserver.media.encode.poster import POSTER_FILES, PosterFile, PosterResult
from sfserver.media.mp4.tracks import TrackTable
from sfserver.media.sandbox.parent import StageRun
from sfserver.media.source.index import INDEX_FILE

RUNG = "360p"
CHUNK_FRAMES = 60
PART_BYTES = 10


def probe_result(chunks: int, *, audio: bool, parts: int = 1) -> ProbeResult:
    video = VideoFacts("h264", 640, 360, 640, 360, Rational(1, 1), 0, "yuv420p", 60 * chunks, 0.0, 30.0, 10**6, 1)
    facts = SourceFacts("mp4", 1000, 2.0 * chunks, 2.0 * chunks, video, None, 1)
    ends = [*range(1, parts), max(parts, chunks)]
    plan = EncodePlan(
        fps=Rational(30, 1),
        timescale=90_000,
        frame_ticks=3000,
        gop_frames=CHUNK_FRAMES,
        frames=CHUNK_FRAMES * chunks,
        video_stream_index=0,
        rungs=[Rung(RUNG, 640, 360, 10**6, "libx264", {}, "source size")],
        chunks=[ChunkSpec(i, CHUNK_FRAMES * i, CHUNK_FRAMES * (i + 1), 1000) for i in range(chunks)],
        audio=AudioPlan(1, 128_000, 48_000, 2, 94 * chunks, ends) if audio else None,
        reasons=[],
    )
    return ProbeResult(facts, plan, INDEX_FILE)


def chunk_result(index: int, *, concealed: int = 0, header: str = "01") -> ChunkResult:
    part = TrackPart(f"{RUNG}.{index}.m4s", PART_BYTES, CHUNK_FRAMES, index, 1, header, table=table(CHUNK_FRAMES, 3000))
    return ChunkResult({RUNG: part}, "fingerprint", CHUNK_FRAMES, 0, concealed)


def sound_part(number: int, ends: Sequence[int]) -> TrackPart:
    first, end = [0, *ends][number : number + 2]
    made = table(94, 1024, end - first)
    return TrackPart(f"audio.{number}.m4s", PART_BYTES, 94 * (end - first), first, end - first, "1190", table=made)


def audio_result(parts: int = 1) -> AudioResult:
    return AudioResult(parts, 94 * parts, 0.0, 0.0)


def table(samples: int, ticks: int, fragments: int = 1) -> str:
    """Return the table of fragments of `samples` each: the first has ten bytes, and nothing is left for any sample."""
    count = samples * fragments
    zeros, durations = np.zeros(count, np.uint32), np.full(count, ticks, np.uint32)
    sizes = np.array([PART_BYTES] + [0] * (fragments - 1), np.uint64)
    lengths = np.full(fragments, samples, np.uint64)
    whole = TrackTable(zeros, durations, zeros, np.arange(count) % samples == 0, sizes, sizes, lengths, lengths * ticks)
    return b64encode(whole.pack()).decode()


def package_result() -> PackageResult:
    facts = TrackFacts(10, 1000, 1000, 100, 100, 10, 20)
    return PackageResult({RUNG: facts, "main": TrackFacts(10, 100, 100)}, {RUNG: f"{RUNG}.head"})


def poster_result() -> PosterResult:
    files = [PosterFile(name, "webp" if name.endswith("webp") else "jpeg", 64, 36, 10) for name in POSTER_FILES]
    return PosterResult(files, 0.0, 0, "the only one")


def run_of(result: Any) -> StageRun:
    """Return a result as a sandbox would."""
    return StageRun(result, cpu_s=1.0, wall_s=1.0, peak_rss_bytes=1 << 20)
