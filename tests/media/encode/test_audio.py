from base64 import b64decode
from dataclasses import replace
from fractions import Fraction
from itertools import pairwise
from pathlib import Path

import av
import numpy as np
import pytest
from numpy.typing import NDArray

from sfserver.media.contract import AudioFacts, ChunkSpec, EncodePlan, MediaLimits, Rational, TrackPart
from sfserver.media.encode.audio import encode_audio, gop_bounds, plan_audio
from sfserver.media.encode.plan import probe
from sfserver.media.mp4.boxes import iter_boxes
from sfserver.media.mp4.fragments import read_fragment
from sfserver.media.mp4.tracks import TrackTable
from sfserver.media.source.timeline import FRAME_SAMPLES
from tests.media.clips import Clip, decode_sound, ignore, make_clip, read_samples, run_stages, tone

FAST = {"preset": "ultrafast"}
RATE = 48_000
FACTS = AudioFacts("aac", 44_100, 2, 0, 0.0)


def first_loud(sound: NDArray[np.float32], level: float = 0.1) -> float:
    """Return when the sound starts, in seconds."""
    return float(np.argmax(np.abs(sound[0]) > level)) / RATE


def loud_share(sound: NDArray[np.float32], start_s: float, end_s: float) -> float:
    """Return the root mean square over a stretch, against that of the made tone."""
    piece = sound[0, int(start_s * RATE) : int(end_s * RATE)]
    return float(np.sqrt((piece**2).mean()) / (0.4 / np.sqrt(2)))


@pytest.mark.parametrize(
    "name", ["aac.mp4", "libopus.mkv", "libmp3lame.mp4", "pcm_s16le.mov", "vorbis.mkv", "flac.mkv"]
)
def test_every_codec_comes_out_whole_and_in_time(name: str, tmp_path: Path) -> None:
    clip = Clip(frames=75, options=FAST, audio=Path(name).stem)
    encoded = run_stages(make_clip(tmp_path / name, clip), tmp_path / "out")
    sound = decode_sound(encoded.workdir, encoded.sound_parts)
    assert sound.shape == (2, 140 * FRAME_SAMPLES)
    assert first_loud(sound) < 0.06
    assert loud_share(sound, 0.1, 2.9) == pytest.approx(1, abs=0.08)
    assert len({part.codec_config for part in encoded.sound_parts}) == 1


def test_fragments_lie_on_the_gop_grid_without_gaps(tmp_path: Path) -> None:
    encoded = run_stages(make_clip(tmp_path / "a.mp4", Clip(frames=230, options=FAST, audio="aac")), tmp_path / "out")
    plan = encoded.plan
    samples = list(read_samples(encoded.workdir, encoded.sound_parts))
    assert [time for time, _, _ in samples] == [n * FRAME_SAMPLES for n in range(len(samples))]
    assert plan.audio is not None
    assert len(samples) == plan.audio.frames == int(230 / 25 * RATE / FRAME_SAMPLES)
    assert [(part.first_gop, part.fragments) for part in encoded.sound_parts] == [(0, 3), (3, 2)]
    second = encoded.workdir / encoded.sound_parts[1].file
    fragment = read_fragment(second.read_bytes())
    assert (fragment.track_id, fragment.sequence) == (2, 8)
    assert 6.0 <= fragment.base_decode_time / RATE < 6.0 + FRAME_SAMPLES / RATE


def test_tables_say_what_is_in_the_parts(tmp_path: Path) -> None:
    encoded = run_stages(make_clip(tmp_path / "a.mp4", Clip(frames=230, options=FAST, audio="aac")), tmp_path / "out")
    found = {path.name for path in encoded.workdir.glob("audio.*")}
    assert found == {part.file for part in encoded.sound_parts} == {"audio.0.m4s", "audio.1.m4s"}
    for part in encoded.sound_parts:
        data, table = (encoded.workdir / part.file).read_bytes(), TrackTable.unpack(b64decode(part.table))
        samples = list(read_samples(encoded.workdir, [part]))
        assert table.sizes.tolist() == [len(sample) for _, _, sample in samples]
        starts = [box.start for box in iter_boxes(data) if box.kind == "moof"]
        assert table.fragment_sizes.tolist() == np.diff([*starts, len(data)]).tolist()
        assert (part.samples, part.size_bytes, part.fragments) == (len(samples), len(data), len(starts))
        assert set(table.durations.tolist()) == {FRAME_SAMPLES}
        assert table.sync.all()
        assert not table.composition_offsets.any()


