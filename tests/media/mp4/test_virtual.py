"""The progressive file plays, and any range of it is the right stored bytes."""

import io
import random
from fractions import Fraction

import av
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sfserver.media.contract import PicturePlan, Rung
from sfserver.media.mp4.boxes import find_box, iter_boxes
from sfserver.media.mp4.movie import video_track
from sfserver.media.mp4.tracks import TrackTable
from sfserver.media.mp4.virtual import PartName, Span, StoredTrack, VirtualFile, build_head, build_layout, read_spans
from tests.media.encoded import Packaged

SIZES = st.lists(st.integers(1, 9), min_size=1, max_size=12)


def stored(seed: int, length: int) -> bytes:
    return random.Random(seed).randbytes(length)


@given(SIZES, st.lists(st.integers(1, 9), max_size=12), st.integers(1, 20), st.data())
def test_every_range_equals_the_slice_of_the_whole(
    video: list[int], audio: list[int], head: int, data: st.DataObject
) -> None:
    parts = {"head": stored(0, head), "video": stored(1, 5 + sum(video)), "audio": stored(2, 3 + sum(audio))}
    file = VirtualFile.arrange(head, (np.array(video, np.uint64), 5), (np.array(audio, np.uint64), 3))

    def read(part: PartName, offset: int, length: int) -> bytes:
        return parts[part][offset : offset + length]

    whole = parts["head"]
    for k in range(max(len(video), len(audio))):
        whole += parts["video"][5 + sum(video[:k]) : 5 + sum(video[: k + 1])] if k < len(video) else b""
        whole += parts["audio"][3 + sum(audio[:k]) : 3 + sum(audio[: k + 1])] if k < len(audio) else b""
    start = data.draw(st.integers(0, len(whole)))
    end = data.draw(st.integers(start, len(whole)))
    assert file.size == len(whole)
    assert read_spans(file.map_range(start, end), read) == whole[start:end]


def test_neighbours_in_one_part_are_one_span() -> None:
    file = VirtualFile.arrange(10, (np.array([4, 5, 6], np.uint64), 100), (np.array([7], np.uint64), 50))
    assert file.map_range(0, file.size) == [
        Span("head", 0, 10),
        Span("video", 100, 4),
        Span("audio", 50, 7),
        Span("video", 104, 11),
    ]
    assert file.map_range(12, 12) == []


@pytest.mark.parametrize(("start", "end"), [(-1, 2), (3, 2), (0, 16), (16, 16)])
def test_a_range_outside_is_refused(start: int, end: int) -> None:
    file = VirtualFile.arrange(10, (np.array([5], np.uint64), 0), (np.zeros(0, np.uint64), 0))
    with pytest.raises(ValueError, match="of 15"):
        file.iter_range(start, end)


def test_a_layout_is_read_whole_or_not_at_all(packaged: Packaged) -> None:
    layout = (packaged.root / "file/720p.layout").read_bytes()
    for broken in (layout[:-1], layout[:10], layout + b"\0", b"SFL9" + layout[4:], b""):
        with pytest.raises(ValueError, match="not a layout"):
            VirtualFile.load(100, broken)


def test_the_head_is_small_and_the_rest_is_stored_once(packaged: Packaged) -> None:
    for rendition in packaged.result.renditions:
        data = packaged.progressive(rendition.quality)
        assert [box.kind for box in iter_boxes(data)] == ["ftyp", "moov", "mdat"]
        assert len(data) == rendition.progressive_size_bytes == packaged.virtual(rendition.quality).size
        assert packaged.result.files[f"file/{rendition.quality}.head"] < 1000 * 6
        for _, _, paths in packaged.encoded.chunks:
            assert paths[rendition.quality].read_bytes()[:200] in data


def decoded(data: bytes) -> list[tuple[int | None, bytes]]:
    with av.open(io.BytesIO(data)) as container:
        return [(frame.pts, frame.to_ndarray().tobytes()) for frame in container.decode(video=0)]


