"""`python -m tests.promises.cut_server CUT …`: the embedded server, which a SIGKILL meets at one exact point.

CUT is "<what>:<when>:<n>": the n-th commit of a transaction that wrote, or the n-th publishing of an object, and
whether the kill comes before or after it. So every boundary at which something becomes durable has a cell.
"""

import os
import signal
import sys
import threading
from collections.abc import Callable
from typing import Any, ParamSpec, TypeVar

from sqlalchemy.orm import Session

from sfserver import __main__
from sfserver.infra.storage import directory

ARMED = "SF_TEST_CUT_ARMED"
_P = ParamSpec("_P")
_R = TypeVar("_R")


class Cut:
    """Counts calls since the server was armed, by a file that appears, and ends the process at its own."""

    def __init__(self, when: str, number: int) -> None:
        self._when, self._left = when, number
        self._lock = threading.Lock()

    def around(self, function: Callable[_P, _R]) -> Callable[_P, _R]:
        def counted(*args: _P.args, **kwargs: _P.kwargs) -> _R:
            mine = self._is_the_one()
            if mine and self._when == "before":
                _die()
            result = function(*args, **kwargs)
            if mine:
                _die()
            return result

        return counted

    def _is_the_one(self) -> bool:
        if not os.path.exists(os.environ[ARMED]):  # noqa: PTH110 - cheap: it is asked at every commit
            return False
        with self._lock:
            self._left -= 1
            return self._left == 0


def _die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def main() -> int:
    """Patch the one boundary and run the server as ever."""
    what, when, number = sys.argv.pop(1).split(":")
    cut = Cut(when, int(number))
    if what == "publish":
        directory._publish = cut.around(directory._publish)
    else:
        original: Any = Session.commit
        counted = cut.around(original)

        def commit(session: Session) -> None:
            (counted if _writes(session) else original)(session)

        Session.commit = commit  # type: ignore[method-assign]
    return __main__.main()


def _writes(session: Session) -> bool:
    return not session.get_bind().get_execution_options().get("sf_read_only", False)


if __name__ == "__main__":
    sys.exit(main())
