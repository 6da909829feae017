from pathlib import Path

import numpy as np
import pytest

from sfserver.media.contract import Rung
from sfserver.media.source.decode import black_frame, earlier_keyframes
from tests.media.clips import Clip, make_clip, run_stages

ROWS = np.array([[0, 0], [40, 0], [80, 80], [120, 80], [160, 160], [200, 160]], dtype=np.int64)


@pytest.mark.parametrize(("row", "expected"), [(0, [None]), (1, [None]), (3, [80, None]), (5, [160, 80, None])])
def test_seeking_tries_the_keyframe_then_the_one_before_then_the_start(row: int, expected: list[int | None]) -> None:
    assert list(earlier_keyframes(ROWS, row)) == expected


def test_a_blank_picture_is_black() -> None:
    frame = black_frame(Rung("360p", 32, 18, 0, "libx264", {}, ""))
    assert set(frame.to_ndarray(format="gray").flat) == {0}
    assert (frame.width, frame.height) == (32, 18)


def test_the_start_of_a_stream_that_cannot_be_decoded_is_left_out(tmp_path: Path) -> None:
    source = make_clip(tmp_path / "a.ts", Clip(frames=130, gop=10, options={"preset": "ultrafast"}))
    data = source.read_bytes()
    source.write_bytes(data[len(data) // 10 // 188 * 188 :])
    encoded = run_stages(source, tmp_path / "out")
    numbers = encoded.numbers("360p")
    assert numbers == list(range(130 - len(numbers), 130))
    assert numbers[0] % 10 == 0
    assert 110 <= len(numbers) < 130
    assert [warning.code for warning in encoded.probed.warnings] == ["damaged_media"]
    assert sum(chunk.concealed_frames for chunk in encoded.chunks) == 0
