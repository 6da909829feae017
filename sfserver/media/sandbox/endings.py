"""The ways a run in a child ends, which decide who is charged for it."""

from dataclasses import dataclass
from enum import StrEnum
from typing import Any


@dataclass(frozen=True)
class StageRun:
    """What a call gave back, as the dataclass it returns, and what it cost."""

    result: Any
    cpu_s: float
    wall_s: float
    peak_rss_bytes: int


class StopReason(StrEnum):
    """Why a stage that was doing well is stopped."""

    CANCELLED = "cancelled"
    SHUTDOWN = "shutdown"
    LOST = "lost"


class Stopped(Exception):  # noqa: N818 - nothing went wrong
    """The stage was stopped because somebody asked for it."""

    def __init__(self, reason: StopReason) -> None:
        self.reason = reason
        super().__init__(str(reason))


class ChildCrashed(Exception):  # noqa: N818 - a fact about the child, which costs one attempt
    """The child died, by itself or because it used too much.

    `reason` completes "the media process …" for people; `signal_name` is set when a signal killed it; `log` is the
    end of what it wrote to its standard error, printable characters only.
    """

    def __init__(self, reason: str, *, signal_name: str | None = None, log: str = "") -> None:
        self.reason, self.signal_name, self.log = reason, signal_name, log
        super().__init__(reason)


class ChildTrouble(Exception):  # noqa: N818 - a fact about the machine, which the caller confirms or doubts
    """The child met an error of its surroundings: no room, no descriptors, a source that can't be read.

    `errno` is the system's number, or None where the library that met it kept none.
    """

    def __init__(self, errno: int | None, detail: str) -> None:
        self.errno, self.detail = errno, detail
        super().__init__(detail)


class ChildLost(Exception):  # noqa: N818 - a fact about the machine, never charged to the media
    """The child's end came without a status: whatever would have told it is gone itself."""

    def __init__(self, detail: str) -> None:
        self.detail = detail
        super().__init__(detail)
