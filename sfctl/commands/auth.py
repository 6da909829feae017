"""`auth`: who is signed in, and the local token."""

import typer

from sfctl.command import CONTEXT_SETTINGS, Command, DataCommand, Group
from sfctl.context import invocation
from sfctl.errors import CliError
from sfctl.exits import Exit


class AuthGroup(Group):
    """`auth` alone is `auth status`."""

    default = "status"


app = typer.Typer(
    name="auth",
    cls=AuthGroup,
    add_completion=False,
    rich_markup_mode=None,
    context_settings=CONTEXT_SETTINGS,
    epilog="""
    sfctl auth status
    sfctl auth token
    """,
)


@app.callback()
def auth() -> None:
    """Show who is signed in, and the local token."""


@app.command(
    cls=DataCommand,
    epilog="""
    sfctl auth status
    sfctl auth status --json
    """,
)
def status(ctx: typer.Context) -> None:
    """Say who the server takes you for."""
    run = invocation(ctx)
    with run.client() as client:
        user = client.me()
    if run.out.as_json:
        run.out.json(user)
    elif run.out.quiet:
        run.out.line(user.id)
    else:
        run.out.facts(
            [("user", user.name), ("id", user.id), ("admin", "yes" if user.is_admin else "no"), ("server", run.url)]
        )


@app.command(
    cls=Command,
    epilog="""
    sfctl auth token
    curl -H "Authorization: Bearer $(sfctl auth token)" http://127.0.0.1:8420/api/users/me
    """,
)
def token(ctx: typer.Context) -> None:
    """Print the token in use: SF_TOKEN, or the local one of the data directory."""
    run = invocation(ctx)
    found = run.find_token()
    if found is None:
        hint = "start a server once with `sfctl up`, or set SF_TOKEN"
        raise CliError(f"no token for {run.url}", hint=hint, exit_code=Exit.NOT_SIGNED_IN)
    run.out.line(found)
