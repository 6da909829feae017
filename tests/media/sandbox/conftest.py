from pathlib import Path

import pytest

from sfserver.media.sandbox import process as sandbox_process
from sfserver.media.sandbox.parent import Sandbox
from tests.media.sandbox.attempts import LIMITS, Attempt


@pytest.fixture(scope="session", autouse=True)
def _fork_server() -> None:
    sandbox_process.stop_fork_server()  # an earlier test may have started one that preloads less
    Sandbox(LIMITS, preload=["sfserver.media.encode.video:run_encode"]).start()


@pytest.fixture
def attempt(tmp_path: Path) -> Attempt:
    return Attempt(tmp_path)
