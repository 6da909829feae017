"""The data directory has one owner, and nobody else reads what it makes."""

import os
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from sfserver.errors import ConflictError
from sfserver.infra.data_directory import DataDirectoryLock


@pytest.fixture(autouse=True)
def umask() -> Iterator[None]:
    before = os.umask(0o022)
    yield
    os.umask(before)


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_a_data_directory_has_one_owner(tmp_path: Path) -> None:
    lock = DataDirectoryLock(tmp_path)
    with pytest.raises(ConflictError, match="another server"):
        DataDirectoryLock(tmp_path)
    lock.release()
    DataDirectoryLock(tmp_path).release()


def test_the_lock_dies_with_its_holder(tmp_path: Path) -> None:
    code = (
        "import os, signal, sys; from pathlib import Path; from sfserver.infra.data_directory import DataDirectoryLock;"
        "lock = DataDirectoryLock(Path(sys.argv[1])); os.kill(os.getpid(), signal.SIGKILL)"
    )
    assert subprocess.run([sys.executable, "-c", code, str(tmp_path)], check=False).returncode == -9
    DataDirectoryLock(tmp_path).release()


def test_what_is_made_after_the_lock_is_for_the_owner_alone(tmp_path: Path) -> None:
    DataDirectoryLock(tmp_path / "new" / "data").release()
    (tmp_path / "new" / "data" / "objects").mkdir()
    (tmp_path / "new" / "data" / "file").touch()
    found = [mode(tmp_path / "new" / "data" / name) for name in ("", "lock", "objects", "file")]
    assert found == [0o700, 0o600, 0o700, 0o600]


def test_a_directory_that_others_can_read_is_named_loudly(tmp_path: Path) -> None:
    for folder, given, events in (("open", 0o755, ["data_directory.open_to_others"]), ("closed", 0o700, [])):
        (tmp_path / folder).mkdir(mode=given)
        with capture_logs() as logs:
            DataDirectoryLock(tmp_path / folder).release()
        assert [line["event"] for line in logs] == events
        assert [line["log_level"] for line in logs] == ["error" for _ in events]
