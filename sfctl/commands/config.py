"""`config`: the settings of the command line."""

from typing import Annotated

import typer

from sfctl.command import CONTEXT_SETTINGS, Command, DataCommand, Group
from sfctl.config import KEYS, check_setting
from sfctl.context import invocation
from sfctl.errors import CliError
from sfctl.exits import Exit

app = typer.Typer(
    name="config",
    cls=Group,
    add_completion=False,
    rich_markup_mode=None,
    context_settings=CONTEXT_SETTINGS,
    epilog="""
    sfctl config show
    sfctl config set quality 720p
    sfctl config path
    """,
)


def _complete_key(incomplete: str) -> list[tuple[str, str]]:
    return [(key, text) for key, text in KEYS.items() if key.startswith(incomplete)]


Key = Annotated[str, typer.Argument(help=f"One of {', '.join(KEYS)}.", autocompletion=_complete_key)]


@app.callback()
def config() -> None:
    """Show and change settings of the command line."""


@app.command(
    cls=DataCommand,
    epilog="""
    sfctl config show
    sfctl config show --json
    """,
)
def show(ctx: typer.Context) -> None:
    """Show each setting, its value and where it comes from."""
    run = invocation(ctx)
    values = run.settings.values
    if run.out.as_json:
        run.out.json({key: {"value": setting.value, "origin": setting.origin} for key, setting in values.items()})
    elif run.out.quiet:
        run.out.ids(values)
    else:
        rows = [(key, values[key].value, values[key].origin) if key in values else (key, "-", "-") for key in KEYS]
        run.out.table(("KEY", "VALUE", "ORIGIN"), rows)


@app.command(
    cls=Command,
    epilog="""
    sfctl config get quality
    """,
)
def get(ctx: typer.Context, key: Key) -> None:
    """Print the value of a setting."""
    run = invocation(ctx)
    if key not in KEYS:
        check_setting(key, "")
    value = run.settings.find(key)
    if value is None:
        raise CliError(f"{key} is not set", hint=f"sfctl config set {key} VALUE", exit_code=Exit.NOT_FOUND)
    run.out.line(value)


@app.command(
    name="set",
    cls=Command,
    epilog="""
    sfctl config set quality 720p
    sfctl --profile studio config set url https://studio.example
    sfctl config set profile default
    """,
)
def set_(ctx: typer.Context, key: Key, value: Annotated[str, typer.Argument(help="What it is to be.")]) -> None:
    """Set a value in the profile in use.

    Key `profile` chooses which profile that is.
    """
    run = invocation(ctx)
    profile = run.flags.get("profile") or run.environment.variables.get("SF_PROFILE") or run.config.active
    if key == "profile":
        if value != "default" and value not in run.config.profiles():
            raise CliError(f"no profile {value!r}", hint=f"sfctl --profile {value} config set url URL makes it")
    else:
        check_setting(key, value)
    run.config.write(profile, key, value)


@app.command(
    cls=Command,
    epilog="""
    sfctl config path
    """,
)
def path(ctx: typer.Context) -> None:
    """Print where the config file is."""
    run = invocation(ctx)
    run.out.line(str(run.config.path))