@pytest.mark.parametrize("quality", ["720p", "360p"])
def test_it_shows_what_the_track_file_shows(packaged: Packaged, quality: str) -> None:
    plan = packaged.encoded.plan
    frames = decoded(packaged.progressive(quality))
    assert frames == decoded((packaged.root / f"v/{quality}.mp4").read_bytes())
    assert [pts for pts, _ in frames] == [n * plan.frame_ticks for n in range(plan.frames)]


def test_it_plays_without_sound(silent: Packaged) -> None:
    plan = silent.encoded.plan
    data = silent.progressive("360p")
    assert [pts for pts, _ in decoded(data)] == [n * 1001 for n in range(plan.frames)]
    with av.open(io.BytesIO(data)) as container:
        assert len(container.streams) == 1
        assert container.streams.video[0].average_rate == Fraction(24000, 1001)


def test_tables_point_at_the_samples(packaged: Packaged) -> None:
    samples: dict[str, list[bytes]] = {}
    with av.open(io.BytesIO(packaged.progressive("360p"))) as container:
        for packet in container.demux():
            if packet.size:
                samples.setdefault(packet.stream.type, []).append(bytes(packet))
    for kind, name in (("video", "v/360p.mp4"), ("audio", "a/main.mp4")):
        with av.open(packaged.root / name) as container:
            assert samples[kind] == [bytes(packet) for packet in container.demux() if packet.size]


def test_seeking_lands_on_the_gop(packaged: Packaged) -> None:
    with av.open(io.BytesIO(packaged.progressive("720p"))) as container:
        stream = container.streams.video[0]
        for second, start in ((3.9, 2.0), (0.5, 0.0), (4.0, 4.0)):
            container.seek(int(second / stream.time_base), stream=stream)
            frame = next(container.decode(stream))
            assert (frame.time, frame.key_frame) == (start, True)


def test_flash_and_beep_come_together(packaged: Packaged) -> None:
    flashes, beeps = [], []
    with av.open(io.BytesIO(packaged.progressive("360p"))) as container:
        for frame in container.decode():
            if isinstance(frame, av.VideoFrame) and frame.to_ndarray(format="gray").mean() > 200:
                flashes.append(frame.time)
            elif isinstance(frame, av.AudioFrame):
                loud = np.flatnonzero(np.abs(frame.to_ndarray()).max(axis=0) > 0.1)
                beeps += [frame.time + loud[0] / frame.sample_rate] if len(loud) else []
    for second in (1.0, 3.0, 5.0):
        assert min(time for time in flashes if time >= second - 0.1) == pytest.approx(second, abs=0.001)
        assert min(time for time in beeps if time >= second - 0.1) == pytest.approx(second, abs=0.005)


def test_beyond_4_gib_offsets_and_sizes_stay_exact() -> None:
    gops, size = 3000, 2_000_000
    wide = np.full(gops, size, np.uint64)
    columns = [np.full(gops, value, np.uint32) for value in (size - 100, 60, 0)]
    table = TrackTable(*columns, np.ones(gops, np.bool_), wide, wide * 0 + 100, wide * 0 + 1, wide * 0 + 60)
    track = video_track(Rung("360p", 64, 36, 0, "libx264", {}, ""), 30, PicturePlan(), b"\1M@\x1e", 0)
    video = StoredTrack(track, table, 800, 200)
    head = build_head(video, None)
    file = VirtualFile.load(len(head), build_layout(video, None))
    assert file.size == len(head) + gops * size > 1 << 32
    assert head[-16:] == (1).to_bytes(4) + b"mdat" + (16 + gops * size).to_bytes(8)
    co64 = find_box(head, "moov/trak/mdia/minf/stbl/co64")
    last = int.from_bytes(head[co64.end - 8 : co64.end])
    assert file.map_range(last, last + 9) == [Span("video", 1000 + (gops - 1) * size + 100, 9)]
