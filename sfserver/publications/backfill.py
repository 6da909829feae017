"""What migration 0003 could not know, since it lies in the store: the tables of videos published before it.

Their track files are `ftyp moov`, a `sidx` and the fragments; their I-frame lists say where each sync frame ends.
"""

import re
import struct

import numpy as np
import structlog
from sqlalchemy.orm import Session

from sfserver.deps import Runtime
from sfserver.errors import ObjectMissingError, ObjectTruncatedError
from sfserver.infra.storage.contract import ObjectStore
from sfserver.media.mp4.boxes import find_box
from sfserver.media.mp4.fragments import Column
from sfserver.media.mp4.segments import SegmentRule
from sfserver.media.mp4.tracks import FragmentIndex
from sfserver.models import Track
from sfserver.publications import repository
from sfserver.tasks import garbage

log = structlog.get_logger(__name__)
# Version 1: track, timescale, two 64-bit times, two bytes that are reserved, count (ISO/IEC 14496-12, 8.16.3).
_SIDX_HEAD = struct.Struct(">4xII16xHH")
_RANGE = re.compile(rb"#EXT-X-BYTERANGE:(\d+)@(\d+)")
_MOST_HEADER_BYTES = 64 << 20


def complete_publications(runtime: Runtime) -> None:
    """Add what is missing to every track that was published before tables were kept; harmless when done twice.

    A video whose files are gone stays as it is: its tracks have nothing to show, and it can be processed again.
    """
    with runtime.database.read() as session:
        waiting = repository.incomplete_tracks(session)
    for track_id in waiting:
        with runtime.database.write() as session:
            track = session.get_one(Track, track_id)
            try:
                _complete(session, runtime.store, track)
            except (ObjectMissingError, ObjectTruncatedError, ValueError, struct.error) as error:
                log.error(
                    "publication.incomplete", track=track.name, publication=track.publication_id, reason=str(error)
                )


def _complete(session: Session, store: ObjectStore, track: Track) -> None:
    chunk = repository.find_chunk(session, track.id, 0)
    header = _read(store, chunk.key, chunk.start)
    sidx = find_box(header, "sidx")
    _, timescale, _, count = _SIDX_HEAD.unpack_from(header, sidx.body)
    rows = np.frombuffer(header, ">u4", 3 * count, sidx.body + 32).reshape(count, 3).astype(np.uint32)
    sizes, ticks = rows[:, 0], rows[:, 1]
    if int(sizes.sum(dtype=np.uint64)) != chunk.size_bytes:
        raise ValueError("the index and the file differ")
    ends = sizes if track.kind == "audio" else _sync_ends(store, track, chunk.key)
    chunk.fragments = FragmentIndex(sizes, ticks, ends).pack()
    track.timescale, track.init = timescale, header[: sidx.start]
    track.shown_segments = len(SegmentRule().firsts(0, count))
    garbage.discard(session, _superseded(track, _folder(chunk.key)))


def _folder(key: str) -> str:
    """Return where all files of an earlier publication lie: two levels above its track files."""
    return key.rsplit("/", 2)[0]


def _superseded(track: Track, folder: str) -> list[str]:
    """Return the files that rows stand for now."""
    if track.kind == "audio":
        return [f"{folder}/hls/audio.m3u8"]
    lists = [f"{folder}/hls/{track.name}.m3u8", f"{folder}/hls/{track.name}.iframes.m3u8"]
    return [*lists, f"{folder}/file/{track.name}.layout"]


def _sync_ends(store: ObjectStore, track: Track, key: str) -> Column:
    folder = _folder(key)
    found = _RANGE.findall(_read(store, f"{folder}/hls/{track.name}.iframes.m3u8"))
    return np.array([int(length) for length, _ in found], np.uint32)


def _read(store: ObjectStore, key: str, length: int | None = None) -> bytes:
    reader = store.open(key)
    try:
        return reader.read(0, min(_MOST_HEADER_BYTES, reader.size if length is None else length))
    finally:
        reader.close()
