from collections.abc import Sequence
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from bench.screens import Draw as DrawPlanes
from bench.screens import colour_bars, slides, typing
from sfserver.media.contract import MediaLimits
from sfserver.media.encode.budget import ALLOWANCE_BYTES
from sfserver.media.encode.plan import probe, track_timescale
from sfserver.media.encode.sample import landscape
from tests.media.clips import Clip, Draw, Encoded, ignore, make_clip, run_stages
from tests.media.similarity import rung_ssims

HD = (1920, 1080)
NATURAL = Clip(size=(640, 360), fps=Fraction(25), gop=250)


def pan(size: tuple[int, int]) -> Draw:
    """Look over bushes at hills: two landscapes of 1/f noise that move apart, under the grain of a sensor."""
    width, height = size
    rng = np.random.default_rng(3)
    far, near = (
        landscape(rng, height + 120, width + 1200, contrast=contrast, slope=1.25).astype(np.int16)
        for contrast in (34.0, 46.0)
    )
    grain = rng.normal(0, 1.5, (height + 32, width + 32)).astype(np.int16)
    bushes = near > 150

    def draw(number: int) -> np.ndarray:
        x, y, gx, gy = number % 600, int(50 + 49 * np.sin(number / 9)), number * 7 % 32, number * 11 % 32
        back = far[y : y + height, x : x + width]
        front, cover = (layer[y : y + height, 2 * x : 2 * x + width] for layer in (near, bushes))
        seen = np.where(cover, front, back) + grain[gy : gy + height, gx : gx + width]
        return np.clip(seen, 16, 235).astype(np.uint8)

    return draw


def luma_of(draw: DrawPlanes) -> Draw:
    return lambda number: draw(number)[0]


def made_bytes(encoded: Encoded) -> int:
    return sum(part.size_bytes for chunk in encoded.chunks for part in chunk.parts.values())


@pytest.mark.parametrize(
    ("name", "clip", "draw", "rungs"),
    [
        ("bars.mp4", Clip(frames=25, gop=250), colour_bars(HD), ["1080p", "720p", "360p"]),
        ("flash.mp4", Clip(frames=2), slides(HD, 90, seed=1, dense=True), ["1080p", "720p", "360p"]),
        ("slides.mp4", Clip(frames=200, gop=250), slides(HD, 100, seed=2), ["1080p", "360p"]),
        ("dense.mkv", Clip(frames=60, gop=250), slides(HD, 150, seed=3, dense=True), ["1080p", "360p"]),
        ("typing.mp4", Clip(frames=100, gop=250, options={"crf": "28"}), typing(HD, 4), ["1080p", "720p", "360p"]),
    ],
)
def test_screens_come_out_as_they_were_in_every_frame_of_every_rung(
    name: str, clip: Clip, draw: DrawPlanes, rungs: Sequence[str], tmp_path: Path
) -> None:
    options = {"preset": "veryfast", **clip.options}
    source = make_clip(tmp_path / name, replace(clip, size=HD, options=options), draw_luma=luma_of(draw))
    encoded = run_stages(source, tmp_path / "out")
    assert [rung.name for rung in encoded.plan.rungs] == rungs
    for rung, ssims in rung_ssims(source, encoded).items():
        assert len(ssims) == clip.frames
        assert min(ssims) >= 0.98, rung
    assert made_bytes(encoded) <= 3 * source.stat().st_size + ALLOWANCE_BYTES


@pytest.mark.parametrize(
    ("codec", "options"),
    [
        ("libx264", {"preset": "veryfast", "crf": "36"}),
        ("libx265", {"preset": "ultrafast", "crf": "32", "x265-params": "log-level=none:pools=1:frame-threads=1"}),
    ],
)
@pytest.mark.parametrize("gop", [50, 1000])
def test_a_natural_source_of_low_rate_keeps_within_three_times_its_size(
    codec: str, options: dict[str, str], gop: int, tmp_path: Path
) -> None:
    clip = replace(NATURAL, codec=codec, frames=350, gop=gop, options=options)
    source = make_clip(tmp_path / "a.mp4", clip, draw_luma=pan(clip.size))
    encoded = run_stages(source, tmp_path / "out")
    assert made_bytes(encoded) <= 3 * source.stat().st_size + ALLOWANCE_BYTES
    assert max(chunk.crf for chunk in encoded.chunks) > 23.5


