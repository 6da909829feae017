"""The progressive file plays, and any range of it is the right stored bytes, found without looking at the rest."""

import io
import random
from collections.abc import Sequence
from fractions import Fraction
from itertools import chain, islice, pairwise, zip_longest
from typing import Any, cast

import av
import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sfserver.media.contract import PicturePlan, Rung
from sfserver.media.mp4.boxes import find_box, iter_boxes
from sfserver.media.mp4.movie import video_track
from sfserver.media.mp4.tracks import TrackTable, Wide
from sfserver.media.mp4.virtual import Placed, Span, VirtualFile, build_head, read_spans
from tests.media.encoded import SOUND
from tests.media.packaged import Packaged

# Where fragments begin in their object, and the size of each.
CHUNK = tuple[int, list[int]]
CHUNKS = st.lists(st.tuples(st.integers(0, 7), st.lists(st.integers(1, 9), min_size=1, max_size=4)), max_size=5)
GOPS_12_H = 12 * 1800


def place(first_object: int, chunks: Sequence[tuple[int, Sequence[int]]]) -> Placed:
    return Placed.in_objects(first_object, [(start, np.array(sizes, np.uint32)) for start, sizes in chunks])


def stored(seed: int, length: int) -> bytes:
    return random.Random(seed).randbytes(length)


def pieces(objects: Sequence[bytes], chunks: Sequence[tuple[int, Sequence[int]]]) -> list[bytes]:
    """Cut each fragment out of its object, by hand."""
    found = []
    for data, (start, sizes) in zip(objects, chunks, strict=True):
        at = start
        for size in sizes:
            found.append(data[at : at + size])
            at += size
    return found


@given(CHUNKS, CHUNKS, st.integers(1, 20), st.data())
def test_every_range_equals_the_slice_of_the_whole(
    video: list[tuple[int, list[int]]], audio: list[tuple[int, list[int]]], head: int, data: st.DataObject
) -> None:
    objects = [stored(0, head)]
    objects += [stored(n, start + sum(sizes) + 3) for n, (start, sizes) in enumerate([*video, *audio], 1)]
    sound = place(1 + len(video), audio) if audio else None
    file = VirtualFile.arrange(head, place(1, video), sound)
    seen, heard = pieces(objects[1 : 1 + len(video)], video), pieces(objects[1 + len(video) :], audio)
    whole = objects[0] + b"".join(chain.from_iterable(zip_longest(seen, heard, fillvalue=b"")))
    start = data.draw(st.integers(0, len(whole)))
    end = data.draw(st.integers(start, len(whole)))
    spans = list(file.iter_range(start, end))
    assert file.size == len(whole)
    assert read_spans(spans, lambda number, at, length: objects[number][at : at + length]) == whole[start:end]
    assert all(span.length for span in spans)
    for one, other in pairwise(spans):
        assert (one.object, one.offset + one.length) != (other.object, other.offset)


def test_neighbours_in_one_object_are_one_span() -> None:
    file = VirtualFile.arrange(10, place(1, [(100, [4, 5]), (7, [6, 8])]), place(3, [(50, [7])]))
    assert list(file.iter_range(0, file.size)) == [
        Span(0, 0, 10),
        Span(1, 100, 4),
        Span(3, 50, 7),
        Span(1, 104, 5),
        Span(2, 7, 14),
    ]
    assert list(file.iter_range(23, 27)) == [Span(1, 106, 3), Span(2, 7, 1)]
    assert list(file.iter_range(12, 12)) == list(file.iter_range(file.size, file.size)) == []


@pytest.mark.parametrize(("start", "end"), [(-1, 2), (3, 2), (0, 16), (16, 16)])
def test_a_range_outside_is_refused_before_anything_is_read(start: int, end: int) -> None:
    file = VirtualFile.arrange(10, place(1, [(0, [5])]), None)
    with pytest.raises(ValueError, match="of 15"):
        file.iter_range(start, end)


