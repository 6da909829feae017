from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from sfserver.errors import DamagedMediaError, MediaLimitError, UnsupportedMediaError
from sfserver.media.contract import MediaLimits, ProbeResult
from sfserver.media.encode.plan import probe, track_timescale
from tests.media.clips import Clip, ignore, make_clip, tone

FAST = {"preset": "ultrafast"}
LIMITS = MediaLimits()


def probe_clip(tmp_path: Path, clip: Clip, name: str = "a.mp4", limits: MediaLimits = LIMITS) -> ProbeResult:
    return probe(make_clip(tmp_path / name, clip), tmp_path, limits, ignore)


def test_facts_of_a_plain_clip(tmp_path: Path) -> None:
    clip = Clip(frames=50, size=(640, 360), options={"preset": "ultrafast"}, audio="aac")
    result = probe_clip(tmp_path, clip)
    video, audio = result.facts.video, result.facts.audio
    assert (video.codec, video.width, video.height, video.frames, video.keyframes) == ("h264", 640, 360, 50, 2)
    assert (video.pix_fmt, video.rotation, video.seekable, video.average_fps) == ("yuv420p", 0, True, 25.0)
    assert result.facts.duration_s == 2.0
    assert audio is not None
    assert (audio.codec, audio.channels, audio.sample_rate) == ("aac", 2, 48_000)
    assert (result.plan.timescale, result.plan.frame_ticks, result.plan.gop_frames) == (90_000, 3600, 50)
    assert result.warnings == []


def test_the_index_has_a_row_per_output_frame(tmp_path: Path) -> None:
    result = probe_clip(tmp_path, Clip(frames=60, options=FAST), "a.mkv")
    rows = np.load(tmp_path / result.index_file)
    assert rows.shape == (60, 2)
    assert rows[:, 0].tolist() == [n * 40 for n in range(60)]
    assert sorted(set(rows[:, 1].tolist())) == [0, 1000, 2000]


def test_no_duration_in_the_container(tmp_path: Path) -> None:
    clip = Clip("libvpx", frames=45, options={"deadline": "realtime", "cpu-used": "8"}, muxer={"live": "1"})
    facts = probe_clip(tmp_path, clip, "a.webm").facts
    assert facts.container_duration_s is None
    assert facts.duration_s == pytest.approx(1.8, abs=0.04)


def test_aspect_ratio_and_rotation_make_the_display_size(tmp_path: Path) -> None:
    path = tmp_path / "a.mp4"
    with av.open(str(path), "w") as out:
        stream = out.add_stream("libx264", rate=25, options=FAST)
        stream.width, stream.height, stream.pix_fmt = 180, 144, "yuv420p"
        stream.codec_context.sample_aspect_ratio = Fraction(16, 15)
        stream.set_display_rotation(90)
        for _ in range(5):
            out.mux(stream.encode(av.VideoFrame(180, 144, "yuv420p")))
        out.mux(stream.encode(None))
    video = probe(path, tmp_path, LIMITS, ignore).facts.video
    assert (video.width, video.height, video.display_width, video.display_height) == (180, 144, 144, 192)


@pytest.mark.parametrize(
    ("limits", "clip", "name"),
    [
        (MediaLimits(max_pixels=320 * 180 - 1), Clip(frames=5, options=FAST), "pixels"),
        (MediaLimits(max_streams=1), Clip(frames=5, options=FAST, audio="aac"), "streams"),
        (MediaLimits(max_duration_s=1.9), Clip(frames=60, options=FAST), "duration"),
        (LIMITS, Clip(frames=300, fps=Fraction(240), options=FAST), "fps"),
        (MediaLimits(max_pixel_rate=320 * 180 * 24), Clip(frames=60, options=FAST), "pixel_rate"),
        (LIMITS, Clip(times=[0, 10 * 3600 * 25], options=FAST), "gap"),
        (MediaLimits(fill_slack_frames=10), Clip(times=[0, 9 * 60 * 25], options=FAST), "fill"),
        (MediaLimits(max_duration_s=1, max_fps=5), Clip(frames=9, options=FAST), "frames"),
    ],
)
def test_every_limit_has_its_name(limits: MediaLimits, clip: Clip, name: str, tmp_path: Path) -> None:
    with pytest.raises(MediaLimitError) as caught:
        probe_clip(tmp_path, clip, limits=limits)
    assert caught.value.code == f"limit_{name}"
    assert caught.value.value != caught.value.limit


def test_sound_alone_is_no_video_and_a_cover_picture_does_not_count(tmp_path: Path) -> None:
    path = tmp_path / "a.mka"
    with av.open(str(path), "w", format="matroska") as out:
        stream = out.add_stream("aac", rate=48_000, layout="stereo")
        for block in tone(0.5):
            out.mux(stream.encode(block))
        out.mux(stream.encode(None))
    with pytest.raises(MediaLimitError) as caught:
        probe(path, tmp_path, LIMITS, ignore)
    assert caught.value.code == "limit_video_streams"


