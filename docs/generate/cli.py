"""The page of commands, from the Typer application."""

from collections.abc import Iterator

from typer.core import TyperCommand, TyperGroup
from typer.main import get_command

from docs.generate.markdown import page as whole_page
from docs.generate.markdown import table
from sfctl.exits import Exit
from sfctl.main import app

Record = tuple[str, str]
INTRODUCTION = """\
What a command finds out goes to stdout, everything else to stderr."""


def page() -> str:
    """Return the page: what all commands share, one section a command, the exit codes."""
    commands = dict(_commands("sfctl", get_command(app)))
    records = {path: _records(path, command) for path, command in commands.items()}
    leaves = [set(records[path]) for path, command in commands.items() if not isinstance(command, TyperGroup)]
    shared = set.intersection(*leaves)
    blocks = [block for path, command in commands.items() for block in _section(path, command, shared)]
    common = _options(record for record in records["sfctl up"] if record in shared)
    exits = table(["code", "meaning"], [[str(int(code)), code.name.lower().replace("_", " ")] for code in Exit])
    return whole_page("Commands", INTRODUCTION, "## Options of every command", common, *blocks, "## Exit codes", exits)


def _commands(path: str, command: object) -> Iterator[tuple[str, TyperCommand | TyperGroup]]:
    """Yield every visible command with the words that call it."""
    if not isinstance(command, TyperCommand | TyperGroup) or command.hidden:
        return
    yield path, command
    if isinstance(command, TyperGroup):
        context = command.make_context(path, [], resilient_parsing=True)
        for name in command.list_commands(context):
            yield from _commands(f"{path} {name}", command.get_command(context, name))


def _records(path: str, command: TyperCommand | TyperGroup) -> list[Record]:
    """Return name and meaning of each parameter, as the help shows them."""
    context = command.make_context(path, [], resilient_parsing=True)
    return [record for item in command.get_params(context) if (record := item.get_help_record(context))]


def _section(path: str, command: TyperCommand | TyperGroup, shared: set[Record]) -> Iterator[str]:
    context = command.make_context(path, [], resilient_parsing=True)
    examples: list[str] = getattr(command, "examples", [])
    yield f"## {path}"
    yield (command.help or "").strip()
    yield f"```text\n{' '.join([path, *command.collect_usage_pieces(context)])}\n```"
    yield _options(record for record in _records(path, command) if record not in shared)
    yield "\n".join(["```bash", *examples, "```"]) if examples else ""


def _options(records: Iterator[Record]) -> str:
    rows = ([f"`{name}`", meaning] for name, meaning in records)
    return table(["parameter", "meaning"], rows)
