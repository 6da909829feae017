"""Live progress on stderr: bars on a terminal, a line a change elsewhere, NDJSON for programs."""

import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Protocol

from sfctl.bars import JobRow, choose_glyphs, describe_pace, draw_board
from sfctl.text import safe_text

if TYPE_CHECKING:
    from sfctl.context import Environment

_REDRAW_S = 0.1
_PLAIN_STEP = 0.1
_PLAIN_PAUSE_S = 1.0


class Reporter(Protocol):
    """Shows rows as they change."""

    def changed(self, row: JobRow) -> None:
        """Show that a row has changed."""

    def note(self, text: str) -> None:
        """Show a line that stays."""

    def tick(self) -> None:
        """Draw what is due; called some ten times a second."""

    def close(self) -> None:
        """Leave the terminal as it was, with the last state on it."""


class SilentReporter:
    """Shows nothing."""

    def changed(self, row: JobRow) -> None:
        """Ignore it."""

    def note(self, text: str) -> None:
        """Ignore it."""

    def tick(self) -> None:
        """Ignore it."""

    def close(self) -> None:
        """Ignore it."""


class TtyReporter:
    """Redraws a block of bars in place, at most ten times a second."""

    def __init__(self, environment: "Environment") -> None:
        self._environment, self._stream = environment, environment.stderr
        self._glyphs = choose_glyphs(getattr(environment.stderr, "encoding", None))
        self._rows: dict[int, JobRow] = {}
        self._notes: list[str] = []
        self._drawn, self._drawn_at, self._is_dirty = 0, 0.0, False
        self._has_cursor = True

    def changed(self, row: JobRow) -> None:
        """Take the row in and draw where it is time."""
        self._rows[id(row)] = row
        self._is_dirty = True
        self.tick()

    def note(self, text: str) -> None:
        """Write a line above the block, where nothing is drawn any more."""
        self._notes.append(safe_text(text))
        self._draw()

    def tick(self) -> None:
        """Draw if something changed since the last drawing."""
        now = time.monotonic()
        if self._is_dirty and now - self._drawn_at >= _REDRAW_S:
            self._draw()
            self._drawn_at = now

    def close(self) -> None:
        """Draw the final state and show the cursor again."""
        if self._is_dirty:
            self._draw()
        if not self._has_cursor:
            self._stream.write("\x1b[?25h")
            self._stream.flush()

    def _draw(self) -> None:
        rows = list(self._rows.values())
        lines = draw_board(rows, self._environment.terminal_size(), self._glyphs) if rows else []
        # Up to the first line of the block, then each line over its predecessor: clearing it all first flickers.
        start = ("\x1b[?25l" if self._has_cursor else "") + (f"\x1b[{self._drawn}F" if self._drawn else "")
        self._stream.write(start + "".join(f"{line}\x1b[K\n" for line in [*self._notes, *lines]) + "\x1b[J")
        self._stream.flush()
        self._notes.clear()
        self._drawn, self._is_dirty, self._has_cursor = len(lines), False, False


class PlainReporter:
    """Writes a line when a job changes its state or stage, and once a second at most when it gets a tenth further."""

    def __init__(self, environment: "Environment", clock: Callable[[], float] = time.monotonic) -> None:
        self._stream, self._clock = environment.stderr, clock
        self._told_at: dict[int, float] = {}
        self._told: dict[int, tuple[str, str | None, int, str]] = {}

    def changed(self, row: JobRow) -> None:
        """Write a line if there is news."""
        said = f"waiting: {row.waiting}" if row.is_waiting else row.note or ""
        news = (row.state, row.stage, int(row.progress / _PLAIN_STEP), said)
        before, now = self._told.get(id(row)), self._clock()
        is_step = before is not None and (before[:2], before[3]) == (news[:2], news[3])
        if before == news or (is_step and now - self._told_at[id(row)] < _PLAIN_PAUSE_S):
            return
        self._told[id(row)], self._told_at[id(row)] = news, now
        stage = f" {row.stage}" if row.stage and not row.is_final else ""
        pace = said if row.is_waiting else describe_pace(row)
        line = f"{row.title}: {row.state}{stage} {int(row.progress * 100)}%{'  ' + pace if pace else ''}"
        self.note(line)

    def note(self, text: str) -> None:
        """Write a line."""
        self._stream.write(safe_text(text) + "\n")
        self._stream.flush()

    def tick(self) -> None:
        """Nothing is ever due."""

    def close(self) -> None:
        """Nothing to restore."""


class JsonReporter:
    """Writes each change as one line of JSON."""

    def __init__(self, environment: "Environment") -> None:
        self._stream = environment.stderr

    def changed(self, row: JobRow) -> None:
        """Write the row."""
        line = {
            "job_id": row.job_id,
            "title": row.title,
            "state": row.state,
            "stage": row.stage,
            "progress": round(row.progress, 4),
            "speed": row.speed,
            "eta_s": row.eta_s,
            "note": row.note,
            "waiting": row.waiting if row.is_waiting else None,
            "playable_s": row.playable_s,
            "rungs": {name: {"progress": rung.progress, "fps": rung.fps} for name, rung in row.rungs.items()},
        }
        self._stream.write(json.dumps(line) + "\n")
        self._stream.flush()

    def note(self, text: str) -> None:
        """Write nothing: what it is about is in the row."""

    def tick(self) -> None:
        """Nothing is ever due."""

    def close(self) -> None:
        """Nothing to restore."""


def make_reporter(environment: "Environment", mode: str) -> Reporter:
    """Make the reporter of a `--progress` mode; `auto` draws bars on a terminal that can, lines elsewhere."""
    if mode == "auto":
        can_draw = environment.stderr_tty and environment.variables.get("TERM") != "dumb"
        mode = "tty" if can_draw else "plain"
    kinds: dict[str, type[TtyReporter | PlainReporter | JsonReporter]] = {
        "tty": TtyReporter,
        "plain": PlainReporter,
        "json": JsonReporter,
    }
    return kinds[mode](environment) if mode in kinds else SilentReporter()


@contextmanager
def reporting(environment: "Environment", mode: str) -> Iterator[Reporter]:
    """Make a reporter and close it whatever happens."""
    reporter = make_reporter(environment, mode)
    try:
        yield reporter
    finally:
        reporter.close()
