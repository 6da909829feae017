"""Movie fragments (ISO/IEC 14496-12, 8.8): one `moof mdat` pair per GOP, written once and never touched again."""

import struct
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from sfserver.media.mp4.boxes import Box, build_box, build_full_box, find_box

# Sample flags (8.8.3.1): a sync sample depends on no other, every other one does and is marked non-sync.
SYNC_FLAGS = 0x02000000
NON_SYNC_FLAGS = 0x01010000
_NON_SYNC = 0x00010000

_DEFAULT_BASE_IS_MOOF = 0x020000
_DEFAULT_DURATION, _DEFAULT_SIZE, _DEFAULT_FLAGS = 0x08, 0x10, 0x20
_DATA_OFFSET, _FIRST_FLAGS, _DURATION, _SIZE, _FLAGS, _COMPOSITION = 0x1, 0x4, 0x100, 0x200, 0x400, 0x800

Column = npt.NDArray[np.uint32]


@dataclass(frozen=True)
class Sample:
    """One encoded frame. `duration` and `composition_offset` (not negative) are ticks of the track."""

    data: bytes
    duration: int
    composition_offset: int
    is_sync: bool


@dataclass(frozen=True)
class Fragment:
    """What a fragment's `moof` says, one array element a sample. `data_start` counts from the fragment's first byte."""

    sequence: int
    track_id: int
    base_decode_time: int
    data_start: int
    sizes: Column
    durations: Column
    composition_offsets: Column
    sync: npt.NDArray[np.bool_]

    @property
    def size(self) -> int:
        """All its bytes, `moof` and `mdat`."""
        return self.data_start + int(self.sizes.sum(dtype=np.uint64))

    @property
    def ticks(self) -> int:
        """Its duration."""
        return int(self.durations.sum(dtype=np.uint64))


def build_fragment(*, track_id: int, sequence: int, base_decode_time: int, samples: Sequence[Sample]) -> bytes:
    """Build `moof mdat` for the samples of one GOP, in decoding order.

    What all samples share is said once in `tfhd`. Raises ValueError without samples or on a negative offset.
    """
    if not samples or min(sample.composition_offset for sample in samples) < 0:
        raise ValueError("a fragment needs samples, and none may have a negative composition offset")
    tfhd, trun_flags, columns, first_flags = _share(samples)

    def moof(data_offset: int) -> bytes:
        head = struct.pack(">Ii", len(samples), data_offset) + first_flags
        return build_box(
            "moof",
            build_full_box("mfhd", 0, 0, struct.pack(">I", sequence)),
            build_box(
                "traf",
                build_full_box("tfhd", 0, tfhd[0], struct.pack(">I", track_id), tfhd[1]),
                build_full_box("tfdt", 1, 0, struct.pack(">Q", base_decode_time)),
                build_full_box("trun", 0, trun_flags, head, columns),
            ),
        )

    size = len(moof(0))
    return moof(size + 8) + build_box("mdat", *(sample.data for sample in samples))


def _share(samples: Sequence[Sample]) -> tuple[tuple[int, bytes], int, bytes, bytes]:
    """Split what the samples say into `tfhd` (flags, fields), `trun` flags, `trun` rows and first-sample flags."""
    tfhd_flags, tfhd, trun, first_flags = _DEFAULT_BASE_IS_MOOF, b"", _DATA_OFFSET | _SIZE, b""
    durations = [sample.duration for sample in samples]
    flags = [SYNC_FLAGS if sample.is_sync else NON_SYNC_FLAGS for sample in samples]
    offsets = [sample.composition_offset for sample in samples]
    columns = [[len(sample.data) for sample in samples]]
    if len(set(durations)) == 1:
        tfhd_flags, tfhd = tfhd_flags | _DEFAULT_DURATION, struct.pack(">I", durations[0])
    else:
        trun |= _DURATION
        columns.insert(0, durations)
    if len(set(flags[1:])) <= 1:
        tfhd_flags, tfhd = tfhd_flags | _DEFAULT_FLAGS, tfhd + struct.pack(">I", flags[-1])
        if flags[0] != flags[-1]:
            trun, first_flags = trun | _FIRST_FLAGS, struct.pack(">I", flags[0])
    else:
        trun |= _FLAGS
        columns.append(flags)
    if any(offsets):
        trun |= _COMPOSITION
        columns.append(offsets)
    return (tfhd_flags, tfhd), trun, np.array(columns, ">u4").T.tobytes(), first_flags


