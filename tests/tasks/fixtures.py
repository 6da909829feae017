"""A harness in memory where there is some: nothing here tests what a power cut leaves."""

from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
import structlog

from tests.tasks.harness import Harness, build_harness

_MEMORY = Path("/dev/shm")


@pytest.fixture(scope="session", autouse=True)
def plain_log() -> None:
    """Keep structlog from drawing tracebacks with all their variables, which takes seconds."""
    structlog.configure(processors=[structlog.processors.format_exc_info, structlog.processors.KeyValueRenderer()])


@pytest.fixture
def data_dir(tmp_path: Path) -> Iterator[Path]:
    with TemporaryDirectory(dir=_MEMORY if _MEMORY.is_dir() else tmp_path) as folder:
        yield Path(folder)


@pytest.fixture
def harness(data_dir: Path, empty_database: Path) -> Iterator[Harness]:
    """Yield a harness; whatever the test did, its rows must add up at the end."""
    harness = build_harness(data_dir, empty_database)
    yield harness
    harness.check()
    harness.runtime.database.close()
