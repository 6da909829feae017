"""Reports from inside a stage, a few a second at most."""

import time
from collections.abc import Callable

Report = Callable[[dict[str, object]], None]


class Throttle:
    """Pass on a report when a quarter of a second has gone by since the last one."""

    def __init__(self, report: Report, interval_s: float = 0.25) -> None:
        self._report, self._interval_s, self._next = report, interval_s, 0.0

    def __call__(self, make: Callable[[], dict[str, object]]) -> None:
        """Report what `make` returns, if it is time to."""
        now = time.monotonic()
        if now >= self._next:
            self._next = now + self._interval_s
            self._report(make())
