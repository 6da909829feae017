"""Clips made once a session."""

from fractions import Fraction
from pathlib import Path

import pytest

from tests.media.encoded import make_plan
from tests.media.packaged import Packaged, make_packaged


@pytest.fixture(scope="session")
def packaged(tmp_path_factory: pytest.TempPathFactory) -> Packaged:
    """Package 13.2 s at 25 fps, two rungs, with sound: three chunks of a GOP, then two of two, the last one short."""
    sizes = (("720p", 320, 180), ("360p", 160, 90))
    plan = make_plan(330, fps=Fraction(25), sizes=sizes, opening_gops=3)
    return make_packaged(plan, tmp_path_factory.mktemp("packaged"))


@pytest.fixture(scope="session")
def silent(tmp_path_factory: pytest.TempPathFactory) -> Packaged:
    """Package 109 frames at 23.976 fps without sound, in chunks of a GOP."""
    plan = make_plan(109, fps=Fraction(24000, 1001), chunk_gops=1, sound=False)
    return make_packaged(plan, tmp_path_factory.mktemp("silent"))


@pytest.fixture(scope="session")
def published(packaged: Packaged, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Write what `packaged` is to players where its URLs say."""
    return packaged.publish(tmp_path_factory.mktemp("published"))
