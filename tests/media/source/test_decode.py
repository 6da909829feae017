from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from sfserver.media.contract import ChunkSpec, EncodePlan, MediaLimits, Rung
from sfserver.media.encode.plan import probe
from sfserver.media.encode.video import ShownFrames, chunk_frames
from sfserver.media.source.decode import black_frame, decode_from, earlier_keyframes, prepare_decoder
from sfserver.media.source.grid import Times
from sfserver.media.source.open import open_source
from tests.media.clips import Clip, ignore, make_clip, read_number, run_stages

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


OFF_THE_GRID = {
    "h264.mp4": Clip(options={"preset": "veryfast", "x264-params": "keyint=47:scenecut=0:b-adapt=0:bframes=3"}),
    "open.ts": Clip(options={"preset": "veryfast", "x264-params": "keyint=47:scenecut=0:bframes=3:open-gop=1"}),
    "hevc.mp4": Clip(
        "libx265", options={"preset": "ultrafast", "x265-params": "log-level=none:keyint=47:bframes=4:open-gop=1"}
    ),
    "av1.mp4": Clip("libsvtav1", gop=47, options={"preset": "10", "svtav1-params": "lp=1:scd=0"}),
    "vp9.webm": Clip("libvpx-vp9", gop=47, options={"deadline": "good", "cpu-used": "5", "lag-in-frames": "16"}),
    "vp8.webm": Clip("libvpx", gop=47, options={"deadline": "good", "cpu-used": "5", "lag-in-frames": "16"}),
    "mpeg4.mp4": Clip("mpeg4", gop=47, options={"bf": "2"}),
    "mpeg2.ts": Clip("mpeg2video", gop=17, options={"bf": "2", "b": "2M"}),
    "mpeg2.mkv": Clip("mpeg2video", gop=17, options={"bf": "2", "b": "2M"}),
    "flv1.flv": Clip("flv", gop=47),
}


@pytest.mark.parametrize("name", OFF_THE_GRID)
def test_chunks_between_keyframes_have_the_frames_of_a_whole_decode(name: str, tmp_path: Path) -> None:
    clip = replace(OFF_THE_GRID[name], frames=150)
    source = make_clip(tmp_path / name, clip)
    probed = probe(source, tmp_path, MediaLimits(), ignore)
    assert probed.plan.frames == 150
    rows = np.load(tmp_path / probed.index_file)
    whole = _decode_chunk(source, rows, probed.plan, ChunkSpec(0, 0, 150))
    assert [read_number(luma) for luma in whole] == list(range(150))
    for start in range(0, 150, 30):
        frames = _decode_chunk(source, rows, probed.plan, ChunkSpec(0, start, start + 30))
        assert all(np.array_equal(*pair) for pair in zip(frames, whole[start : start + 30], strict=True))


def _decode_chunk(source: Path, rows: Times, plan: EncodePlan, chunk: ChunkSpec) -> list[np.ndarray]:
    shown, lumas = ShownFrames(rows, chunk), []
    blank = black_frame(plan.rungs[0])
    for _, frame in shown.pick(chunk_frames(source, rows, plan, chunk, MediaLimits()), blank):
        assert frame is not None
        lumas.append(frame.to_ndarray(format="gray"))
    assert shown.concealed == 0
    return lumas


def test_what_a_stream_says_of_its_encoder_holds_after_seeking(tmp_path: Path) -> None:
    source = make_clip(tmp_path / "a.mp4", Clip(frames=60, pix_fmt="yuv444p", options={"preset": "veryfast"}))
    data = source.read_bytes()
    build = data.find(b"x264 - core ") + len(b"x264 - core ")
    clean = _lumas(source, 25)
    assert 30 <= len(clean) <= 35
    # Told of an older build, the decoder reads 4:4:4 another way: rubbish here, which shows that it was told.
    source.write_bytes(data[:build] + b"148" + data[build + 3 :])
    told = _lumas(source, 25)
    assert all(abs(told[time].astype(int) - luma).mean() > 10 for time, luma in clean.items())


def _lumas(source: Path, keyframe: int) -> dict[int, np.ndarray]:
    with open_source(source, MediaLimits()) as container:
        video = container.streams.video[0]
        prepare_decoder(video, MediaLimits())
        assert video.time_base is not None
        frames = decode_from(container, video, round(keyframe / 25 / video.time_base), lambda time: True)
        return {time: frame.to_ndarray(format="gray") for time, frame in frames}
