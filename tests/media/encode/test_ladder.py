from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sfserver.media.contract import ChunkSpec
from sfserver.media.encode.ladder import BOXES, build_ladder, chunk_options, h264_level

LIMITS = {box.name: (box.long_side, box.short_side, box.rate_bps) for box in BOXES}


def sizes(width: int, height: int) -> dict[str, tuple[int, int]]:
    rungs, _ = build_ladder(width, height, Fraction(25), 50, 10**9)
    return {rung.name: (rung.width, rung.height) for rung in rungs}


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ((1920, 1080), {"1080p": (1920, 1080), "720p": (1280, 720), "360p": (640, 360)}),
        ((1080, 1920), {"1080p": (1080, 1920), "720p": (720, 1280), "360p": (360, 640)}),
        ((3840, 2160), {"1080p": (1920, 1080), "720p": (1280, 720), "360p": (640, 360)}),
        ((1948, 1182), {"1080p": (1780, 1080), "720p": (1186, 720), "360p": (594, 360)}),
        ((768, 432), {"720p": (768, 432), "360p": (640, 360)}),
        ((640, 480), {"720p": (640, 480), "360p": (480, 360)}),
        ((640, 360), {"360p": (640, 360)}),
        ((176, 144), {"360p": (176, 144)}),
        ((321, 181), {"360p": (320, 180)}),
        ((1, 1), {"360p": (2, 2)}),
    ],
)
def test_ladder_of(source: tuple[int, int], expected: dict[str, tuple[int, int]]) -> None:
    assert sizes(*source) == expected


@settings(deadline=None)
@given(st.integers(1, 8192), st.integers(1, 8192), st.integers(0, 10**8))
def test_no_rung_upscales_leaves_its_box_or_outspends_the_source(width: int, height: int, source_bps: int) -> None:
    rungs, reasons = build_ladder(width, height, Fraction(30), 60, source_bps)
    assert len(reasons) == len(BOXES)
    assert rungs[-1].name == "360p"
    for rung in rungs:
        long, short, rate = LIMITS[rung.name]
        assert rung.width % 2 == 0
        assert rung.height % 2 == 0
        assert rung.width <= max(2, width)
        assert rung.height <= max(2, height)
        assert max(rung.width, rung.height) <= long
        assert min(rung.width, rung.height) <= short
        assert rung.maxrate_bps <= max(32_000, min(rate, source_bps))
    areas = [rung.width * rung.height for rung in rungs]
    assert areas == sorted(areas, reverse=True)


def test_every_box_says_why_it_is_in_or_out() -> None:
    rungs, reasons = build_ladder(768, 432, Fraction(25, 2), 25, 600_000)
    assert "1080p left out: the source is 768x432" in reasons[0]
    assert "source's own size" in rungs[0].reason
    assert "scaled into 640x360; at most 600 kb/s (the source's own video rate)" in rungs[1].reason


@settings(deadline=None)
@given(st.integers(1, 100_000), st.integers(32_000, 5_000_000))
def test_a_chunk_never_spends_more_than_its_rungs_rate(frames: int, source_bps: int) -> None:
    fps = Fraction(30)
    rung = build_ladder(1920, 1080, fps, 60, source_bps)[0][0]
    options = chunk_options(rung, ChunkSpec(0, 0, frames), fps)
    length_s = frames / 30
    spent = int(options["maxrate"]) * length_s + int(options["bufsize"]) * 0.5
    assert spent <= rung.maxrate_bps * length_s + 1
    assert int(options["maxrate"]) >= rung.maxrate_bps * 0.7 - 1
    assert {**options, **rung.options} == options


@pytest.mark.parametrize(
    ("size", "fps", "level"),
    [((1920, 1080), 30, 40), ((1920, 1080), 60, 42), ((1280, 720), 30, 31), ((640, 360), 30, 30), ((176, 144), 10, 21)],
)
def test_levels(size: tuple[int, int], fps: int, level: int) -> None:
    assert h264_level(*size, Fraction(fps)) == level
