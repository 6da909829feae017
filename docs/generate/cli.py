"""The page of commands, from the Typer application."""

from collections.abc import Iterator

from sfctl.main import app
from typer.core import TyperCommand, TyperGroup
from typer.main import get_command

from docs.generate.markdown import page as whole_page
from docs.generate.markdown import table
from sfctl.exits import Exit

INTRODUCTION = """\
What a command finds out goes to stdout, everything else to stderr."""


def page() -> str:
    """Return the page: the options of every command first, then one section a command."""
    root = get_command(app)
    blocks = [block for path, command in _commands("sfctl", root) for block in _section(path, command)]
    exits = table(["code", "meaning"], [[str(int(code)), code.name.lower().replace("_", " ")] for code in Exit])
    return whole_page("Commands", INTRODUCTION, *blocks, "## Exit codes", exits)


def _commands(path: str, command: object) -> Iterator[tuple[str, TyperCommand | TyperGroup]]:
    """Yield every visible command with the words that call it."""
    if not isinstance(command, TyperCommand | TyperGroup) or command.hidden:
        return
    yield path, command
    if isinstance(command, TyperGroup):
        for name, child in command.commands.items():
            yield from _commands(f"{path} {name}", child)


def _section(path: str, command: TyperCommand | TyperGroup) -> list[str]:
    context = command.make_context(path, [], resilient_parsing=True)
    usage = " ".join([path, *command.collect_usage_pieces(context)])
    records = [record for item in command.get_params(context) if (record := item.get_help_record(context))]
    rows = [[f"`{name}`", text] for name, text in records if "--help" not in name]
    return [f"## {path}", f"```text\n{usage}\n```", _help(command.help or ""), table(["parameter", "meaning"], rows)]


def _help(text: str) -> str:
    """Return a command's help with its indented examples as code."""
    blocks = [block for block in text.replace("\b\n", "").strip().split("\n\n") if block.strip()]
    return "\n\n".join(f"```text\n{block}\n```" if _is_example(block) else block for block in blocks)


def _is_example(block: str) -> bool:
    return any(line.strip().startswith("sfctl ") for line in block.splitlines())
