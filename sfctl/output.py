"""Results on stdout, everything else on stderr: fitted tables on a terminal, tab-separated ones in a pipe, JSON."""

import json
import textwrap
from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import TYPE_CHECKING

from sfctl.text import safe_text

if TYPE_CHECKING:
    from sfctl.context import Environment


_MIN_CELL = 6


class Output:
    """The voice of a command. `quiet` prints ids only, `as_json` documented JSON."""

    def __init__(self, environment: "Environment", *, color: str, as_json: bool, quiet: bool) -> None:
        self.environment = environment
        self.as_json, self.quiet = as_json, quiet
        self._color = color

    def has_color(self, *, is_tty: bool) -> bool:
        """Decide about colour: `--color`, then NO_COLOR, FORCE_COLOR and TERM, then the terminal."""
        if self._color != "auto":
            return self._color == "always"
        variables = self.environment.variables
        if variables.get("NO_COLOR"):
            return False
        return bool(variables.get("FORCE_COLOR")) or (is_tty and variables.get("TERM") != "dumb")

    def line(self, text: str = "") -> None:
        """Write one line of result."""
        self.environment.stdout.write(safe_text(text) + "\n")
        self.environment.stdout.flush()

    def paragraph(self, text: str, *, indent: str = "  ") -> None:
        """Write a long line of result, wrapped on a terminal with `indent` before what follows."""
        if not self.environment.stdout_tty:
            self.line(text)
            return
        width = self.environment.terminal_size()[0]
        for line in textwrap.wrap(safe_text(text), width, subsequent_indent=indent, break_on_hyphens=False):
            self.line(line)

    def note(self, text: str = "") -> None:
        """Write one line that is no result, to stderr."""
        self.environment.stderr.write(safe_text(text) + "\n")
        self.environment.stderr.flush()

    def json(self, value: object, *, indent: int | None = 2) -> None:
        """Write a wire model, or a structure of plain values, as JSON in ASCII, which is inert anywhere."""
        self.environment.stdout.write(json.dumps(value, indent=indent, default=_plain) + "\n")
        self.environment.stdout.flush()

    def table(self, columns: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
        """Write rows under `columns`; a pipe gets tab-separated rows without a header."""
        if self.environment.stdout_tty:
            self._fitted(columns, [[safe_text(cell) for cell in row] for row in rows])
            return
        for row in rows:
            self.environment.stdout.write("\t".join(safe_text(cell) for cell in row) + "\n")

    def ids(self, ids: Iterable[str]) -> None:
        """Write ids, one a line."""
        self.environment.stdout.writelines(f"{safe_text(each)}\n" for each in ids)

    def time(self, moment: datetime) -> str:
        """Write a time: to the minute in local time on a terminal, RFC 3339 in a pipe."""
        return f"{moment.astimezone():%Y-%m-%d %H:%M}" if self.environment.stdout_tty else moment.isoformat()

    def facts(self, pairs: Iterable[tuple[str, str | None]]) -> None:
        """Write named values, one a line; those that are None are left out."""
        known = [(name, safe_text(value)) for name, value in pairs if value is not None]
        width = max((len(name) for name, _ in known), default=0)
        for name, value in known:
            separator = " " * (width - len(name) + 2) if self.environment.stdout_tty else "\t"
            self.environment.stdout.write(f"{name}{separator}{value}\n")

    def _fitted(self, columns: Sequence[str], rows: list[list[str]]) -> None:
        from sfctl.bars import fit

        widths = fit_widths([list(columns), *rows], self.environment.terminal_size()[0])
        bold, plain = ("\x1b[1m", "\x1b[0m") if self.has_color(is_tty=True) else ("", "")
        for index, row in enumerate([list(columns), *rows]):
            line = "  ".join(fit(cell, width, pad=True) for cell, width in zip(row, widths, strict=True)).rstrip()
            self.environment.stdout.write(f"{bold}{line}{plain}\n" if index == 0 else f"{line}\n")


def fit_widths(rows: Sequence[Sequence[str]], room: int) -> list[int]:
    """Share `room` columns among the cells of a table; the first, the id, is never cut, the widest others are."""
    from rich.cells import cell_len

    widths = [max(cell_len(row[index]) for row in rows) for index in range(len(rows[0]))]
    while sum(widths) + 2 * (len(widths) - 1) > room and max(widths[1:], default=0) > _MIN_CELL:
        widths[max(range(1, len(widths)), key=widths.__getitem__)] -= 1
    return widths


def _plain(value: object) -> object:
    from pydantic import BaseModel

    if isinstance(value, BaseModel):
        return value.model_dump(mode="json", by_alias=True)
    raise TypeError(f"not JSON: {type(value).__name__}")
