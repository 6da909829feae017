"""What packaging adds to the stored chunks: heads and facts, from tables alone."""

import io
import zlib
from base64 import b64decode, b64encode
from collections.abc import Callable
from dataclasses import replace
from fractions import Fraction
from itertools import pairwise
from pathlib import Path

import av
import pytest

from sfserver.errors import InconsistentChunksError
from sfserver.media.mp4.boxes import find_box, iter_boxes
from sfserver.media.mp4.fragments import Sample
from sfserver.media.mp4.package import run_package
from tests.media.encoded import SOUND, Encoded, Stored, make_plan, store
from tests.media.packaged import Packaged, arguments_of, make_packaged, package

QUALITIES = ("720p", "360p")


def test_only_heads_are_written(packaged: Packaged) -> None:
    found = {path.name: path.stat().st_size for path in packaged.workdir.iterdir()}
    assert packaged.result.heads == {name: f"{name}.head" for name in QUALITIES}
    assert found == {f"{name}.head": packaged.result.tracks[name].head_bytes for name in QUALITIES}
    assert packaged.result.warnings == []


@pytest.mark.parametrize("quality", QUALITIES)
def test_a_head_is_all_before_the_first_fragment(packaged: Packaged, quality: str) -> None:
    head = packaged.objects(quality)[0]
    assert [box.kind for box in iter_boxes(head[:-16])] == ["ftyp", "moov"]
    media = len(packaged.media(quality)) + len(packaged.media(SOUND))
    assert head[-16:] == (1).to_bytes(4) + b"mdat" + (16 + media).to_bytes(8)
    audio = packaged.plan.audio
    assert audio is not None
    assert len(head) <= 16 * packaged.plan.frames + 4 * audio.frames + 4096


def test_facts_agree_with_the_files(packaged: Packaged, silent: Packaged) -> None:
    facts = packaged.result.tracks
    assert set(facts) == {*QUALITIES, SOUND}
    for name in QUALITIES:
        assert facts[name].size_bytes == len(packaged.media(name))
        assert facts[name].progressive_bytes == len(packaged.progressive(name)) == packaged.layout(name).size
        assert find_box(packaged.progressive(name), "mdat").body == facts[name].head_bytes
    sound = facts[SOUND]
    assert sound.size_bytes == len(packaged.media(SOUND))
    assert (sound.head_bytes, sound.progressive_bytes, sound.iframe_peak_bps) == (0, 0, 0)
    assert set(silent.result.tracks) == {"360p"}
    alone = silent.result.tracks["360p"]
    assert alone.progressive_bytes == alone.head_bytes + alone.size_bytes


def times_of(data: bytes) -> list[tuple[int | None, int | None]]:
    with av.open(io.BytesIO(data), "r") as container:
        return [(packet.pts, packet.dts) for packet in container.demux() if packet.size]


@pytest.mark.parametrize("quality", QUALITIES)
def test_no_frame_is_lost_or_doubled_at_a_joint(packaged: Packaged, quality: str) -> None:
    plan = packaged.plan
    times = times_of(packaged.track(quality))
    assert sorted(pts for pts, _ in times if pts is not None) == [n * plan.frame_ticks for n in range(plan.frames)]
    steps = {b - a for (_, a), (_, b) in pairwise(times) if a is not None and b is not None}
    assert steps == {plan.frame_ticks}


def test_no_sound_frame_is_lost_or_doubled_at_a_joint(packaged: Packaged) -> None:
    assert packaged.plan.audio is not None
    times = [n * 1024 for n in range(packaged.plan.audio.frames)]
    assert times_of(packaged.track(SOUND)) == [(time, time) for time in times]


def test_progress_never_goes_back_and_ends_at_one(packaged: Packaged) -> None:
    assert packaged.progress == sorted(packaged.progress)
    assert 0 < packaged.progress[0] <= packaged.progress[-1] == 1


@pytest.mark.parametrize(
    ("frames", "fps"),
    [
        (1, Fraction(30)),
        (2, Fraction(30)),
        (61, Fraction(30)),
        (1, Fraction(60000, 1001)),
        (20, Fraction(25, 2)),
        (60, Fraction(25, 2)),
        (241, Fraction(60000, 1001)),
    ],
)
@pytest.mark.parametrize("sound", [True, False])
def test_a_clip_of_any_length_is_packaged(tmp_path: Path, frames: int, fps: Fraction, sound: bool) -> None:
    made = make_packaged(make_plan(frames, fps=fps, sound=sound), tmp_path)
    wanted = [n * made.plan.frame_ticks for n in range(frames)]
    for data in (made.track("360p"), made.progressive("360p")):
        with av.open(io.BytesIO(data), "r") as container:
            assert [frame.pts for frame in container.decode(video=0)] == wanted
        with av.open(io.BytesIO(data), "r") as container:
            assert container.streams.video[0].time_base == Fraction(1, made.plan.timescale)
            assert frames / fps * made.plan.timescale == frames * made.plan.frame_ticks


