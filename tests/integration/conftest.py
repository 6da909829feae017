"""Servers and clips that the integration tests share."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from sfserver.media.encode.sample import make_sample
from tests.integration.server import EmbeddedServer


@pytest.fixture(scope="session")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Ten seconds of 1280x720 with sound: three chunks, two rungs."""
    path = tmp_path_factory.mktemp("clips") / "ten seconds.mp4"
    make_sample(path, seconds=10, width=1280, height=720)
    return path


@pytest.fixture(scope="session")
def small_clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three seconds of 320x180 with sound: as quick as it gets."""
    path = tmp_path_factory.mktemp("clips") / "small.mp4"
    make_sample(path, seconds=3, width=320, height=180)
    return path


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedServer]:
    """One server a test module, for tests that leave it as they found it."""
    server = EmbeddedServer(tmp_path_factory.mktemp("server")).start()
    yield server
    server.close()


@pytest.fixture
def own_server(tmp_path: Path) -> Iterator[EmbeddedServer]:
    """A server that the test may kill."""
    server = EmbeddedServer(tmp_path / "data").start()
    yield server
    server.close()
