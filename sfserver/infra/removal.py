"""Removing folders that a hostile process filled: any depth, any number of entries, no recursion and no long paths.

A folder's own folders are first renamed up into the one that is to go, so each is emptied at depth one whatever its
depth was. Two descriptors are open at a time, and a path has one component.
"""

import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from uuid import uuid4

import structlog

log = structlog.get_logger(__name__)
_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_OWNER = 0o700


def remove_tree(folder: Path) -> None:
    """Remove a folder and what is in it, however deep; log what can't be removed, and never raise.

    Another may remove the same folder at the same time. A symbolic link or file in the folder's place is left alone.
    """
    while True:
        walk = _Walk()
        with walk.step():
            with _opened(folder) as top:
                walk.empty(top)
            folder.rmdir()
        if not os.path.lexists(folder):
            return
        if not walk.removed:
            log.warning("tree.left", path=str(folder), errors=walk.errors, first=str(walk.error))
            return


class _Walk:
    """One walk over what is there: `removed` counts what went, `error` is the first thing that kept something here."""

    def __init__(self) -> None:
        self.removed = self.errors = 0
        self.error: OSError | None = None

    @contextmanager
    def step(self) -> Iterator[None]:
        """Note an error instead of raising it; that something is gone already is none."""
        try:
            yield
        except FileNotFoundError:
            pass
        except OSError as error:
            self.errors += 1
            self.error = self.error or error

    def empty(self, top: int) -> None:
        """Remove every entry of `top`."""
        folders = self._unlink(top)
        while folders:
            folders += self._dissolve(top, folders.pop())

    def _dissolve(self, top: int, name: str) -> list[str]:
        """Remove the folder `name`, whose own folders come up into `top`; return what they are called there."""
        lifted: list[str] = []
        with self.step():
            with _opened(name, top) as fd:
                for inner in self._unlink(fd):
                    with self.step():
                        _permit(inner, fd)  # a folder that moves has its '..' rewritten
                        above = uuid4().hex
                        os.rename(inner, above, src_dir_fd=fd, dst_dir_fd=top)
                        lifted.append(above)
            os.rmdir(name, dir_fd=top)
            self.removed += 1
        return lifted

    def _unlink(self, fd: int) -> list[str]:
        """Remove all entries but folders; return the folders' names."""
        folders = []
        with os.scandir(fd) as entries:
            for entry in entries:
                with self.step():
                    if entry.is_dir(follow_symlinks=False):
                        folders.append(entry.name)
                        continue
                    os.unlink(entry.name, dir_fd=fd)
                    self.removed += 1
        return folders


@contextmanager
def _opened(name: str | Path, dir_fd: int | None = None) -> Iterator[int]:
    _permit(name, dir_fd)
    fd = os.open(name, _FOLDER, dir_fd=dir_fd)
    try:
        yield fd
    finally:
        os.close(fd)


def _permit(name: str | Path, dir_fd: int | None) -> None:
    """Let the owner into a folder that was closed to everybody."""
    mode = os.stat(name, dir_fd=dir_fd, follow_symlinks=False).st_mode
    if stat.S_ISDIR(mode) and mode & _OWNER != _OWNER:
        os.chmod(name, _OWNER, dir_fd=dir_fd)
