"""`jobs`: what the server works on, how to stop it and how to try again."""

from itertools import islice
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from sfctl.bars import choose_glyphs, draw_bar
from sfctl.command import CONTEXT_SETTINGS, Command, DataCommand, Group
from sfctl.context import Invocation, invocation
from sfctl.errors import ClientError
from sfctl.exits import Exit
from sfctl.ids import complete_job, find_job, shorten
from sfctl.text import describe_trouble, format_duration

if TYPE_CHECKING:
    from sfctl.client import Client
    from sfserver.wire.jobs import JobRead, JobStatus

app = typer.Typer(
    name="jobs",
    cls=Group,
    add_completion=False,
    rich_markup_mode=None,
    context_settings=CONTEXT_SETTINGS,
    epilog="""
    sfctl jobs
    sfctl jobs 0192f3a1
    sfctl jobs cancel 0192f3a1
    sfctl jobs retry 0192f3a1
    """,
)
JobIds = Annotated[list[str], typer.Argument(metavar="ID", help="Ids, or starts of them.", autocompletion=complete_job)]


@app.callback()
def jobs() -> None:
    """List, show, cancel and retry jobs."""


@app.command(
    cls=DataCommand,
    epilog="""
    sfctl jobs
    sfctl jobs --status processing
    sfctl jobs 0192f3a1 --exit-status
    sfctl jobs 0192f3a1 --json
    """,
)
def show(
    ctx: typer.Context,
    job_id: Annotated[
        str | None, typer.Argument(metavar="[ID]", help="Id, or the start of one.", autocompletion=complete_job)
    ] = None,
    *,
    status: Annotated[
        Literal["queued", "processing", "ready", "failed", "cancelled"] | None, typer.Option(help="Only these.")
    ] = None,
    limit: Annotated[int, typer.Option(min=0, help="How many at most; 0 is all.")] = 100,
    exit_status: Annotated[
        bool, typer.Option("--exit-status", help="End with 0 if ready, 1 if failed, 8 if still pending.")
    ] = False,
) -> None:
    """List jobs, or show one; `jobs ID` is short for `jobs show ID`."""
    run = invocation(ctx)
    with run.client() as client:
        if job_id is None:
            found = client.jobs(status=status)
            _print_jobs(run, list(islice(found, limit) if limit else found))
            return
        job = find_job(client, job_id)
    _print_job(run, job)
    if exit_status:
        raise typer.Exit(_exit_of(job.status))


def _exit_of(status: "JobStatus") -> Exit:
    if not status.is_final:
        return Exit.PENDING
    return Exit.OK if status == "ready" else Exit.FAILED


def _print_jobs(run: Invocation, jobs: "list[JobRead]") -> None:
    out, is_tty = run.out, run.environment.stdout_tty
    if out.as_json:
        out.json(jobs)
    elif out.quiet:
        out.ids(job.id for job in jobs)
    elif is_tty and not jobs:
        out.note("no jobs yet; `sfctl upload FILE` makes one")
    else:
        ids = shorten([job.id for job in jobs]) if is_tty else {job.id: job.id for job in jobs}
        rows = [
            (
                ids[job.id],
                job.status.value,
                f"{job.progress:.0%}",
                f"waiting: {job.waiting.code}" if job.waiting else job.stage or "-",
                out.time(job.created_at),
                job.title,
            )
            for job in jobs
        ]
        out.table(("ID", "STATUS", "DONE", "STAGE", "CREATED", "TITLE"), rows)


def _print_job(run: Invocation, job: "JobRead") -> None:
    out = run.out
    if out.as_json:
        out.json(job)
        return
    if out.quiet:
        out.line(job.id)
        return
    out.facts(
        [
            ("id", job.id),
            ("video", job.video_id),
            ("title", job.title),
            ("status", job.status.value),
            ("done", f"{job.progress:.0%}"),
            ("speed", f"{job.speed:.2f}x real time" if job.speed else None),
            ("eta", format_duration(job.eta_s) if job.eta_s is not None else None),
            ("created", out.time(job.created_at)),
            ("playable", out.time(job.playable_at) if job.playable_at else None),
            ("finished", out.time(job.finished_at) if job.finished_at else None),
            ("waiting", describe_trouble(job.waiting.code, job.waiting.detail) if job.waiting else None),
            ("hint", job.waiting.hint if job.waiting else None),
            ("error", f"{job.error.code}: {job.error.detail}" if job.error else None),
            *(("warning", f"{warning.code}: {warning.detail}") for warning in job.warnings),
        ]
    )
    if run.environment.stdout_tty and job.stages:
        _print_stages(run, job)


def _print_stages(run: Invocation, job: "JobRead") -> None:
    glyphs = choose_glyphs(getattr(run.environment.stdout, "encoding", None))
    rows = [
        (
            stage.name,
            stage.state.value,
            draw_bar(stage.progress, 10, glyphs),
            f"{stage.tasks_done}/{stage.tasks}",
            str(stage.attempts),
            f"{stage.cpu_s:.1f} s" if stage.cpu_s is not None else "-",
        )
        for stage in job.stages
    ]
    run.out.line()
    run.out.table(("STAGE", "STATE", "DONE", "TASKS", "ATTEMPTS", "CPU"), rows)


@app.command(
    cls=Command,
    epilog="""
    sfctl jobs cancel 0192f3a1
    """,
)
def cancel(ctx: typer.Context, job_ids: JobIds) -> None:
    """Cancel running jobs; jobs that have ended are left as they are."""
    run = invocation(ctx)
    with run.client() as client:
        for job in _find_jobs(client, job_ids):
            try:
                client.cancel_job(job.id)
                run.out.line(job.id)
            except ClientError as error:
                if error.code != "job_finished":
                    raise
                # It may have ended since it was looked up.
                run.out.note(f"already {client.job(job.id).status.value}: {job.id}  {job.title}")


@app.command(
    cls=Command,
    epilog="""
    sfctl jobs retry 0192f3a1
    """,
)
def retry(ctx: typer.Context, job_ids: JobIds) -> None:
    """Try jobs again: failed ones with what they had done, cancelled ones from the start."""
    run = invocation(ctx)
    with run.client() as client:
        for job in _find_jobs(client, job_ids):
            client.retry_job(job.id)
            run.out.line(job.id)


def _find_jobs(client: "Client", job_ids: list[str]) -> "list[JobRead]":
    return list({job.id: job for job in (find_job(client, each) for each in job_ids)}.values())