class Watched:
    """A column that counts the elements that are looked at; a binary search counts as what it needs."""

    def __init__(self, column: npt.NDArray[Any]) -> None:
        self.column, self.seen = column, 0

    def __getitem__(self, key: int | slice) -> Any:
        found = self.column[key]
        self.seen += int(np.size(found))
        return found

    def searchsorted(self, value: np.uint64, side: Any = "left", sorter: None = None) -> np.intp:
        self.seen += len(self.column).bit_length()
        return np.searchsorted(self.column, value, side, sorter)


def layout_of(gops: int, *, sound: bool) -> VirtualFile:
    """Lay out a long video as it is stored: chunks of 12 s, sound in parts of 32 s."""
    video = place(1, [(0, [60_000] * 6)] * (gops // 6))
    audio = place(1 + gops // 6, [(0, [16_000] * 15)] * (gops // 15)) if sound else None
    return VirtualFile.arrange(500_000, video, audio)


def pieces_for_first_span(file: VirtualFile, start: int, end: int) -> tuple[Span, int]:
    columns = [Watched(column) for column in (file.starts, file.objects, file.offsets)]
    watched = VirtualFile(*(cast(Any, column) for column in columns))
    span = next(watched.iter_range(start, end))
    return span, sum(column.seen for column in columns)


@pytest.mark.parametrize("sound", [True, False])
@pytest.mark.parametrize("share", [0.0, 0.3, 0.9])
def test_the_first_bytes_of_a_seek_cost_the_same_however_long_the_video_is(share: float, sound: bool) -> None:
    looked_at = []
    for gops in (1800, GOPS_12_H):
        file = layout_of(gops, sound=sound)
        start = int(share * file.size)
        span, seen = pieces_for_first_span(file, start, file.size)
        assert span == next(file.iter_range(start, file.size))
        looked_at.append(seen)
    # Three columns of two blocks at most, and two binary searches each deeper by the four bits that 12 is more.
    assert looked_at[1] <= 3 * 2 * 64 + 64
    assert looked_at[1] - looked_at[0] <= 2 * 4


def test_what_comes_after_the_first_bytes_is_looked_at_as_it_is_asked_for() -> None:
    file = layout_of(GOPS_12_H, sound=True)
    objects = Watched(file.objects)
    spans = VirtualFile(file.starts, cast(Any, objects), file.offsets).iter_range(0, file.size)
    assert objects.seen == 0
    for wanted in (1, 100, 5000):
        assert len(list(islice(spans, wanted))) == wanted
    assert objects.seen <= 5101 + 2 * 64
    assert sum(span.length for span in file.iter_range(0, file.size)) == file.size


def decoded(data: bytes) -> list[tuple[int | None, bytes]]:
    with av.open(io.BytesIO(data), "r") as container:
        return [(frame.pts, frame.to_ndarray().tobytes()) for frame in container.decode(video=0)]


@pytest.mark.parametrize("quality", ["720p", "360p"])
def test_it_shows_what_the_track_shows(packaged: Packaged, quality: str) -> None:
    plan, data = packaged.plan, packaged.progressive(quality)
    assert [box.kind for box in iter_boxes(data)] == ["ftyp", "moov", "mdat"]
    frames = decoded(data)
    assert frames == decoded(packaged.track(quality))
    assert [pts for pts, _ in frames] == [n * plan.frame_ticks for n in range(plan.frames)]


def test_it_holds_every_stored_byte_once(packaged: Packaged) -> None:
    data, layout = packaged.progressive("720p"), packaged.layout("720p")
    taken: dict[int, int] = {}
    for span in layout.iter_range(0, layout.size):
        taken[span.object] = taken.get(span.object, 0) + span.length
    chunks = [*packaged.encoded.tracks["720p"], *packaged.encoded.tracks[SOUND]]
    assert [taken[n] for n in range(1, 1 + len(chunks))] == [len(chunk.data) for chunk in chunks]
    assert all(chunk.data[:200] in data for chunk in chunks)
    assert data == packaged.progressive("720p", 0, 9000) + packaged.progressive("720p", 9000)


def test_it_plays_without_sound(silent: Packaged) -> None:
    plan, data = silent.plan, silent.progressive("360p")
    assert [pts for pts, _ in decoded(data)] == [n * 1001 for n in range(plan.frames)]
    with av.open(io.BytesIO(data), "r") as container:
        assert len(container.streams) == 1
        assert container.streams.video[0].average_rate == Fraction(24000, 1001)


def test_tables_point_at_the_samples(packaged: Packaged) -> None:
    samples: dict[str, list[bytes]] = {}
    with av.open(io.BytesIO(packaged.progressive("360p")), "r") as container:
        for packet in container.demux():
            if packet.size:
                samples.setdefault(packet.stream.type, []).append(bytes(packet))
    for kind, name in (("video", "360p"), ("audio", SOUND)):
        with av.open(io.BytesIO(packaged.track(name)), "r") as container:
            assert samples[kind] == [bytes(packet) for packet in container.demux() if packet.size]


@pytest.mark.parametrize(("second", "start"), [(3.9, 2.0), (0.5, 0.0), (4.0, 4.0), (13.1, 12.0), (9.99, 8.0)])
def test_seeking_lands_on_the_gop(packaged: Packaged, second: float, start: float) -> None:
    with av.open(io.BytesIO(packaged.progressive("720p")), "r") as container:
        stream = container.streams.video[0]
        container.seek(int(second * packaged.plan.timescale), stream=stream)
        frame = next(container.decode(stream))
        assert (frame.time, frame.key_frame) == (start, True)


def test_flash_and_beep_come_together(packaged: Packaged) -> None:
    data = packaged.progressive("360p")
    with av.open(io.BytesIO(data), "r") as container:
        shown = [(frame.time, frame.to_ndarray(format="gray").mean()) for frame in container.decode(video=0)]
    with av.open(io.BytesIO(data), "r") as container:
        heard = [(frame.time, np.abs(frame.to_ndarray()).max(axis=0)) for frame in container.decode(audio=0)]
    flashes = [time for time, mean in shown if mean > 200]
    loud = [(time, np.flatnonzero(level > 0.1)) for time, level in heard]
    beeps = [time + samples[0] / 48_000 for time, samples in loud if len(samples)]
    for second in range(1, 13, 2):
        assert min(time for time in flashes if time >= second - 0.1) == pytest.approx(second, abs=0.001)
        assert min(time for time in beeps if time >= second - 0.1) == pytest.approx(second, abs=0.005)


def test_beyond_4_gib_offsets_and_sizes_stay_exact() -> None:
    gops, size = 3000, 2_000_000
    wide: Wide = np.full(gops, size, np.uint64)
    sizes, durations, offsets = (np.full(gops, value, np.uint32) for value in (size - 100, 60, 0))
    table = TrackTable(
        sizes, durations, offsets, np.ones(gops, np.bool_), wide, wide * 0 + 100, wide * 0 + 1, wide * 0 + 60
    )
    track = video_track(Rung("360p", 64, 36, 0, "libx264", {}, ""), 30, PicturePlan(), b"\1M@\x1e", 0)
    head = build_head((track, TrackTable.unpack(table.pack())), None)
    # One object of 6 GB, and the same in two.
    split = 2500
    for chunks in ([(1000, [size] * gops)], [(1000, [size] * split), (7, [size] * (gops - split))]):
        file = VirtualFile.arrange(len(head), place(1, chunks), None)
        assert file.size == len(head) + gops * size > 1 << 32
        assert head[-16:] == (1).to_bytes(4) + b"mdat" + (16 + gops * size).to_bytes(8)
        co64 = find_box(head, "moov/trak/mdia/minf/stbl/co64")
        last = int.from_bytes(head[co64.end - 8 : co64.end])
        begun = gops - 1 if len(chunks) == 1 else gops - split - 1
        assert list(file.iter_range(last, last + 9)) == [Span(len(chunks), chunks[-1][0] + begun * size + 100, 9)]
