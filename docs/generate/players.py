"""The page of players, from the matrix that the tests run."""

from docs.generate.markdown import bullets, table
from docs.generate.markdown import page as whole_page
from tests.players.matrix import MEANINGS, PLAYERS, Cell, Exercise

INTRODUCTION = """\
What each player does with what StreamForge serves. Every *yes* and every *by file* is a test that `make test` runs,
with a clip of numbered frames, flashes and beeps; `make prove` repeats it at other frame rates and with more seeks.
*By file* is the progressive MP4 of one quality. A number leads to the note below the table."""


def page() -> str:
    """Return the page: what the exercises are, who passes them, and why not."""
    notes = list(dict.fromkeys(cell.why for player in PLAYERS for cell in map(player.cell, Exercise) if cell.why))
    rows = [[player.name, player.plays, *(_cell(player.cell(each), notes) for each in Exercise)] for player in PLAYERS]
    return whole_page(
        "Players",
        INTRODUCTION,
        table(["player", "plays", *Exercise], rows),
        "\n".join(f"{number}. {note}" for number, note in enumerate(notes, 1)),
        "## Exercises",
        bullets(f"**{exercise}**: {meaning}" for exercise, meaning in MEANINGS.items()),
    )


def _cell(cell: Cell, notes: list[str]) -> str:
    return f"{cell.how} ({notes.index(cell.why) + 1})" if cell.why else str(cell.how)
