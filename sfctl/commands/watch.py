"""`watch`: follow jobs to their ends."""

import asyncio
from typing import TYPE_CHECKING, Annotated

import typer

from sfctl.command import LiveCommand, command_app
from sfctl.context import Invocation, invocation
from sfctl.errors import CliError
from sfctl.exits import Exit
from sfctl.ids import complete_job, find_job

if TYPE_CHECKING:
    from sfctl.live import JobEvent
    from sfctl.watching import Outcome

app = command_app()


@app.command(
    cls=LiveCommand,
    epilog="""
    sfctl watch 0192f3a1
    sfctl watch 0192f3a1 --exit-status --timeout 600
    sfctl watch 0192f3a1 --json
    """,
)
def watch(
    ctx: typer.Context,
    job_ids: Annotated[
        list[str],
        typer.Argument(metavar="ID", help="Jobs or videos, or starts of their ids.", autocompletion=complete_job),
    ],
    *,
    exit_status: Annotated[bool, typer.Option("--exit-status", help="End with 1 if a job did not get ready.")] = False,
    timeout: Annotated[float | None, typer.Option(min=0, help="Give up after so many seconds (124).")] = None,
) -> None:
    """Follow jobs with live bars until they end; with --json each event is a line."""
    from sfctl.watching import Outcome, apply_job

    run = invocation(ctx)
    outcomes: dict[str, Outcome] = {}
    with run.client() as client:
        for text in job_ids:
            job = find_job(client, text)
            outcome = outcomes.setdefault(job.id, Outcome(job.id, job.title))
            apply_job(outcome, job)
    try:
        asyncio.run(_follow(run, list(outcomes.values()), timeout))
    except TimeoutError as error:
        raise CliError(
            f"not finished after {timeout:g} s", hint="the server goes on; watch again", exit_code=Exit.TIMEOUT
        ) from error
    finally:
        _report(run, list(outcomes.values()))
    if exit_status and any(outcome.status != "ready" for outcome in outcomes.values()):
        raise typer.Exit(Exit.FAILED)


async def _follow(run: Invocation, outcomes: "list[Outcome]", timeout_s: float | None) -> None:
    from sfctl.live import LiveClient
    from sfctl.progress import reporting
    from sfctl.watching import Audience, watch_all

    def print_event(event: "JobEvent") -> None:
        # `kind` leads, as in the stream itself: clients tell events apart by it.
        kind = type(event).__name__.removesuffix("Event").lower()
        run.out.json({"event": kind, **event.model_dump(mode="json", by_alias=True)}, indent=None)

    mode = run.settings.find("progress") or "auto"
    with reporting(run.environment, "none" if run.out.as_json and mode == "auto" else mode) as reporter:
        async with LiveClient(run.url, run.find_token()) as live, asyncio.timeout(timeout_s):
            audience = Audience(reporter, run.same_server, print_event if run.out.as_json else None)
            await watch_all(live, outcomes, audience)


def _report(run: Invocation, outcomes: "list[Outcome]") -> None:
    if run.out.as_json:
        return
    if run.out.quiet:
        run.out.ids(outcome.job_id for outcome in outcomes)
        return
    rows = [
        (outcome.job_id, outcome.status.value, outcome.title, outcome.error.detail if outcome.error else "")
        for outcome in outcomes
    ]
    run.out.table(("JOB", "STATUS", "TITLE", "WHY"), rows)