def test_slides_pass_on_a_slower_grid(tmp_path: Path) -> None:
    clip = Clip(times=[0, 200, 650, 1000, 1400], fps=Fraction(10), options=FAST)
    result = probe_clip(tmp_path, clip, "a.mkv", MediaLimits(fill_slack_frames=200))
    assert result.plan.fps.num == 2
    assert result.plan.frames <= 300


def test_a_cut_off_file_is_damaged_below_nine_tenths_and_warned_of_above(tmp_path: Path) -> None:
    source = make_clip(tmp_path / "a.mp4", Clip(frames=250, options=FAST, muxer={"movflags": "faststart"}))
    data = source.read_bytes()
    source.write_bytes(data[: len(data) * 95 // 100])
    assert [warning.code for warning in probe(source, tmp_path, LIMITS, ignore).warnings] == ["damaged_media"]
    source.write_bytes(data[: len(data) // 2])
    with pytest.raises(DamagedMediaError):
        probe(source, tmp_path, LIMITS, ignore)


def test_an_index_that_was_cut_off_is_unsupported(tmp_path: Path) -> None:
    source = make_clip(tmp_path / "a.mp4", Clip(frames=50, options=FAST))
    source.write_bytes(source.read_bytes()[:3000])
    with pytest.raises(UnsupportedMediaError):
        probe(source, tmp_path, LIMITS, ignore)


@pytest.mark.parametrize(
    ("fps", "timescale"),
    [
        (Fraction(30), 90_000),
        (Fraction(24_000, 1001), 24_000),
        (Fraction(25, 2), 90_000),
        (Fraction(179, 6), 11_456),
        (Fraction(60_000, 1001), 60_000),
    ],
)
def test_a_frame_is_a_whole_number_of_ticks(fps: Fraction, timescale: int) -> None:
    assert track_timescale(fps) == timescale
    assert timescale / fps == timescale // fps


def test_a_table_that_asks_for_more_memory_than_there_is_was_made_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def ask_for_too_much(*_: object) -> None:
        raise av.error.MemoryError(12, "Cannot allocate memory")

    monkeypatch.setattr("sfserver.media.source.probe.scan_packets", ask_for_too_much)
    with pytest.raises(UnsupportedMediaError, match="tables make no sense"):
        probe_clip(tmp_path, Clip(frames=5, options=FAST))


@pytest.mark.parametrize(("frames", "fits"), [(49, True), (52, False)])
def test_a_short_clip_may_cost_what_two_seconds_may(tmp_path: Path, frames: int, fits: bool) -> None:
    limits = MediaLimits(max_pixel_rate=320 * 180 * 25, max_fps=1000)
    clip = Clip(frames=frames, fps=Fraction(500), options=FAST)
    if fits:
        assert probe_clip(tmp_path, clip, "a.mkv", limits).facts.video.frames == frames
        return
    with pytest.raises(MediaLimitError) as caught:
        probe_clip(tmp_path, clip, "a.mkv", limits)
    assert caught.value.code == "limit_pixel_rate"


@pytest.mark.parametrize(
    ("size", "fps"),
    [((3840, 2160), 60), ((3840, 2160), 120), ((1920, 1080), 240), ((7680, 4320), 60), ((8192, 4320), 60)],
)
def test_what_cameras_record_keeps_within_the_pixel_rate(size: tuple[int, int], fps: int) -> None:
    assert size[0] * size[1] * fps * 1.1 <= LIMITS.max_pixel_rate


@pytest.mark.parametrize("codec", ["jpeg2000", "snow"])
def test_a_codec_that_we_do_not_mean_to_decode_is_named(tmp_path: Path, codec: str) -> None:
    options = {"strict": "experimental", "pred": "1"} if codec == "snow" else {}
    source = make_clip(tmp_path / "a.bin", Clip(codec, 3, options=options), format="avi")
    with pytest.raises(UnsupportedMediaError, match=f"no decoder for its video codec .{codec}.") as caught:
        probe(source, tmp_path, LIMITS, ignore)
    assert caught.value.code == "unsupported_media"


def test_a_sound_that_we_do_not_mean_to_decode_is_as_if_there_were_none(tmp_path: Path) -> None:
    path = tmp_path / "a.mkv"
    with av.open(str(path), "w", format="matroska") as out:
        video, sound = out.add_stream("mpeg4", rate=25), out.add_stream("tta", rate=48_000, layout="stereo")
        video.width, video.height, video.pix_fmt = 64, 48, "yuv420p"
        for _ in range(13):
            out.mux(video.encode(av.VideoFrame(64, 48, "yuv420p")))
        for block in tone(0.5):
            out.mux(sound.encode(block))
        out.mux(video.encode(None))
        out.mux(sound.encode(None))
    result = probe(path, tmp_path, LIMITS, ignore)
    assert (result.facts.audio, result.plan.audio) == (None, None)