def test_rates_are_those_of_the_segments_that_are_served(tmp_path: Path) -> None:
    plan = replace(make_plan(330, fps=Fraction(25), opening_gops=3, sound=False), frame_ticks=3600, timescale=90_000)
    bytes_a_frame = [100, 100, 100, 1000, 100, 100, 100]
    runs = [
        [Sample(bytes(size), 3600, 0, n == 0) for n in range(50 if gop < 6 else 30)]
        for gop, size in enumerate(bytes_a_frame)
    ]
    gops = [(0, 1), (1, 2), (2, 3), (3, 5), (5, 7)]
    parts = [
        store(f"{a}", runs[a:b], [gop * 50 * 3600 for gop in range(a, b)], first_gop=a, config=b"\x01d\0\x1e")
        for a, b in gops
    ]
    facts = package(Encoded(plan, {"360p": parts}), tmp_path).result.tracks["360p"]
    # The large GOP is served together with the one after it, four seconds in all, and no shorter run holds it.
    large = parts[3]
    assert facts.peak_bps == round(8 * len(large.data) / 4)
    assert facts.average_bps == round(8 * sum(len(stored.data) for stored in parts) / Fraction(66, 5))
    head = large.table.data_starts[0]
    assert facts.iframe_peak_bps == round(8 * (int(head) + 1000) / 2)


def test_the_same_tables_make_the_same_bytes(packaged: Packaged, tmp_path: Path) -> None:
    again = package(packaged.encoded, tmp_path)
    assert again.result == packaged.result
    assert [again.objects(name)[0] for name in QUALITIES] == [packaged.objects(name)[0] for name in QUALITIES]


def change(encoded: Encoded, name: str, how: Callable[[list[Stored]], list[Stored]]) -> Encoded:
    return replace(encoded, tracks={**encoded.tracks, name: how(encoded.tracks[name])})


def refusal(encoded: Encoded, workdir: Path) -> str:
    with pytest.raises(InconsistentChunksError) as caught:
        run_package(arguments_of(encoded, workdir), workdir, lambda _: None)
    assert list(workdir.glob("*.head")) == []
    return caught.value.detail


@pytest.mark.parametrize(
    ("name", "how", "complaint"),
    [
        ("720p", lambda parts: parts[:-1], "250 frames in 5 fragments"),
        ("720p", lambda parts: [*parts, parts[-1]], "410 frames in 9 fragments"),
        ("720p", lambda parts: [*parts[:3], parts[4], parts[3]], "330 frames in 7 fragments, not as planned"),
        (SOUND, lambda parts: parts[1:], "sound frames in 4 of 7 fragments"),
        (SOUND, lambda parts: [*parts, parts[-1]], "sound frames in 8 of 7 fragments"),
    ],
)
def test_parts_that_do_not_make_the_plan_are_refused(
    packaged: Packaged, tmp_path: Path, name: str, how: Callable[[list[Stored]], list[Stored]], complaint: str
) -> None:
    assert complaint in refusal(change(packaged.encoded, name, how), tmp_path)


def test_a_part_of_another_rate_is_refused(packaged: Packaged, tmp_path: Path) -> None:
    slower = replace(packaged.plan, frame_ticks=packaged.plan.frame_ticks + 1)
    assert "frames of other durations" in refusal(replace(packaged.encoded, plan=slower), tmp_path)


@pytest.mark.parametrize("broken", [b"", b"x" * 50, zlib.compress(b"SFT1" + bytes(8)), zlib.compress(bytes(100))])
def test_a_table_that_is_none_ends_packaging(packaged: Packaged, tmp_path: Path, broken: bytes) -> None:
    def spoil(parts: list[Stored]) -> list[Stored]:
        return [replace(parts[0], part=replace(parts[0].part, table=b64encode(broken).decode())), *parts[1:]]

    encoded = change(packaged.encoded, "720p", spoil)
    with pytest.raises((ValueError, InconsistentChunksError)):
        run_package(arguments_of(encoded, tmp_path), tmp_path, lambda _: None)
    assert list(tmp_path.glob("*.head")) == []


def test_tables_that_end_early_end_packaging(packaged: Packaged, tmp_path: Path) -> None:
    arguments = arguments_of(packaged.encoded, tmp_path)
    path = arguments.rungs[0].tables
    whole = path.read_bytes()
    first = len(b64decode(packaged.encoded.tracks["720p"][0].part.table))
    for end in (1, 3, 4, 3 + first, 4 + first, 6 + first, len(whole) - 1):
        path.write_bytes(whole[:end])
        with pytest.raises((ValueError, InconsistentChunksError)):
            run_package(arguments, tmp_path, lambda _: None)
    assert list(tmp_path.glob("*.head")) == []
