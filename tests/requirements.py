"""What a test needs from outside Python: players, ffmpeg, servers."""

import os
import shutil

import pytest


def must_have_everything() -> bool:
    """Whether a missing tool is a failure (CI) and not a reason to skip (a laptop)."""
    return any(os.environ.get(name, "") not in {"", "0", "false"} for name in ("CI", "SF_TEST_REQUIRE_SERVERS"))


def require_tool(*names: str) -> str:
    """Return the path of the first of `names` that is installed; skip the test without one, or fail it in CI."""
    found = next((path for name in names if (path := shutil.which(name))), None)
    if found:
        return found
    missing = f"needs {' or '.join(names)}"
    if must_have_everything():
        pytest.fail(f"{missing}, and SF_TEST_REQUIRE_SERVERS or CI says that it has to be here", pytrace=False)
    pytest.skip(missing)
