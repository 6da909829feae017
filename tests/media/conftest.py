"""Clips made once a session."""

from fractions import Fraction

import pytest

from tests.media.encoded import Packaged, make_packaged, make_plan


@pytest.fixture(scope="session")
def packaged(tmp_path_factory: pytest.TempPathFactory) -> Packaged:
    """Package 5.2 s at 25 fps, two rungs, with sound."""
    plan = make_plan(130, fps=Fraction(25), sizes=(("720p", 320, 180), ("360p", 160, 90)), chunk_gops=1)
    return make_packaged(plan, tmp_path_factory.mktemp("packaged"))


@pytest.fixture(scope="session")
def silent(tmp_path_factory: pytest.TempPathFactory) -> Packaged:
    """Package 109 frames at 23.976 fps without sound."""
    plan = make_plan(109, fps=Fraction(24000, 1001), chunk_gops=1, sound=False)
    return make_packaged(plan, tmp_path_factory.mktemp("silent"))
