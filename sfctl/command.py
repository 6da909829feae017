"""How every command is built: examples on top of its help, options that all share, loading only when named."""

import importlib
from collections.abc import Callable
from dataclasses import dataclass
from difflib import get_close_matches
from functools import cache, partial
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

import typer
from typer.core import TyperCommand, TyperGroup, TyperOption

from sfctl.context import Invocation

if TYPE_CHECKING:
    from typer._click.core import Command as AnyCommand
    from typer._click.core import Context, Parameter
    from typer._click.formatting import HelpFormatter

CONTEXT_SETTINGS = {"help_option_names": ["-h", "--help"], "max_content_width": 100}


def _store(ctx: typer.Context, param: typer.CallbackParam, value: object) -> object:
    found = ctx.find_object(Invocation)
    if found is not None and param.name and value is not None and value is not False:
        found.flags[param.name] = "" if value is True else str(value)
    return value


_Shared = partial(typer.Option, expose_value=False, callback=_store, show_default=False)


def _standard(
    data_dir: Annotated[str | None, _Shared("--data-dir", help="Data directory of the embedded server.")] = None,
    profile: Annotated[str | None, _Shared("--profile", help="Profile of the config file.")] = None,
    color: Annotated[
        Literal["auto", "always", "never"] | None, _Shared("--color", help="Colours; NO_COLOR counts too.")
    ] = None,
    debug: Annotated[bool, _Shared("--debug", help="Show a traceback where a command breaks.")] = False,
) -> None:
    """Declare what every command takes."""


def _data(
    json: Annotated[bool, _Shared("--json", help="Print JSON.")] = False,
    quiet: Annotated[bool, _Shared("-q", "--quiet", help="Print ids only.")] = False,
) -> None:
    """Declare what commands with results take."""


def _live(
    progress: Annotated[
        Literal["auto", "tty", "plain", "json", "none"] | None,
        _Shared("--progress", help="How progress is shown, on stderr."),
    ] = None,
) -> None:
    """Declare what commands with progress take."""


_TEMPLATES: dict[str, Callable[..., None]] = {"standard": _standard, "data": _data, "live": _live}


@cache
def shared_params(group: str) -> tuple["TyperOption", ...]:
    """Build the options of a group of `_TEMPLATES`; they store themselves in the invocation."""
    app = typer.Typer(add_completion=False, rich_markup_mode=None)
    app.command()(_TEMPLATES[group])
    return tuple(param for param in typer.main.get_command(app).params if isinstance(param, TyperOption))


def _examples(command: "AnyCommand") -> list[str]:
    """Return the examples of a command: the lines of its epilog."""
    return [line.strip() for line in (command.epilog or "").splitlines() if line.strip()]


def _with_examples(examples: list[str], text: str) -> str:
    return "".join(("Examples:\n", *(f"  {line}\n" for line in examples), "\n", text)) if examples else text


class Command(TyperCommand):
    """A command whose epilog is its examples, one a line, shown first."""

    groups: ClassVar[tuple[str, ...]] = ("standard",)
    examples = property(_examples)

    def get_params(self, ctx: "Context") -> list["Parameter"]:
        """Add the shared options, before `--help`."""
        own = super().get_params(ctx)
        return [*own[:-1], *(param for group in self.groups for param in shared_params(group)), own[-1]]

    def get_help(self, ctx: "Context") -> str:
        """Put the examples before the rest."""
        return _with_examples(self.examples, super().get_help(ctx))

    def format_epilog(self, ctx: "Context", formatter: "HelpFormatter") -> None:
        """Leave the examples out here."""


class DataCommand(Command):
    """A command with results: `--json` and `-q`."""

    groups = ("data", "standard")


class LiveCommand(Command):
    """A command with results and progress."""

    groups = ("data", "live", "standard")


class Group(TyperGroup):
    """A group of commands whose epilog is its examples; without a command's name it runs `default`."""

    default: ClassVar[str] = "show"
    examples = property(_examples)

    def parse_args(self, ctx: "Context", args: list[str]) -> list[str]:
        """Run the default command unless another one, or help, is asked for."""
        if not args or (args[0] not in self.commands and args[0] not in ctx.help_option_names):
            args = [self.default, *args]
        return super().parse_args(ctx, args)

    def get_help(self, ctx: "Context") -> str:
        """Put the examples before the rest."""
        return _with_examples(self.examples, super().get_help(ctx))

    def format_epilog(self, ctx: "Context", formatter: "HelpFormatter") -> None:
        """Leave the examples out here."""


@dataclass(frozen=True)
class Entry:
    """Where a command is (`sfctl.commands.<module>`), under which heading, and its one-line help."""

    module: str
    section: str
    help: str


class LazyGroup(TyperGroup):
    """The root group: knows its commands by name and imports the module of the one that runs."""

    entries: ClassVar[dict[str, Entry]] = {}
    examples = property(_examples)

    def get_params(self, ctx: "Context") -> list["Parameter"]:
        """Take the standard options before the command's name as well."""
        own = super().get_params(ctx)
        return [*own[:-1], *shared_params("standard"), own[-1]]

    def list_commands(self, ctx: "Context") -> list[str]:
        """Name all commands."""
        return list(self.entries)

    def get_command(self, ctx: "Context", cmd_name: str) -> "AnyCommand | None":
        """Import and build a command; None where there is no such name."""
        entry = self.entries.get(cmd_name)
        if entry is None:
            return None
        app = importlib.import_module(f"sfctl.commands.{entry.module}").app
        command = typer.main.get_command(app)
        # A module holds either commands by name or one group that goes by the name itself.
        return command.commands.get(cmd_name, command) if isinstance(command, TyperGroup) else command

    def resolve_command(self, ctx: "Context", args: list[str]) -> tuple[str | None, "AnyCommand | None", list[str]]:
        """Name the near misses of a mistyped command."""
        if near := get_close_matches(args[0], self.entries) if args[0] not in self.entries else []:
            ctx.fail(f"No such command {args[0]!r}. Did you mean {' or '.join(near)}?")
        return super().resolve_command(ctx, args)

    def get_help(self, ctx: "Context") -> str:
        """Put the examples before the rest."""
        return _with_examples(self.examples, super().get_help(ctx))

    def format_commands(self, ctx: "Context", formatter: "HelpFormatter") -> None:
        """Write the commands under their headings, without importing any."""
        for section in dict.fromkeys(entry.section for entry in self.entries.values()):
            rows = [(name, entry.help) for name, entry in self.entries.items() if entry.section == section]
            with formatter.section(section):
                formatter.write_dl(rows)

    def format_epilog(self, ctx: "Context", formatter: "HelpFormatter") -> None:
        """Leave the examples out here."""


def command_app() -> typer.Typer:
    """Make the Typer app of a command module."""
    app = typer.Typer(add_completion=False, rich_markup_mode=None, context_settings=CONTEXT_SETTINGS)
    # With a callback even a single command stays a group, which has names.
    app.callback()(_nothing)
    return app


def _nothing() -> None:
    """Do nothing."""
