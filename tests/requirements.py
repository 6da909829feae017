"""What a test needs from outside Python: players, ffmpeg, servers."""

import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path

import pytest

_LIST = Path(__file__).parents[1] / ".ci" / "run"


def must_have_everything() -> bool:
    """Whether a missing tool is a failure (CI) and not a reason to skip (a laptop)."""
    return any(os.environ.get(name, "") not in {"", "0", "false"} for name in ("CI", "SF_TEST_REQUIRE_SERVERS"))


@cache
def listed_tools() -> frozenset[str]:
    """Return the programs that `.ci/run` installs."""
    block = _LIST.read_text().partition("\ntools=(")[2].partition("\n)")[0]
    return frozenset(re.findall(r"^  ([\w.+-]+)=", block, re.MULTILINE))


def require_tool(*names: str) -> str:
    """Return the path of the first of `names` that is installed; skip the test without one, or fail it in CI.

    One of the names must be in the list of `.ci/run`: a tool that it does not install fails on a new machine alone.
    """
    if not listed_tools() & set(names):
        pytest.fail(f"{' or '.join(names)} is not in the list of .ci/run, so CI would not have it", pytrace=False)
    found = next((path for name in names if (path := shutil.which(name))), None)
    if found:
        return found
    missing = f"needs {' or '.join(names)}"
    if must_have_everything():
        pytest.fail(f"{missing}, and SF_TEST_REQUIRE_SERVERS or CI says that it has to be here", pytrace=False)
    pytest.skip(missing)


@contextmanager
def mounted_tmpfs(folder: Path, size_bytes: int) -> Iterator[Path]:
    """Mount a small disk in memory at `folder` while the block runs; skip the test where that is not allowed."""
    folder.mkdir(parents=True)
    options = ["-t", "tmpfs", "-o", f"size={size_bytes}", "tmpfs", str(folder)]
    mounted = subprocess.run(["mount", *options], check=False, capture_output=True, text=True)
    if mounted.returncode:
        missing = f"needs to mount a disk of its own: {mounted.stderr.strip()}"
        if must_have_everything():
            pytest.fail(missing, pytrace=False)
        pytest.skip(missing)
    try:
        yield folder
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)
