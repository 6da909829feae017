"""The lock that proves there is one owner of a data directory."""

import fcntl
import os
from pathlib import Path

from sfserver.errors import ConflictError


class DataDirectoryLock:
    """An advisory lock on `<data_dir>/lock`.

    The kernel releases it when its holder dies, however it dies. Whoever gets it has proof that every lease an
    earlier process held on this directory is dead.
    """

    def __init__(self, data_dir: Path) -> None:
        data_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._fd = os.open(data_dir / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(self._fd)
            raise ConflictError(f"another server runs on {data_dir}", hint="`sfctl status` shows it") from None

    def release(self) -> None:
        """Give the directory up."""
        os.close(self._fd)