@pytest.mark.parametrize(("frames", "fps"), [(101, 50), (1, 25), (1201, 60), (251, 25)])
def test_every_gop_has_sound_and_the_sound_never_outlasts_the_picture(frames: int, fps: int) -> None:
    audio = plan_audio(FACTS, 1, [ChunkSpec(0, 0, frames)], Fraction(fps), 2 * fps)
    plan = EncodePlan(
        Rational(fps, 1), 90_000, 90_000 // fps, 2 * fps, frames, 0, [], [ChunkSpec(0, 0, frames)], audio, []
    )
    bounds = gop_bounds(plan, audio)
    assert len(bounds) == -(-frames // (2 * fps)) + 1
    assert all(later > earlier for earlier, later in pairwise(bounds))
    assert audio.frames == 1 or 0 <= frames / fps - audio.frames * FRAME_SAMPLES / RATE < FRAME_SAMPLES / RATE


@pytest.mark.parametrize(
    ("channels", "source_bps", "expected"),
    [(1, 0, (1, 64_000)), (6, 0, (2, 128_000)), (2, 96_000, (2, 96_000)), (1, 8_000, (1, 24_000))],
)
def test_channels_and_bitrate(channels: int, source_bps: int, expected: tuple[int, int]) -> None:
    facts = replace(FACTS, channels=channels, bitrate_bps=source_bps)
    plan = plan_audio(facts, 1, [ChunkSpec(0, 0, 100)], Fraction(25), 50)
    assert (plan.channels, plan.bitrate_bps) == expected


def test_late_sound_is_padded_in_front_and_early_sound_cut(tmp_path: Path) -> None:
    clip = Clip(frames=100, options=FAST, audio="pcm_s16le", audio_start_s=1.0, audio_s=2.0)
    encoded = run_stages(make_clip(tmp_path / "late.mkv", clip), tmp_path / "late")
    sound = decode_sound(encoded.workdir, encoded.sound_parts)
    assert first_loud(sound) == pytest.approx(1.0, abs=0.01)
    assert encoded.sound is not None
    assert encoded.sound.silence_inserted_s == pytest.approx(2.0, abs=0.05)
    assert loud_share(sound, 3.1, 3.9) < 0.05

    early = Clip(times=range(25, 125), options=FAST, audio="pcm_s16le", audio_s=1.5)
    encoded = run_stages(make_clip(tmp_path / "early.mkv", early), tmp_path / "early")
    sound = decode_sound(encoded.workdir, encoded.sound_parts)
    assert encoded.plan.origin.num / encoded.plan.origin.den == 1.0
    assert loud_share(sound, 0.05, 0.45) == pytest.approx(1, abs=0.05)
    assert loud_share(sound, 0.6, 3.9) < 0.05


def test_a_gap_in_the_sound_becomes_silence(tmp_path: Path) -> None:
    path = tmp_path / "a.mkv"
    with av.open(str(path), "w") as out:
        video = out.add_stream("libx264", rate=25, options=FAST)
        video.width, video.height, video.pix_fmt = 320, 180, "yuv420p"
        sound = out.add_stream("pcm_s16le", rate=RATE, layout="stereo")
        for _ in range(100):
            out.mux(video.encode(av.VideoFrame(320, 180, "yuv420p")))
        out.mux(video.encode(None))
        for start in (0.0, 2.5):
            for block in tone(1.5, start):
                out.mux(sound.encode(block))
    encoded = run_stages(path, tmp_path / "out")
    heard = decode_sound(encoded.workdir, encoded.sound_parts)
    assert loud_share(heard, 1.55, 2.45) < 0.05
    assert loud_share(heard, 2.55, 3.9) == pytest.approx(1, abs=0.05)
    assert encoded.sound is not None
    assert encoded.sound.silence_inserted_s == pytest.approx(1.0, abs=0.03)


def test_flash_and_beep_meet(tmp_path: Path) -> None:
    path = tmp_path / "a.mp4"
    fps, at = 30, (1, 3, 5)
    with av.open(str(path), "w") as out:
        video = out.add_stream("libx264", rate=fps, options=FAST)
        video.width, video.height, video.pix_fmt = 320, 180, "yuv420p"
        sound = out.add_stream("aac", rate=44_100, layout="stereo")
        for n in range(6 * fps):
            luma = np.full((180, 320), 235 if any(0 <= n - s * fps < 2 for s in at) else 16, np.uint8)
            out.mux(video.encode(av.VideoFrame.from_ndarray(luma, "gray").reformat(format="yuv420p")))
        out.mux(video.encode(None))
        wave = np.zeros((2, 6 * 44_100), np.float32)
        for s in at:
            wave[:, s * 44_100 : s * 44_100 + 2940] = 0.8 * np.sin(np.arange(2940) * 0.14)
        for start in range(0, wave.shape[1], 1024):
            block = av.AudioFrame.from_ndarray(np.ascontiguousarray(wave[:, start : start + 1024]), "fltp", "stereo")
            block.sample_rate, block.pts, block.time_base = 44_100, start, Fraction(1, 44_100)
            out.mux(sound.encode(block))
        out.mux(sound.encode(None))
    encoded = run_stages(path, tmp_path / "out")
    heard = decode_sound(encoded.workdir, encoded.sound_parts)
    for s in at:
        window = heard[0, int((s - 0.5) * RATE) : int((s + 0.5) * RATE)]
        beep_s = s - 0.5 + float(np.argmax(np.abs(window) > 0.2)) / RATE
        assert beep_s == pytest.approx(s, abs=0.012)


def test_a_retry_writes_only_the_parts_that_are_missing(tmp_path: Path) -> None:
    source = make_clip(tmp_path / "a.mp4", Clip(frames=200, options=FAST, audio="aac"))
    encoded = run_stages(source, tmp_path / "out")
    again = tmp_path / "again"
    again.mkdir()
    parts: list[TrackPart] = []
    encode_audio(source, encoded.plan, again, ignore, parts.append, skip_parts=1)
    assert len(parts) == 1
    assert parts == encoded.sound_parts[1:]
    assert [path.name for path in again.iterdir()] == [parts[0].file]
    assert (again / parts[0].file).read_bytes() == (encoded.workdir / parts[0].file).read_bytes()


def test_no_sound_is_normal_and_not_asked_for(tmp_path: Path) -> None:
    source = make_clip(tmp_path / "a.mp4", Clip(frames=5, options=FAST))
    plan = probe(source, tmp_path, MediaLimits(), ignore).plan
    assert plan.audio is None
    with pytest.raises(ValueError, match="no audio"):
        encode_audio(source, plan, tmp_path, ignore, lambda part: None)
