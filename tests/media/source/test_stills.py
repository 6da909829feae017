from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from av.video.frame import VideoFrame

from sfserver.media.contract import EncodePlan, MediaLimits, PicturePlan, ProbeResult
from sfserver.media.encode.plan import probe
from sfserver.media.source.stills import CANDIDATES, StillReader, frame_budget, luma_of, plan_shots
from tests.media.clips import Clip, ignore, make_clip, read_number
from tests.media.encoded import make_plan

FAST = {"preset": "ultrafast"}


def rows_of(frames: int, gop: int, repeat: int = 1) -> np.ndarray:
    times = np.arange(frames) // repeat * repeat * 10
    return np.stack([times, np.arange(frames) // gop * gop * 10], axis=1)


def plan_of(frames: int, *, sequential: bool = False) -> EncodePlan:
    return replace(make_plan(frames, fps=Fraction(25), sound=False), picture=PicturePlan(sequential=sequential))


def numbers_of(rows: np.ndarray, budget: int = 600, **options: bool) -> list[list[int]]:
    on_keyframes = options.pop("on_keyframes", True)
    groups = plan_shots(rows, plan_of(len(rows), **options), budget, on_keyframes=on_keyframes)
    return [[shot.number for shot in group] for group in groups]


def read(source: Path, workdir: Path, **picture: bool) -> tuple[list[int], StillReader]:
    probed = probe(source, workdir, MediaLimits(), ignore)
    plan = replace(probed.plan, picture=replace(probed.plan.picture, **picture))
    return read_planned(source, workdir, probed, plan)


def read_planned(source: Path, workdir: Path, probed: ProbeResult, plan: EncodePlan) -> tuple[list[int], StillReader]:
    rows = np.load(workdir / probed.index_file)
    reader = StillReader(source, rows, plan, plan.rungs[:1], limits=MediaLimits(), report=ignore)
    stills = reader.read()
    drawn = [read_number((still.luma * 255).astype(np.uint8)) for still in stills]
    assert [still.number for still in stills] == drawn
    return drawn, reader


def test_keyframes_stand_in_for_evenly_spread_frames() -> None:
    groups = numbers_of(rows_of(3000, 25))
    assert len(groups) == CANDIDATES
    assert all(len(group) == 1 and group[0] % 25 == 0 for group in groups)
    assert (groups[0][0], groups[-1][0]) == (150, 2825)


def test_without_keyframes_near_frames_are_decoded_from_the_one_before() -> None:
    assert numbers_of(rows_of(120, 500)) == [[6, 16, 25, 35, 44, 54, 63, 73, 82, 92, 101, 111]]
    assert numbers_of(rows_of(3000, 25), on_keyframes=False)[1] == [395]


@pytest.mark.parametrize(("gop", "sequential"), [(10**6, False), (1000, False), (25, True)])
def test_far_frames_move_towards_their_keyframe(gop: int, *, sequential: bool) -> None:
    rows = rows_of(30_000, gop)
    for group in numbers_of(rows, sequential=sequential):
        key = 0 if sequential else group[0] // gop * gop
        assert 0 <= group[-1] - key <= 600
    assert sum(map(len, numbers_of(rows, sequential=sequential))) >= 10


def test_repeated_frames_cost_nothing() -> None:
    (group,) = numbers_of(rows_of(30_000, 10**6, repeat=100))
    assert len(group) == CANDIDATES
    assert group[-1] > 28_000


@pytest.mark.parametrize("frames", [1, 2, 3, 12])
def test_the_shortest_videos(frames: int) -> None:
    numbers = [number for group in numbers_of(rows_of(frames, 25)) for number in group]
    assert numbers == sorted(set(numbers))
    assert 0 <= numbers[0] <= numbers[-1] < frames


def test_larger_pictures_get_fewer_frames() -> None:
    assert [frame_budget(*size) for size in ((320, 180), (1920, 1080), (3840, 2160), (7680, 4320))] == [
        600, 600, 150, 120,
    ]  # fmt: skip


@pytest.mark.parametrize("name", ["a.mp4", "a.mkv", "a.ts", "a.avi"])
def test_candidates_are_the_frames_they_say(name: str, tmp_path: Path) -> None:
    options = {"preset": "veryfast", "x264-params": "open-gop=1:keyint=25:scenecut=0:bframes=3"}
    drawn, reader = read(make_clip(tmp_path / name, Clip(frames=250, options=options)), tmp_path)
    assert len(drawn) >= 10
    assert drawn[0] <= 25 and drawn[-1] >= 220  # noqa: PT018
    assert reader.decoded <= 250


def test_one_keyframe_in_a_long_file_is_decoded_so_far_and_no_further(tmp_path: Path) -> None:
    clip = Clip(frames=1000, gop=10_000, size=(96, 54), options={**FAST, "sc_threshold": "0"})
    drawn, reader = read(make_clip(tmp_path / "a.mp4", clip), tmp_path)
    assert len(drawn) == CANDIDATES
    assert 500 < drawn[-1] <= 600
    assert reader.decoded <= 616


def test_a_file_without_usable_times_is_decoded_once_from_its_start(tmp_path: Path) -> None:
    source = make_clip(tmp_path / "a.mp4", Clip(frames=700, size=(96, 54), options={**FAST, "bf": "0"}))
    probed = probe(source, tmp_path, MediaLimits(), ignore)
    np.save(tmp_path / probed.index_file, np.stack([np.arange(700), np.arange(700) * 10], axis=1))
    plan = replace(probed.plan, picture=replace(probed.plan.picture, sequential=True))
    drawn, reader = read_planned(source, tmp_path, probed, plan)
    assert (len(drawn), drawn[0] < 40, drawn[-1] > 500) == (CANDIDATES, True, True)
    assert reader.decoded <= 616


def test_damaged_frames_are_left_out(tmp_path: Path) -> None:
    source = make_clip(tmp_path / "a.mp4", Clip(frames=250, options={**FAST, "bf": "0"}))
    probed = probe(source, tmp_path, MediaLimits(), ignore)
    data = bytearray(source.read_bytes())
    start = data.find(b"mdat") - 4
    end = start + int.from_bytes(data[start : start + 4], "big")
    middle = (start + end) // 2
    data[middle:end] = bytes(end - middle)
    source.write_bytes(data)
    drawn, _ = read_planned(source, tmp_path, probed, probed.plan)
    assert 4 <= len(drawn) <= 8
    assert drawn[-1] < 150


def test_interlaced_candidates_are_the_frames_they_say(tmp_path: Path) -> None:
    clip = Clip("mpeg2video", frames=130, options={"flags": "+ilme+ildct", "bf": "2", "b": "3M"})
    drawn, _ = read(make_clip(tmp_path / "a.ts", clip), tmp_path)
    assert len(drawn) >= 10


@pytest.mark.parametrize(
    ("codec", "options"),
    [
        ("libsvtav1", {"preset": "10", "svtav1-params": "lp=1:scd=0"}),
        ("libvpx-vp9", {"deadline": "good", "cpu-used": "5", "auto-alt-ref": "1", "lag-in-frames": "16"}),
        ("libx265", {"preset": "ultrafast", "x265-params": "log-level=none:pools=1:frame-threads=1:bframes=4"}),
    ],
)
def test_other_codecs(codec: str, options: dict[str, str], tmp_path: Path) -> None:
    source = make_clip(tmp_path / "a.mkv", Clip(codec, frames=200, gop=90, options=options))
    drawn, _ = read(source, tmp_path)
    assert len(drawn) >= 11


def test_luma_is_0_for_black_and_1_for_white() -> None:
    levels = np.repeat(np.array([[0, 255]], np.uint8), 16, axis=0).repeat(16, axis=1)
    picture = VideoFrame.from_ndarray(levels, "gray").reformat(format="yuv420p", dst_color_range=1)
    luma = luma_of(picture)
    assert (luma.shape, luma[0, 0], luma[0, -1]) == ((16, 32), 0, 1)
