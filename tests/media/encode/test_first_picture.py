from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from sfserver.media.contract import MediaLimits
from sfserver.media.encode.first_picture import expect_from_first_picture
from sfserver.media.encode.plan import make_plan, probe
from sfserver.media.source.probe import Examined, examine
from tests.media.clips import Draw, ignore, make_clip
from tests.media.encode.test_plan import NATURAL, pan


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> Examined:
    clip = replace(NATURAL, frames=50, options={"preset": "veryfast", "crf": "30"})
    path = make_clip(tmp_path_factory.mktemp("clip") / "a.mp4", clip, draw_luma=pan(clip.size))
    return examine(path, MediaLimits(), ignore)


def expect(found: Examined, **changes: object) -> int:
    index = replace(found.index, **changes)
    return expect_from_first_picture(found.first_frame, index, "h264", make_plan(found))


def test_a_coarser_source_is_expected_to_cost_more_times_its_bytes(tmp_path: Path) -> None:
    times = []
    for crf in ("18", "27", "36"):
        clip = replace(NATURAL, frames=50, options={"preset": "veryfast", "crf": crf})
        path = make_clip(tmp_path / f"{crf}.mp4", clip, draw_luma=pan(clip.size))
        budget = probe(path, tmp_path, MediaLimits(), ignore).plan.budget
        times.append(budget.expected_bytes / budget.source_bytes)
    assert times[0] < 1.5 < times[1] < 4 < times[2]


def test_the_figure_is_repeatable(found: Examined) -> None:
    assert abs(expect(found) - expect(found)) <= expect(found) // 50


@pytest.mark.parametrize("first_bytes", [1_000, 3_000])
def test_a_first_picture_with_nothing_in_it_says_nothing(found: Examined, first_bytes: int) -> None:
    sizes = found.index.sizes.copy()
    assert expect(found) > 0
    sizes[0] = first_bytes
    # 1,000 bytes are little by themselves, 3,000 little beside the film's other keyframes.
    assert expect(found, sizes=sizes, keyframes=np.array([0, 1, 2]), keyframe_bytes=60_000) == 0


def test_drawing_differs_from_frame_to_frame() -> None:
    draw: Draw = pan((64, 36))
    assert not np.array_equal(draw(0), draw(7))
