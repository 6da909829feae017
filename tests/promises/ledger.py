"""The table behind `make prove`: promise → cells run → failures → seed."""

import os
import secrets
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from random import Random

import httpx
import pytest

from sfserver.errors import StreamForgeError

SEED_VARIABLE = "SF_PROVE_SEED"
SCALE_VARIABLE = "SF_PROVE_SCALE"
_FIXED_SEED = 20_261


@dataclass
class Row:
    """What was tried of one promise, and what did not hold."""

    cells: int = 0
    failures: list[str] = field(default_factory=list)


@dataclass
class Ledger:
    """All rows of one run and the seed they were drawn from."""

    seed: int
    rows: dict[str, Row] = field(default_factory=dict)

    def row(self, promise: str) -> Row:
        return self.rows.setdefault(promise, Row())

    def lines(self) -> list[str]:
        """Return the table as text."""
        table = [("promise", "cells", "failures", "seed")]
        for promise, row in sorted(self.rows.items()):
            table.append((promise, str(row.cells), str(len(row.failures)), str(self.seed)))
        text = [f"{a:<10}{b:>8}{c:>10}{d:>10}" for a, b, c, d in table]
        return [*text, *(f"{name}: {line}" for name, row in sorted(self.rows.items()) for line in row.failures)]


LEDGER = pytest.StashKey[Ledger]()


class Proof:
    """One test's part of a promise: it goes through all its cells, and fails at the end if any did."""

    def __init__(self, row: Row, seed: int) -> None:
        self._row = row
        self.seed = seed
        self.random = Random(seed)
        self.failed: list[str] = []

    @contextmanager
    def cell(self, name: str) -> Iterator[None]:
        """Count one cell; a failed assertion or refused request in it is noted and the next one goes on."""
        self._row.cells += 1
        try:
            yield
        except (AssertionError, StreamForgeError, httpx.HTTPError, OSError) as error:
            self.fail(f"{name}: {type(error).__name__}: {str(error)[:600]}")

    def count(self, cells: int) -> None:
        """Count cells that a test checks by itself."""
        self._row.cells += cells

    def fail(self, text: str) -> None:
        """Note a cell that did not hold."""
        self.failed.append(text)
        self._row.failures.append(text)


def choose_seed(*, proving: bool) -> int:
    """Return the seed asked for, else always the same one in `make test` and another each time in `make prove`."""
    asked = os.environ.get(SEED_VARIABLE)
    return int(asked) if asked else 1 + secrets.randbelow(999_999) if proving else _FIXED_SEED


def sizes(small: int, full: int) -> Callable[..., object]:
    """Run a test with `size` = `small` (0: not at all) in `make test`, and `full`, scaled as asked, in `make prove`."""
    scaled = max(small, round(full * float(os.environ.get(SCALE_VARIABLE, "1"))))
    forms = [pytest.param(small, id="small"), pytest.param(scaled, id="full", marks=pytest.mark.prove)]
    return pytest.mark.parametrize("size", forms if small else forms[1:])
