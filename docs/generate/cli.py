"""The page of commands, from the Typer application."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from typer.core import TyperCommand, TyperGroup
from typer.main import get_command

from docs.generate.markdown import page as whole_page
from docs.generate.markdown import table
from sfctl.exits import Exit
from sfctl.main import app

Record = tuple[str, str]
INTRODUCTION = """\
What a command finds out goes to stdout, everything else to stderr. The examples stand in `--help`, too."""


@dataclass(frozen=True)
class Entry:
    """A command, the words that call it, and its parameters as the help shows them."""

    path: str
    command: TyperCommand | TyperGroup
    usage: str
    records: list[Record]


def page() -> str:
    """Return the page: what all commands share, one section a command, the exit codes."""
    entries = list(_walk("sfctl", get_command(app), None))
    leaves = [entry.records for entry in entries if not isinstance(entry.command, TyperGroup)]
    shared = [record for record in leaves[0] if all(record in records for records in leaves)]
    blocks = [block for entry in entries for block in _section(entry, shared)]
    exits = table(["code", "meaning"], [[str(int(code)), code.name.lower().replace("_", " ")] for code in Exit])
    return whole_page(
        "Commands",
        INTRODUCTION,
        "## Options of every command",
        _options(shared),
        *blocks,
        "## Exit codes",
        exits,
    )


def _walk(path: str, command: object, parent: Any) -> Iterator[Entry]:
    """Yield every visible command below `command`, itself first."""
    if not isinstance(command, TyperCommand | TyperGroup) or command.hidden:
        return
    name = path.rsplit(maxsplit=1)[-1]
    context = command.make_context(name, [], parent=parent, resilient_parsing=True)
    records = [record for item in command.get_params(context) if (record := item.get_help_record(context))]
    yield Entry(path, command, " ".join([path, *command.collect_usage_pieces(context)]), records)
    if isinstance(command, TyperGroup):
        for child in command.list_commands(context):
            yield from _walk(f"{path} {child}", command.get_command(context, child), context)


def _section(entry: Entry, shared: list[Record]) -> Iterator[str]:
    examples = [line.strip() for line in (entry.command.epilog or "").splitlines() if line.strip()]
    yield f"## {entry.path}"
    yield (entry.command.help or "").strip()
    yield f"```text\n{entry.usage}\n```"
    yield _options([record for record in entry.records if record not in shared])
    yield "\n".join(["```text", *examples, "```"]) if examples else ""


def _options(records: list[Record]) -> str:
    return table(["parameter", "meaning"], [[f"`{name}`", meaning] for name, meaning in records])
