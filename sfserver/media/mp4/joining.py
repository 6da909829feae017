"""Check that encoded parts make one track without a seam, and join them into its file."""

import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path

import numpy as np

from sfserver.errors import InconsistentChunksError
from sfserver.media.contract import ChunkResult, ChunkSpec, EncodePlan, TrackPart
from sfserver.media.mp4.fragments import Fragment, read_fragment
from sfserver.media.mp4.movie import AUDIO_TRACK, VIDEO_TRACK
from sfserver.media.mp4.tracks import TrackTable

EncodedChunk = tuple[ChunkSpec, ChunkResult, dict[str, Path]]
StoredPart = tuple[TrackPart, Path]

_BLOCK_BYTES = 1 << 20
_MOOF_BYTES = 1 << 24


@dataclass(frozen=True)
class JoinedTrack:
    """A track whose parts fit together: all its samples, and what every part says of the stream."""

    table: TrackTable
    codec_config: bytes
    delay_ticks: int


def check_chunks(plan: EncodePlan, chunks: Sequence[EncodedChunk]) -> None:
    """Check that the chunks are the planned ones, in order, from one and the same encoder."""
    if [spec for spec, _, _ in chunks] != plan.chunks:
        raise InconsistentChunksError("the chunks are not those of the plan")
    if len({result.fingerprint for _, result, _ in chunks}) > 1:
        raise InconsistentChunksError("the chunks come from different encoders")
    for spec, result, files in chunks:
        for rung in plan.rungs:
            if rung.name not in result.parts or rung.name not in files:
                raise InconsistentChunksError(f"chunk {spec.index} has no {rung.name}")


def join_video(plan: EncodePlan, parts: Sequence[StoredPart]) -> JoinedTrack:
    """Read one rung's parts: every frame of the plan once, on the grid, each GOP beginning with its only sync frame."""
    fragments = list(_read_parts(parts))
    if len(fragments) != -(-plan.frames // plan.gop_frames):
        raise InconsistentChunksError(f"{len(fragments)} fragments for {plan.frames} frames")
    delay = parts[0][0].delay_ticks
    for gop, fragment in enumerate(fragments):
        first = gop * plan.gop_frames
        frames = np.arange(first, min(first + plan.gop_frames, plan.frames), dtype=np.uint64)
        _check_place(fragment, VIDEO_TRACK, gop, first * plan.frame_ticks)
        _check_grid(fragment, frames * np.uint64(plan.frame_ticks), plan.frame_ticks, delay)
    return _joined(parts, fragments)


def join_audio(parts: Sequence[StoredPart]) -> JoinedTrack:
    """Read the parts of the sound: each sample begins where the one before it ends, the first at 0."""
    fragments = list(_read_parts(parts))
    ends = accumulate((fragment.ticks for fragment in fragments), initial=0)
    for gop, (fragment, start) in enumerate(zip(fragments, ends, strict=False)):
        _check_place(fragment, AUDIO_TRACK, gop, start)
    return _joined(parts, fragments)


def write_track(path: Path, header: bytes, parts: Sequence[Path], on_bytes: Callable[[int], None]) -> None:
    """Write `header` and the parts after it, byte for byte; `on_bytes` hears of every block."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("wb", buffering=0) as target:
        target.write(header)
        for part in parts:
            with part.open("rb", buffering=0) as source:
                while block := source.read(_BLOCK_BYTES):
                    target.write(block)
                    on_bytes(len(block))


def _joined(parts: Sequence[StoredPart], fragments: Sequence[Fragment]) -> JoinedTrack:
    says = {(part.codec_config, part.delay_ticks) for part, _ in parts}
    if len(says) != 1:
        raise InconsistentChunksError("the parts need different decoder settings")
    ((config, delay),) = says
    return JoinedTrack(TrackTable.join(fragments), bytes.fromhex(config), delay)


def _read_parts(parts: Sequence[StoredPart]) -> Iterator[Fragment]:
    gop = 0
    for part, path in parts:
        if part.first_gop != gop:
            raise InconsistentChunksError(f"{part.file} begins at GOP {part.first_gop}, not at {gop}")
        fragments = _read_part(part, path)
        if sum(len(fragment.sizes) for fragment in fragments) != part.samples:
            raise InconsistentChunksError(f"{part.file} does not hold its {part.samples} samples")
        yield from fragments
        gop += len(fragments)


def _read_part(part: TrackPart, path: Path) -> list[Fragment]:
    """Read the `moof`s of one part and nothing else."""
    if not sum(part.fragment_sizes) == part.size_bytes == path.stat().st_size:
        raise InconsistentChunksError(f"{part.file} is not {part.size_bytes} bytes of whole fragments")
    starts = accumulate(part.fragment_sizes, initial=0)
    with path.open("rb") as file:
        return [
            _read_at(file.fileno(), start, size, part.file)
            for start, size in zip(starts, part.fragment_sizes, strict=False)
        ]


def _read_at(fd: int, start: int, size: int, name: str) -> Fragment:
    moof_size = int.from_bytes(os.pread(fd, 4, start))
    try:
        fragment = read_fragment(os.pread(fd, min(moof_size, size, _MOOF_BYTES), start))
    except ValueError as error:
        raise InconsistentChunksError(f"{name} at {start}: {error}") from error
    if fragment.size != size or fragment.data_start != moof_size + 8:
        raise InconsistentChunksError(f"{name} at {start} is not one fragment of {size} bytes")
    return fragment


def _check_place(fragment: Fragment, track_id: int, gop: int, time: int) -> None:
    found = (fragment.track_id, fragment.sequence, fragment.base_decode_time)
    expected = (track_id, 2 * gop + track_id, time)
    if found != expected:
        raise InconsistentChunksError(f"GOP {gop} has track, sequence and time {found}, not {expected}")


def _check_grid(fragment: Fragment, grid: np.ndarray, frame_ticks: int, delay: int) -> None:
    """Check that the frames fill their places on the grid: no one missing, doubled or out of its GOP."""
    if len(fragment.sizes) != len(grid) or not (fragment.durations == frame_ticks).all():
        raise InconsistentChunksError(f"fragment {fragment.sequence} has {len(fragment.sizes)} of {len(grid)} frames")
    if not np.array_equal(np.sort(grid + fragment.composition_offsets), grid + np.uint64(delay)):
        raise InconsistentChunksError(f"fragment {fragment.sequence} does not show each frame in its place")
    if not fragment.sync[0] or fragment.sync[1:].any():
        raise InconsistentChunksError(f"fragment {fragment.sequence} is not one closed GOP")
