from base64 import b64decode
from dataclasses import replace
from fractions import Fraction
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from sfserver.media.contract import ChunkSpec, MediaLimits
from sfserver.media.encode.plan import probe
from sfserver.media.encode.video import encode_chunk, fingerprint, open_encoder
from sfserver.media.mp4.tracks import TrackTable
from tests.media.clips import Clip, decode_track, draw, ignore, make_clip, read_number, read_samples, run_stages

FAST = {"preset": "ultrafast"}
B_FRAMES = {"preset": "veryfast", "x264-params": "open-gop=1:keyint=25:scenecut=0:b-adapt=0:bframes=3"}
X265 = {"preset": "ultrafast", "x265-params": "log-level=none:keyint=25:pools=1:frame-threads=1:bframes=4:open-gop=1"}
VPX = {"deadline": "realtime", "cpu-used": "8"}
ALT_REF = {"deadline": "good", "cpu-used": "5", "auto-alt-ref": "1", "lag-in-frames": "16"}
MPEG4 = {"bf": "2"}

SOURCES = {
    "h264.mp4": Clip(options=B_FRAMES),
    "h264.mov": Clip(options=FAST, fps=Fraction(24000, 1001)),
    "h264.mkv": Clip(options=B_FRAMES, fps=Fraction(30000, 1001)),
    "h264.ts": Clip(options=B_FRAMES),
    "h264.avi": Clip(options=B_FRAMES),
    "plain.avi": Clip(options={**FAST, "bf": "0"}),
    "fragments.mp4": Clip(options=FAST, muxer={"movflags": "frag_keyframe+empty_moov"}),
    "hevc.mp4": Clip("libx265", options=X265),
    "hevc.mkv": Clip("libx265", options=X265, fps=Fraction(12)),
    "vp8.webm": Clip("libvpx", options=ALT_REF),
    "vp9.webm": Clip("libvpx-vp9", options=ALT_REF),
    "live.webm": Clip("libvpx", options=VPX, muxer={"live": "1"}),
    "mpeg4.mp4": Clip("mpeg4", options=MPEG4),
    "mpeg4.avi": Clip("mpeg4", options=MPEG4),
    "mpeg4.mkv": Clip("mpeg4"),
    "mpeg2.ts": Clip("mpeg2video", options={"bf": "2", "b": "2M"}),
    "mjpeg.mov": Clip("mjpeg", pix_fmt="yuvj420p"),
    "mjpeg.avi": Clip("mjpeg", pix_fmt="yuvj422p"),
}


@pytest.mark.parametrize("name", SOURCES)
def test_every_source_frame_comes_out_once_in_order(name: str, tmp_path: Path) -> None:
    clip = replace(SOURCES[name], frames=130)
    encoded = run_stages(make_clip(tmp_path / name, clip), tmp_path / "out")
    plan, facts = encoded.plan, encoded.probed.facts
    assert encoded.numbers("360p") == list(range(130))
    assert (plan.frames, Fraction(plan.fps.num, plan.fps.den)) == (130, clip.fps)
    assert abs(facts.duration_s - float(130 / clip.fps)) <= float(1 / clip.fps)
    assert len(plan.chunks) == (1 if name == "h264.avi" else 3 if clip.fps == 12 else 2)
    assert sum(chunk.concealed_frames + chunk.duplicated_frames for chunk in encoded.chunks) == 0


def test_joints_are_continuous_and_parameter_sets_equal(tmp_path: Path) -> None:
    clip = Clip(frames=172, options=FAST, size=(960, 540), fps=Fraction(12), gop=12)
    source = make_clip(tmp_path / "a.mp4", clip)
    encoded = run_stages(source, tmp_path / "out")
    plan = encoded.plan
    assert [rung.name for rung in plan.rungs] == ["720p", "360p"]
    assert [chunk.end_frame for chunk in plan.chunks] == [72, 96, 120, 144, 172]
    for rung in plan.rungs:
        parts = encoded.parts(rung.name)
        samples = list(read_samples(encoded.workdir, parts))
        assert [time for time, _, _ in samples] == [n * plan.frame_ticks for n in range(172)]
        shown = sorted(time + offset - parts[0].delay_ticks for time, offset, _ in samples)
        assert shown == [n * plan.frame_ticks for n in range(172)]
        assert len({(part.codec_config, part.delay_ticks) for part in parts}) == 1
        assert [number for number, _ in decode_track(encoded.workdir, parts, plan)] == list(range(172))
        assert [part.first_gop for part in parts] == [0, 3, 4, 5, 6]
        assert [part.fragments for part in parts] == [3, 1, 1, 1, 2]
    assert encoded.numbers("360p") == list(range(172))


