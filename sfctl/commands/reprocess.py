"""`reprocess`: a video once more from its source."""

from typing import Annotated

import typer

from sfctl.command import DataCommand, command_app
from sfctl.context import invocation
from sfctl.ids import complete_video, find_video

app = command_app()


@app.command(
    cls=DataCommand,
    epilog="""
    sfctl reprocess 0192f3a1
    sfctl reprocess 0192f3a1 --stage poster
    """,
)
def reprocess(
    ctx: typer.Context,
    video_id: Annotated[
        str, typer.Argument(metavar="ID", help="Id, or the start of one.", autocompletion=complete_video)
    ],
    *,
    stage: Annotated[
        str | None, typer.Option("--stage", metavar="KIND", help="Only this stage, one that no job waits for: poster.")
    ] = None,
) -> None:
    """Process a video again, all of it or one stage; what can be played stays until there is something newer."""
    run = invocation(ctx)
    with run.client() as client:
        accepted = client.reprocess(find_video(client, video_id).id, stage)
    if run.out.as_json:
        run.out.json(accepted)
        return
    run.out.line(accepted.job_id)
    if run.environment.stderr_tty:
        run.out.note(f"next: sfctl {'jobs' if stage else 'watch'} {accepted.job_id}")