def test_the_budget_is_of_picture_and_sound_and_each_chunk_knows_its_sources_bytes(tmp_path: Path) -> None:
    source = make_clip(tmp_path / "a.mp4", Clip(frames=200, gop=25, audio="aac", options={"preset": "ultrafast"}))
    probed = probe(source, tmp_path, MediaLimits(), ignore)
    plan, sizes = probed.plan, [chunk.source_bytes for chunk in probed.plan.chunks]
    assert len(sizes) >= 2
    assert all(sizes)
    assert sum(sizes) == plan.budget.source_bytes
    assert plan.budget.chunks == len(sizes)
    assert plan.audio is not None
    sound = plan.audio.bitrate_bps * 8 // 8
    size = source.stat().st_size
    assert plan.budget.source_bytes < size
    assert size * 3 + ALLOWANCE_BYTES - sound - 3 * 20_000 < plan.budget.allowed_bytes < size * 3 + ALLOWANCE_BYTES


def test_frames_that_are_never_shown_count_with_the_one_they_serve(tmp_path: Path) -> None:
    source = make_clip(tmp_path / "a.webm", Clip("libvpx", frames=130, gop=250, options={"deadline": "realtime"}))
    hidden, sizes = tmp_path / "b.webm", []
    with av.open(str(source)) as given, av.open(str(hidden), "w") as out:
        stream = out.add_stream_from_template(given.streams.video[0])
        for number, packet in enumerate(p for p in given.demux(video=0) if p.size):
            # Bit 4 of a VP8 frame's tag says whether it is shown (RFC 6386, 9.1).
            data = bytearray(bytes(packet))
            data[0] &= 0xEF if number % 10 == 5 else 0xFF
            copy = av.Packet(bytes(data))
            copy.pts, copy.dts, copy.time_base, copy.stream = packet.pts, packet.dts, packet.time_base, stream
            copy.is_keyframe = packet.is_keyframe
            out.mux(copy)
            sizes.append(len(data))
    probed = probe(hidden, tmp_path, MediaLimits(), ignore)
    assert probed.facts.video.frames == 130 - 13
    assert sum(chunk.source_bytes for chunk in probed.plan.chunks) == sum(sizes)


def test_a_frame_that_is_dropped_counts_with_the_next(tmp_path: Path) -> None:
    clip = Clip(fps=Fraction(100), frames=400, gop=20, options={"preset": "ultrafast"})
    probed = probe(make_clip(tmp_path / "a.mp4", clip), tmp_path, MediaLimits(), ignore)
    assert probed.plan.fps.num == 50
    assert sum(chunk.source_bytes for chunk in probed.plan.chunks) == probed.plan.budget.source_bytes


@pytest.mark.parametrize(
    ("fps", "expected"), [(Fraction(30), 90_000), (Fraction(24_000, 1001), 24_000), (Fraction(481, 16), 15_392)]
)
def test_a_frame_is_a_whole_number_of_ticks(fps: Fraction, expected: int) -> None:
    assert track_timescale(fps) == expected
    assert (expected / fps).denominator == 1


@pytest.mark.parametrize(
    ("name", "clip", "chunks", "opening"),
    [
        ("short.mp4", Clip(frames=30, gop=250), [30], 0),
        ("two.mp4", Clip(frames=100, gop=250), [50, 50], 0),
        ("one_keyframe.mp4", Clip(frames=350, gop=1000), [150, 50, 50, 100], 5),
        ("often.mp4", Clip(frames=800, gop=25), [150, *[50] * 6, *[100] * 3, 50], 9),
        ("slow.mp4", Clip(frames=330, fps=Fraction(6), gop=1000), [330], 0),
        ("untimed.avi", Clip(frames=350, gop=25, options={"bf": "2"}), [350], 0),
        ("half.mkv", Clip(frames=120, fps=Fraction(25, 2), gop=1000), [75, 45], 3),
        ("film.mkv", Clip(frames=240, fps=Fraction(24000, 1001), gop=1000), [144, 48, 48], 5),
        ("ntsc.mkv", Clip(frames=600, fps=Fraction(60000, 1001), gop=1000), [360, 120, 120], 5),
    ],
)
def test_the_plan_opens_with_single_gops_where_somebody_could_watch_on(
    name: str, clip: Clip, chunks: list[int], opening: int, tmp_path: Path
) -> None:
    source = make_clip(tmp_path / name, replace(clip, size=(64, 36), options={"preset": "ultrafast", **clip.options}))
    plan = probe(source, tmp_path, MediaLimits(), ignore).plan
    assert plan.picture.sequential == (name == "untimed.avi")
    assert [chunk.end_frame - chunk.start_frame for chunk in plan.chunks] == chunks
    assert (plan.opening_gops, plan.segment_gops) == (opening, 2)
    assert plan.frames == clip.frames
    assert plan.frame_ticks * plan.fps.num == plan.timescale * plan.fps.den
