from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sfserver.media.contract import ChunkSpec
from sfserver.media.encode.ladder import BASE_CRF, BOXES, build_ladder, chunk_options, h264_level

LIMITS = {box.name: (box.long_side, box.short_side, box.rate_bps) for box in BOXES}


def sizes(width: int, height: int) -> dict[str, tuple[int, int]]:
    rungs, _ = build_ladder(width, height, Fraction(25), 50)
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
@given(st.integers(1, 8192), st.integers(1, 8192))
def test_no_rung_upscales_or_leaves_its_box(width: int, height: int) -> None:
    rungs, reasons = build_ladder(width, height, Fraction(30), 60)
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
        assert rung.maxrate_bps == rate
    areas = [rung.width * rung.height for rung in rungs]
    assert areas == sorted(areas, reverse=True)


def test_every_box_says_why_it_is_in_or_out() -> None:
    rungs, reasons = build_ladder(768, 432, Fraction(25, 2), 25)
    assert "1080p left out: the source is 768x432" in reasons[0]
    assert "source's own size" in rungs[0].reason
    assert "scaled into 640x360; at most 1000 kb/s" in rungs[1].reason


@given(st.integers(60, 100_000), st.sampled_from(range(3)))
def test_a_chunk_never_spends_more_than_its_rungs_rate(frames: int, place: int) -> None:
    rung = build_ladder(1920, 1080, Fraction(30), 60)[0][place]
    options = chunk_options(rung, ChunkSpec(0, 0, frames), Fraction(30))
    at_once = float(next(p for p in options["x264-params"].split(":") if p.startswith("vbv-init=")).split("=")[1])
    spent = int(options["maxrate"]) * frames / 30 + int(options["bufsize"]) * at_once
    assert spent <= rung.maxrate_bps * frames / 30 + 1
    assert int(options["maxrate"]) >= rung.maxrate_bps / 2
    assert at_once >= 0.9


def test_the_shortest_video_may_spend_what_a_gop_may() -> None:
    rung = build_ladder(1920, 1080, Fraction(30), 60)[0][0]
    one, gop = (chunk_options(rung, ChunkSpec(0, 0, frames), Fraction(30)) for frames in (1, 60))
    assert one == gop
    # A second's worth: a dense slide's keyframe at 1080p takes half of it.
    assert int(one["bufsize"]) == rung.maxrate_bps


def test_a_chunks_crf_is_the_one_option_it_changes() -> None:
    rung = build_ladder(1280, 720, Fraction(25), 50)[0][0]
    usual, coarse = (chunk_options(rung, ChunkSpec(0, 0, 100), Fraction(25), crf) for crf in (BASE_CRF, 26.5))
    assert usual["crf"] == rung.options["crf"] == "23.5"
    assert coarse == {**usual, "crf": "26.5"}


@pytest.mark.parametrize(
    ("size", "fps", "level"),
    [((1920, 1080), 30, 40), ((1920, 1080), 60, 42), ((1280, 720), 30, 31), ((640, 360), 30, 30), ((176, 144), 10, 21)],
)
def test_levels(size: tuple[int, int], fps: int, level: int) -> None:
    assert h264_level(*size, Fraction(fps)) == level
