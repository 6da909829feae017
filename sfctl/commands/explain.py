"""`explain`: why a job did what it did."""

from typing import TYPE_CHECKING, Annotated

import typer

from sfctl.command import DataCommand, command_app
from sfctl.context import Invocation, invocation
from sfctl.ids import complete_job, find_job
from sfctl.text import describe_trouble, format_bitrate

if TYPE_CHECKING:
    from sfserver.wire.jobs import JobExplain, JobRead, TaskExplain

app = command_app()


@app.command(
    cls=DataCommand,
    epilog="""
    sfctl explain 0192f3a1
    sfctl explain 0192f3a1 --json
    """,
)
def explain(
    ctx: typer.Context,
    job_id: Annotated[
        str, typer.Argument(metavar="ID", help="Job or video, or the start of its id.", autocompletion=complete_job)
    ],
) -> None:
    """Explain a job: why this ladder, what ran where, what was retried."""
    run = invocation(ctx)
    with run.client() as client:
        job = find_job(client, job_id)
        explained = client.explain(job.id)
    if run.out.as_json:
        run.out.json(explained)
    elif run.out.quiet:
        run.out.line(job.id)
    else:
        _print(run, job, explained)


def _print(run: Invocation, job: "JobRead", explained: "JobExplain") -> None:
    out = run.out
    if job.waiting:
        out.paragraph(f"- waiting: {describe_trouble(job.waiting.code, job.waiting.detail)}")
    known = [f"{rung.name}: {rung.reason}" for rung in explained.rungs]
    for reason in dict.fromkeys([*explained.reasons, *known]):
        out.paragraph(f"- {reason}")
    rungs = [
        (
            rung.name,
            f"{rung.width}x{rung.height}",
            f"{rung.fps:g}",
            format_bitrate(rung.maxrate_bps),
            rung.encoder,
        )
        for rung in explained.rungs
    ]
    if rungs:
        out.line()
        out.table(("RUNG", "SIZE", "FPS", "AT MOST", "ENCODER"), rungs)
    for rung in explained.rungs:
        options = " ".join(f"{key}={value}" for key, value in rung.options.items())
        out.paragraph(f"  {rung.name}: {options}", indent="    ")
    if explained.tasks:
        out.line()
        columns = ("TASK", "STATE", "FRAMES", "RUNGS", "CRF", "ATTEMPTS", "WALL", "CPU", "WORKER", "ERROR")
        out.table(columns, [_task_row(task) for task in explained.tasks])


def _task_row(task: "TaskExplain") -> tuple[str, ...]:
    has_frames = task.start_frame is not None and task.end_frame is not None
    retried = [f"{task.crashes} crashed" * bool(task.crashes), f"{task.losses} lost" * bool(task.losses)]
    why = ", ".join(part for part in retried if part)
    return (
        f"{task.kind} {task.index}",
        task.state.value,
        f"{task.start_frame}-{task.end_frame}" if has_frames else "-",
        " ".join(task.rungs) or ("all" if has_frames else "-"),
        f"{task.crf:g}" if task.crf is not None else "-",
        f"{task.attempts} ({why})" if why else str(task.attempts),
        f"{task.wall_s:.1f} s" if task.wall_s is not None else "-",
        f"{task.cpu_s:.1f} s" if task.cpu_s is not None else "-",
        task.worker or "-",
        f"{task.error.code}: {task.error.detail}" if task.error else "",
    )