def test_codec_config_does_not_depend_on_rate_control(tmp_path: Path) -> None:
    plan = probe(make_clip(tmp_path / "a.mp4", Clip(options=FAST)), tmp_path, MediaLimits(), ignore).plan
    configs = set()
    for crf, frames, maxrate in ((23.5, 50, 5_000_000), (27.0, 800, 60_000), (25.5, 7, 900_000), (40.0, 90, 1_000_000)):
        rung = replace(plan.rungs[0], maxrate_bps=maxrate)
        configs.add(bytes(open_encoder(rung, plan, ChunkSpec(0, 0, frames), crf).extradata or b""))
    assert len(configs) == 1


def test_a_chunk_is_the_same_bytes_each_time_and_needs_no_other_chunk(tmp_path: Path) -> None:
    source = make_clip(tmp_path / "a.mkv", Clip(frames=130, options=B_FRAMES))
    encoded = run_stages(source, tmp_path / "out")
    again = tmp_path / "again"
    again.mkdir()
    index = tmp_path / "out" / encoded.probed.index_file
    result = encode_chunk(source, index, encoded.plan, encoded.plan.chunks[1], again, report=ignore)
    part = encoded.parts("360p")[1]
    assert result.parts["360p"] == part
    assert (again / part.file).read_bytes() == (tmp_path / "out" / part.file).read_bytes()
    assert result.fingerprint == fingerprint(encoded.plan)


def test_chunks_of_different_quality_join_and_a_retry_makes_the_same_bytes(tmp_path: Path) -> None:
    source = make_clip(tmp_path / "a.mp4", Clip(frames=150, gop=50, options=FAST))
    plan = probe(source, tmp_path, MediaLimits(), ignore).plan
    index = tmp_path / "index.npy"
    chunks = [ChunkSpec(0, 0, 50), ChunkSpec(1, 50, 100), ChunkSpec(2, 100, 150)]
    results = [
        encode_chunk(source, index, plan, chunk, tmp_path, report=ignore, crf=crf)
        for chunk, crf in zip(chunks, (23.5, 27.0, 25.0), strict=True)
    ]
    parts = [result.parts["360p"] for result in results]
    assert [result.crf for result in results] == [23.5, 27.0, 25.0]
    assert len({part.codec_config for part in parts}) == len({result.fingerprint for result in results}) == 1
    assert [read_number(luma) for _, luma in decode_track(tmp_path, parts, plan)] == list(range(150))
    made = (tmp_path / parts[1].file).read_bytes()
    again = tmp_path / "again"
    again.mkdir()
    encode_chunk(source, index, plan, chunks[1], again, report=ignore, crf=27.0)
    assert (again / parts[1].file).read_bytes() == made
    encode_chunk(source, index, plan, chunks[1], again, report=ignore)
    assert (again / parts[1].file).stat().st_size > len(made)


@pytest.mark.parametrize(
    ("times", "fps", "expected"),
    [
        ([0, 1, 2, 5, 6, 7], 30, [0, 1, 2, 2, 2, 3, 4, 5]),
        ([n * 4 for n in range(12)], 100, list(range(12))),
        ([0, 2, 5, 6, 7], 60, [0, 0, 1, 1, 1, 2, 3, 4]),
    ],
)
def test_times_decide_what_is_shown(times: list[int], fps: int, expected: list[int], tmp_path: Path) -> None:
    clip = Clip(times=times, fps=Fraction(fps), options=FAST)
    encoded = run_stages(make_clip(tmp_path / "a.mkv", clip), tmp_path / "out")
    assert encoded.numbers("360p") == expected
    assert sum(chunk.duplicated_frames for chunk in encoded.chunks) == len(expected) - len(set(expected))


def test_one_keyframe_in_the_file(tmp_path: Path) -> None:
    encoded = run_stages(make_clip(tmp_path / "a.mp4", Clip(frames=160, gop=1000, options=FAST)), tmp_path / "out")
    assert (len(encoded.plan.chunks), encoded.probed.facts.video.keyframes) == (3, 1)
    assert encoded.numbers("360p") == list(range(160))


@pytest.mark.parametrize("frames", [1, 2, 3])
def test_the_shortest_videos(frames: int, tmp_path: Path) -> None:
    encoded = run_stages(make_clip(tmp_path / "a.mp4", Clip(frames=frames, options=FAST)), tmp_path / "out")
    assert encoded.numbers("360p") == list(range(frames))


