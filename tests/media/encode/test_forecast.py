import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sfserver.media.contract import Rung, StorageBudget
from sfserver.media.encode.forecast import KeyframeFloor, drop_rungs, expected_bytes, keyframe_floor
from sfserver.media.source.index import PacketIndex

HD, MID, LOW = (
    Rung(name, width, height, rate, "libx264", {}, "")
    for name, width, height, rate in (
        ("1080p", 1920, 1080, 5_000_000), ("720p", 1280, 720, 2_500_000), ("360p", 640, 360, 1_000_000)
    )
)  # fmt: skip
PIXELS = 1920 * 1080
AMPLE = StorageBudget(10**12, 1)


def floor_of(size_bytes: int, pixels: int = PIXELS, length_s: float = 10.0) -> KeyframeFloor:
    return KeyframeFloor(size_bytes, pixels, length_s)


def names(rungs: list[Rung]) -> list[str]:
    return [rung.name for rung in rungs]


def test_the_floor_is_the_mean_keyframe_as_often_as_ours_and_the_rest() -> None:
    index = PacketIndex(
        times=np.arange(300), sizes=np.full(300, 1), keyframes=np.array([0, 250]), keyframe_bytes=274_609, tail=1,
        pictures=300, video_bytes=309_526, reordered=False, audio_bytes=0, audio_end_s=0.0,
    )  # fmt: skip
    told = 274_609 * 5 // 2 + 309_526 - 274_609
    assert told <= keyframe_floor(index, 5, PIXELS, 10.0).size_bytes <= 1.2 * told


def test_a_smaller_picture_takes_less_but_not_in_proportion_and_no_rung_more_than_its_rate() -> None:
    floor = floor_of(700_000)
    top, middle, small = (expected_bytes(rung, floor) for rung in (HD, MID, LOW))
    assert top == 700_000
    assert top * 4 / 9 < middle < top
    assert top / 9 < small < middle / 2
    assert expected_bytes(LOW, floor_of(10**9)) == 1_000_000 * 10 / 8


def test_an_ample_budget_keeps_all() -> None:
    assert drop_rungs([HD, MID, LOW], floor_of(700_000), AMPLE) == ([HD, MID, LOW], [])


@pytest.mark.parametrize(
    ("allowed", "kept"),
    [
        (1_400_000, ["1080p", "720p", "360p"]),
        (1_300_000, ["1080p", "360p"]),
        (800_000, ["1080p", "360p"]),
        (700_000, ["1080p"]),
        (600_000, ["1080p", "360p"]),
    ],
)
def test_the_middle_goes_first_and_the_smallest_only_where_that_decides(allowed: int, kept: list[str]) -> None:
    rungs, reasons = drop_rungs([HD, MID, LOW], floor_of(700_000), StorageBudget(allowed, 1))
    assert names(rungs) == kept
    dropped = [reason.split()[0] for reason in reasons if " dropped: " in reason]
    assert dropped == [name for name in ("720p", "360p") if name not in kept]
    assert any("the picture wins" in reason for reason in reasons) == (allowed == 600_000)


def test_of_two_rungs_the_smaller_goes() -> None:
    rungs, _ = drop_rungs([MID, LOW], floor_of(700_000, 1280 * 720), StorageBudget(750_000, 1))
    assert names(rungs) == ["720p"]


@pytest.mark.parametrize(
    ("sizes", "kept"),
    [
        ([(1366, 768), (1280, 720), (640, 360)], ["1080p", "360p"]),
        ([(768, 432), (640, 360)], ["720p"]),
        ([(854, 480), (640, 360)], ["720p", "360p"]),
        ([(640, 480), (480, 360)], ["720p", "360p"]),
    ],
)
def test_neighbours_of_nearly_one_size_are_one_too_many(sizes: list[tuple[int, int]], kept: list[str]) -> None:
    boxes = [HD, MID, LOW][-len(sizes) :]
    rungs = [
        Rung(box.name, width, height, box.maxrate_bps, "libx264", {}, "")
        for box, (width, height) in zip(boxes, sizes, strict=True)
    ]
    pixels = sizes[0][0] * sizes[0][1]
    found, reasons = drop_rungs(rungs, floor_of(200_000, pixels), AMPLE)
    assert names(found) == kept
    assert len(reasons) == len(rungs) - len(kept)
    # At the cap rates set them apart.
    assert drop_rungs(rungs, floor_of(10**9, pixels), AMPLE) == (rungs, [])


@given(st.integers(0, 10**9), st.integers(0, 10**10), st.sampled_from([[HD, MID, LOW], [MID, LOW], [LOW]]))
def test_the_largest_always_stays_and_every_drop_is_told(size: int, allowed: int, rungs: list[Rung]) -> None:
    kept, reasons = drop_rungs(rungs, floor_of(size), StorageBudget(allowed, 1))
    assert kept[0] == rungs[0]
    assert kept == [rung for rung in rungs if rung in kept]
    for rung in rungs:
        assert (rung in kept) != any(reason.startswith(f"{rung.name} dropped") for reason in reasons)
