"""Check that encoded parts make one track without a seam: each part where it is made, all of them from their tables."""

from base64 import b64encode
from collections.abc import Iterable, Sequence

import numpy as np

from sfserver.errors import InconsistentChunksError
from sfserver.media.contract import EncodePlan, TrackPart
from sfserver.media.mp4.fragments import Fragment, read_fragment
from sfserver.media.mp4.tracks import TrackTable


def read_back(data: bytes, *, track_id: int, gop: int) -> Fragment:
    """Read a fragment that was just made, as whoever plays it will.

    Raises InconsistentChunksError unless it is whole and says the track and the place that it was made for.
    """
    try:
        fragment = read_fragment(data)
    except ValueError as error:
        raise InconsistentChunksError(f"not a fragment: {error}") from error
    if (fragment.track_id, fragment.sequence, fragment.size) != (track_id, 2 * gop + track_id, len(data)):
        raise InconsistentChunksError(f"the fragment of GOP {gop} is not what it was made to be")
    return fragment


def describe_part(
    file: str, fragments: Sequence[Fragment], *, first_gop: int, codec_config: bytes, delay_ticks: int = 0
) -> TrackPart:
    """Say what is in `file`, which holds these fragments. Raises InconsistentChunksError where one begins late."""
    time = fragments[0].base_decode_time
    for fragment in fragments:
        if fragment.base_decode_time != time:
            raise InconsistentChunksError(f"{file}: a fragment begins at {fragment.base_decode_time}, not at {time}")
        time += fragment.ticks
    table = TrackTable.join(fragments)
    return TrackPart(
        file=file,
        size_bytes=int(table.fragment_sizes.sum()),
        samples=len(table.sizes),
        first_gop=first_gop,
        fragments=len(fragments),
        codec_config=codec_config.hex(),
        delay_ticks=delay_ticks,
        table=b64encode(table.pack()).decode(),
    )


def join_video(plan: EncodePlan, tables: Iterable[TrackTable], delay_ticks: int) -> TrackTable:
    """Join one rung's parts: every frame of the plan once, on the grid, each GOP beginning with its only sync frame."""
    table = _join(tables)
    gops, last = divmod(plan.frames, plan.gop_frames)
    wanted = np.array([plan.gop_frames] * gops + [last] * bool(last), np.uint64)
    if not np.array_equal(table.fragment_samples, wanted):
        raise InconsistentChunksError(
            f"{len(table.sizes)} frames in {len(table.fragment_samples)} fragments, not as planned"
        )
    if not (table.durations == plan.frame_ticks).all():
        raise InconsistentChunksError("frames of other durations than planned")
    firsts = np.cumsum(wanted) - wanted
    sync = np.zeros(plan.frames, np.bool_)
    sync[firsts.astype(np.intp)] = True
    if not np.array_equal(table.sync, sync):
        raise InconsistentChunksError("fragments are not one closed GOP each")
    _check_grid(table, plan, delay_ticks)
    return table


def join_audio(plan: EncodePlan, tables: Iterable[TrackTable]) -> TrackTable:
    """Join the parts of the sound: a fragment for each GOP of the picture, all its frames there."""
    table = _join(tables)
    gops = -(-plan.frames // plan.gop_frames)
    is_steady = bool((table.durations == table.durations[0]).all() and table.sync.all())
    if plan.audio is None or (len(table.fragment_sizes), len(table.sizes), is_steady) != (
        gops,
        plan.audio.frames,
        True,
    ):
        raise InconsistentChunksError(
            f"{len(table.sizes)} sound frames in {len(table.fragment_sizes)} of {gops} fragments"
        )
    return table


def _join(tables: Iterable[TrackTable]) -> TrackTable:
    parts = list(tables)
    if not parts:
        raise InconsistentChunksError("a track without parts")
    return TrackTable.concatenate(parts)


def _check_grid(table: TrackTable, plan: EncodePlan, delay_ticks: int) -> None:
    """Check that the frames of each GOP fill its places on the grid: none missing, doubled or out of its GOP."""
    frames = np.arange(plan.frames, dtype=np.int64)
    places = frames + (table.composition_offsets.astype(np.int64) - delay_ticks) // plan.frame_ticks
    exact = (table.composition_offsets.astype(np.int64) - delay_ticks) % plan.frame_ticks == 0
    gops = frames // plan.gop_frames
    if (
        not exact.all()
        or not np.array_equal(np.sort(places), frames)
        or not np.array_equal(places // plan.gop_frames, gops)
    ):
        raise InconsistentChunksError("the frames are not each in its place")