@pytest.mark.parametrize(
    ("codec", "size", "pix_fmt", "expected"),
    [
        ("ffv1", (321, 181), "yuv444p", (320, 180)),
        ("libx264", (180, 320), "yuv420p10le", (180, 320)),
        ("libx264", (320, 180), "yuv422p", (320, 180)),
        ("ffv1", (320, 180), "bgr0", (320, 180)),
        ("prores_ks", (320, 176), "yuv422p10le", (320, 176)),
    ],
)
def test_odd_sizes_and_deep_or_rich_colour(
    codec: str, size: tuple[int, int], pix_fmt: str, expected: tuple[int, int], tmp_path: Path
) -> None:
    clip = Clip(codec, frames=20, size=size, pix_fmt=pix_fmt)
    encoded = run_stages(make_clip(tmp_path / "a.mkv", clip), tmp_path / "out")
    rung = encoded.plan.rungs[0]
    assert (rung.width, rung.height) == expected
    frames = decode_track(encoded.workdir, encoded.parts("360p"), encoded.plan)
    assert [read_number(luma) for _, luma in frames] == list(range(20))


@pytest.mark.parametrize(("rotation", "turns"), [(90, 1), (180, 2), (-90, 3)])
def test_rotated_pictures_are_turned_upright(rotation: int, turns: int, tmp_path: Path) -> None:
    clip = Clip(frames=12, options=FAST, rotation=rotation)
    encoded = run_stages(make_clip(tmp_path / "a.mp4", clip), tmp_path / "out")
    rung, facts = encoded.plan.rungs[0], encoded.probed.facts.video
    assert (rung.width, rung.height) == ((320, 180) if turns == 2 else (180, 320))
    assert facts.rotation == -rotation % 360
    frames = decode_track(encoded.workdir, encoded.parts("360p"), encoded.plan)
    assert [read_number(np.rot90(luma, -turns)) for _, luma in frames] == list(range(12))


def test_interlaced_pictures_keep_their_order_over_a_joint(tmp_path: Path) -> None:
    clip = Clip("mpeg2video", frames=130, options={"flags": "+ilme+ildct", "bf": "2", "b": "3M"})
    encoded = run_stages(make_clip(tmp_path / "a.ts", clip), tmp_path / "out")
    assert encoded.plan.picture.deinterlace
    assert len(encoded.chunks) == 2
    assert encoded.numbers("360p") == list(range(130))


def test_full_range_becomes_limited(tmp_path: Path) -> None:
    source = make_clip(tmp_path / "a.mov", Clip("mjpeg", frames=6, pix_fmt="yuvj420p", options={"q": "2"}))
    encoded = run_stages(source, tmp_path / "out")
    limited = decode_track(encoded.workdir, encoded.parts("360p"), encoded.plan)[2][1].astype(int)
    full = draw(2, (320, 180)).astype(int)
    # A grey reader expands limited range, so the two agree only if the range was converted and said so.
    assert abs(limited - full).mean() < 6


def test_damage_is_concealed_and_counted(tmp_path: Path) -> None:
    source = make_clip(tmp_path / "a.mp4", Clip(frames=130, options={**FAST, "bf": "0"}))
    data = bytearray(source.read_bytes())
    start = data.find(b"mdat") + len(data) // 3
    data[start : start + 3000] = bytes(3000)
    source.write_bytes(data)
    encoded = run_stages(source, tmp_path / "out")
    assert len(decode_track(encoded.workdir, encoded.parts("360p"), encoded.plan)) == 130
    assert sum(chunk.concealed_frames for chunk in encoded.chunks) > 0


def test_rate_caps_hold_on_noise(tmp_path: Path) -> None:
    source = make_clip(tmp_path / "a.mp4", Clip(frames=150, gop=50, options={**FAST, "b": "400k"}))
    plan = probe(source, tmp_path, MediaLimits(), ignore).plan
    rung = replace(plan.rungs[0], maxrate_bps=300_000, options={**plan.rungs[0].options, "crf": "1"})
    plan = replace(plan, rungs=[rung])
    index = tmp_path / "index.npy"
    fragments: list[int] = []
    for chunk in plan.chunks:
        part = encode_chunk(source, index, plan, chunk, tmp_path, report=ignore).parts["360p"]
        assert part.size_bytes * 8 <= 300_000 * 1.05 * (chunk.end_frame - chunk.start_frame) / 25
        fragments += TrackTable.unpack(b64decode(part.table)).fragment_sizes.tolist()
    assert sum(fragments) * 8 / 6.0 <= 300_000 * 1.05
    assert all((a + b) * 8 / 4 <= 2 * 300_000 for a, b in pairwise(fragments))


def test_progress_says_how_far_each_rung_is(tmp_path: Path) -> None:
    source = make_clip(tmp_path / "a.mp4", Clip(frames=60, options=FAST))
    probed = probe(source, tmp_path, MediaLimits(), ignore)
    reports: list[dict[str, object]] = []
    index = tmp_path / probed.index_file
    encode_chunk(source, index, probed.plan, probed.plan.chunks[0], tmp_path, report=reports.append)
    assert reports[-1] == {"frames": {"360p": 60}, "decoded": 60}
