"""What stages give back, made by hand: a 30 fps clip of one rung in chunks of 60 frames."""

from typing import Any

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
    TrackPart,
    VideoFacts,
)
from sfserver.media.encode.poster import POSTER_FILES, PosterFile, PosterResult
from sfserver.media.sandbox.parent import StageRun
from sfserver.media.source.index import INDEX_FILE

RUNG = "360p"
CHUNK_FRAMES = 60
PACKAGE_FILES = (f"v/{RUNG}.mp4", f"hls/{RUNG}.m3u8", f"file/{RUNG}.head")


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
    part = TrackPart(f"{RUNG}.{index}.m4s", 10, CHUNK_FRAMES, index, [10], header)
    return ChunkResult({RUNG: part}, "fingerprint", CHUNK_FRAMES, 0, concealed)


def sound_part(number: int) -> TrackPart:
    return TrackPart(f"audio.{number}.m4s", 10, 94, number, [10], "1190")


def audio_result(parts: int = 1) -> AudioResult:
    return AudioResult(parts, 94 * parts, 0.0, 0.0)


def package_result() -> PackageResult:
    return PackageResult(dict.fromkeys(PACKAGE_FILES, 10), [], 0, 0, 2.0, Rational(30, 1))


def poster_result() -> PosterResult:
    files = [PosterFile(name, "webp" if name.endswith("webp") else "jpeg", 64, 36, 10) for name in POSTER_FILES]
    return PosterResult(files, 0.0, 0, "the only one")


def run_of(result: Any) -> StageRun:
    """Return a result as a sandbox would."""
    return StageRun(result, cpu_s=1.0, wall_s=1.0, peak_rss_bytes=1 << 20)
