"""One owner of a data directory: a lock against other servers, and modes against other users."""

import fcntl
import os
import stat
from pathlib import Path

import structlog

from sfserver.errors import ConflictError

log = structlog.get_logger(__name__)
_OTHERS = 0o077


class DataDirectoryLock:
    """An advisory lock on `<data_dir>/lock`.

    The kernel releases it when its holder dies, however it dies. Whoever gets it has proof that every lease an
    earlier process held on this directory is dead. What the process makes from then on is for its user alone.
    """

    def __init__(self, data_dir: Path) -> None:
        _make_private(data_dir)
        self._fd = os.open(data_dir / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(self._fd)
            raise ConflictError(f"another server runs on {data_dir}", hint="`sfctl status` shows it") from None

    def release(self) -> None:
        """Give the directory up."""
        os.close(self._fd)


def _make_private(data_dir: Path) -> None:
    """Set the process's umask and make the directory; say so where it was there and is open to others."""
    os.umask(_OTHERS)
    data_dir.mkdir(parents=True, exist_ok=True)
    mode = stat.S_IMODE(data_dir.stat().st_mode)
    if mode & _OTHERS:
        hint = f"other users of this machine can read private videos: chmod -R go= {data_dir}"
        log.error("data_directory.open_to_others", path=str(data_dir), mode=f"{mode:04o}", hint=hint)