def read_fragment(data: bytes | memoryview) -> Fragment:
    """Read the `moof` at the start of `data`; the samples' own bytes need not be there.

    Takes one `traf` with one `trun` relative to the `moof`, as `build_fragment` writes it. Raises ValueError on
    anything else.
    """
    moof = find_box(data, "moof")
    (sequence,) = _unpack(data, find_box(data, "mfhd", moof.body, moof.end), ">4xI")
    traf = find_box(data, "traf", moof.body, moof.end)
    track_id, shared = _read_tfhd(data, find_box(data, "tfhd", traf.body, traf.end))
    tfdt = find_box(data, "tfdt", traf.body, traf.end)
    (base_decode_time,) = _unpack(data, tfdt, ">4xQ" if data[tfdt.body] == 1 else ">4xI")
    data_start, rows = _read_trun(data, find_box(data, "trun", traf.body, traf.end), shared)
    sync = rows[_FLAGS] & _NON_SYNC == 0
    return Fragment(
        sequence, track_id, base_decode_time, data_start, rows[_SIZE], rows[_DURATION], rows[_COMPOSITION], sync
    )


def _unpack(data: bytes | memoryview, box: Box, layout: str, offset: int = 0) -> tuple[int, ...]:
    if box.body + offset + struct.calcsize(layout) > box.end:
        raise ValueError(f"{box.kind} is cut short")
    return struct.unpack_from(layout, data, box.body + offset)


def _read_tfhd(data: bytes | memoryview, box: Box) -> tuple[int, dict[int, int]]:
    """Read the track id and the values all samples share, by the `trun` flag that would say them per sample."""
    flags, track_id = _unpack(data, box, ">II")
    if not flags & _DEFAULT_BASE_IS_MOOF or flags & 0x3:
        raise ValueError("tfhd is not relative to its moof")
    shared, offset = {_DURATION: 0, _SIZE: 0, _FLAGS: 0, _COMPOSITION: 0}, 8
    for flag, per_sample in ((_DEFAULT_DURATION, _DURATION), (_DEFAULT_SIZE, _SIZE), (_DEFAULT_FLAGS, _FLAGS)):
        if flags & flag:
            (shared[per_sample],) = _unpack(data, box, ">I", offset)
            offset += 4
    return track_id, shared


def _read_trun(data: bytes | memoryview, box: Box, shared: dict[int, int]) -> tuple[int, dict[int, Column]]:
    """Read where the data starts and one column a property, filled from `shared` where `trun` does not say it."""
    flags, count = _unpack(data, box, ">II")
    if flags >> 24 or flags & (_DATA_OFFSET | _SIZE) != _DATA_OFFSET | _SIZE:
        raise ValueError("trun has signed offsets, no data offset or no sizes")
    (data_start,) = _unpack(data, box, ">i", 8)
    start = box.body + 12 + (4 if flags & _FIRST_FLAGS else 0)
    present = [flag for flag in (_DURATION, _SIZE, _FLAGS, _COMPOSITION) if flags & flag]
    if box.end - start != 4 * count * len(present):
        raise ValueError("trun is cut short")
    table = np.frombuffer(data, ">u4", count * len(present), start).reshape(count, len(present))
    columns = {flag: np.full(count, value, np.uint32) for flag, value in shared.items()}
    columns |= {flag: table[:, i].astype(np.uint32) for i, flag in enumerate(present)}
    if flags & _FIRST_FLAGS:
        columns[_FLAGS][:1] = _unpack(data, box, ">I", 12)
    return data_start, columns
