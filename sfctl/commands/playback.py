"""`play`, `url` and `open`: from here into a player or a browser."""

from typing import Annotated, Literal

import typer

from sfctl.command import Command, DataCommand, command_app
from sfctl.context import Invocation, invocation
from sfctl.errors import CliError
from sfctl.exits import Exit
from sfctl.ids import complete_video, find_video
from sfctl.quality import QualityOption
from sfctl.text import parse_clock

app = command_app()
VideoId = Annotated[str, typer.Argument(metavar="ID", help="Id, or the start of one.", autocompletion=complete_video)]


@app.command(
    cls=Command,
    epilog="""
    sfctl play 0192f3a1
    sfctl play 0192f3a1@00:12:41 -f 720p
    sfctl play 0192f3a1 --wait
    sfctl play 0192f3a1 --player vlc --dry-run
    """,
)
def play(
    ctx: typer.Context,
    video_id: Annotated[
        str, typer.Argument(metavar="ID[@TIME]", help="Id, and where to start.", autocompletion=complete_video)
    ],
    *,
    player: Annotated[Literal["mpv", "vlc", "ffplay"] | None, typer.Option(help="Default: the first there is.")] = None,
    quality: QualityOption = None,
    wait: Annotated[bool, typer.Option("--wait", help="Wait until it is playable.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print the player's command line only.")] = False,
) -> None:
    """Play a video in mpv, VLC or ffplay; also while it is being made."""
    from sfctl import players
    from sfctl.playing import choose_media, wait_playable

    run = invocation(ctx)
    name, start_s = _split_start(video_id)
    with run.client() as client:
        video = find_video(client, name)
        video = wait_playable(client, video) if wait else video
        media = choose_media(client, video, _wanted(run, quality), start_s, run.same_server)
    chosen = player or run.settings.find("player") or ("mpv" if dry_run else players.find_player())
    command = players.player_command(chosen, media, video.title)
    if dry_run:
        run.out.line(players.quote_command(command))
        return
    code = players.run_player(command, run.environment.variables)
    if code != 0:
        raise CliError(
            f"{chosen} ended with {code}", hint=f"sfctl url {video.id}{run.same_server} prints what it was given"
        )


def _split_start(text: str) -> tuple[str, float]:
    name, _, clock = text.partition("@")
    try:
        return name, parse_clock(clock) if clock else 0.0
    except ValueError as error:
        raise CliError(str(error), hint="a start looks like @00:12:41 or @761", exit_code=Exit.USAGE) from error


def _wanted(run: Invocation, quality: str | None) -> str:
    return quality or run.settings.find("quality") or "best"


@app.command(
    cls=DataCommand,
    epilog="""
    sfctl url 0192f3a1
    sfctl url 0192f3a1 -f 360p
    sfctl url 0192f3a1 --hls
    sfctl url 0192f3a1 --json
    """,
)
def url(
    ctx: typer.Context,
    video_id: VideoId,
    *,
    quality: QualityOption = None,
    hls: Annotated[bool, typer.Option("--hls", help="The adaptive HLS playlist instead of one file.")] = False,
) -> None:
    """Print a signed URL that any player opens; while a video is being made, that of its HLS playlist."""
    from sfctl.playing import file_url, get_links

    run = invocation(ctx)
    with run.client() as client:
        video = find_video(client, video_id)
        if run.out.quiet:
            run.out.line(video.id)
            return
        links = get_links(client, video, run.same_server)
        if run.out.as_json:
            run.out.json(links)
        elif hls or (links.live and quality is None):
            run.out.line(links.hls)
        elif links.live:
            raise CliError(
                f"there is no file of {video.title} yet",
                why=f"it is {video.status.value}; until it is ready it can be played as HLS",
                hint=f"sfctl url {video.id} --hls{run.same_server}",
                exit_code=Exit.PENDING,
            )
        else:
            run.out.line(file_url(client, links, video, _wanted(run, quality), run.same_server))


@app.command(
    name="open",
    cls=Command,
    epilog="""
    sfctl open
    sfctl open 0192f3a1
    sfctl open 0192f3a1 --browser
    """,
)
def open_(
    ctx: typer.Context,
    video_id: Annotated[
        str | None, typer.Argument(metavar="[ID]", help="Video to open.", autocompletion=complete_video)
    ] = None,
    *,
    browser: Annotated[bool, typer.Option("--browser", "-b", help="Open it in the browser as well.")] = False,
) -> None:
    """Print a one-time URL that signs a browser in."""
    run = invocation(ctx)
    with run.client() as client:
        next_path = f"/watch/{find_video(client, video_id).id}" if video_id else "/"
        link = client.sign_in_link(next_path)
    run.out.line(link)
    if browser:
        _open_browser(run, link)


def _open_browser(run: Invocation, link: str) -> None:
    import webbrowser

    if not webbrowser.open(link):
        run.out.note("no browser found here; open the URL yourself, it works once")
