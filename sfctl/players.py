"""External players: which there are and how each is told URL, title, start, and variant of lists that grow."""

import os
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import TYPE_CHECKING

from sfctl.errors import CliError
from sfctl.exits import Exit
from sfctl.text import safe_text

if TYPE_CHECKING:
    from sfctl.playing import Media


def _mpv(media: "Media", title: str) -> list[str]:
    where = [f"--start={media.start_s:g}"]
    if live := media.live:
        where = [f"--demuxer-lavf-o=live_start_index={live.segment}", f"--hls-bitrate={live.variant.bandwidth_bps}"]
    return ["mpv", f"--force-media-title={title}", *where, "--", media.url]


def _vlc(media: "Media", title: str) -> list[str]:
    where = [f"--start-time={media.start_s:g}"]
    if live := media.live:
        if media.start_s:
            hint = "--player mpv can; so can VLC, once the video is ready"
            raise CliError("VLC cannot begin in the middle of what grows", hint=hint, exit_code=Exit.PENDING)
        # Such a list is a broadcast to VLC 3, joined so many milliseconds before its end, but for two segments.
        height = min(live.variant.width, live.variant.height)
        where = ["--adaptive-livedelay=86400000", "--adaptive-logic=highest", f"--adaptive-maxheight={height}"]
    return ["vlc", f"--meta-title={title}", *where, "--", media.url]


def _ffplay(media: "Media", title: str) -> list[str]:
    where = ["-ss", f"{media.start_s:g}"]
    if live := media.live:
        # FFmpeg makes a program of every variant, in their order.
        where = ["-live_start_index", str(live.segment), "-vst", f"p:{live.variant.place}:v"]
    return ["ffplay", "-window_title", title, *where, "-i", media.url]


_COMMANDS: dict[str, Callable[["Media", str], list[str]]] = {"mpv": _mpv, "vlc": _vlc, "ffplay": _ffplay}
PLAYERS = tuple(_COMMANDS)


def find_player() -> str:
    """Return the first player that is installed."""
    for name in PLAYERS:
        if shutil.which(name):
            return name
    raise CliError("no player found", why=f"looked for {', '.join(PLAYERS)}", hint="install mpv, or use `sfctl url ID`")


def player_command(player: str, media: "Media", title: str) -> list[str]:
    """Write the command line that plays a file or a list that grows; the title is data to every player.

    FFmpeg 5.1, and so mpv 0.35, cannot seek in HLS: there the start is a segment.
    """
    return _COMMANDS[player](media, safe_text(title))


def quote_command(command: list[str]) -> str:
    """Write a command line as a shell would take it."""
    return shlex.join(command)


def run_player(command: list[str], variables: Mapping[str, str]) -> int:
    """Run a player in the foreground, put the terminal back in order and return its exit code."""
    if command[0] == "mpv" and not has_display(variables):
        command = [command[0], *terminal_output(), *command[1:]]
    saved = _terminal_state()
    try:
        return subprocess.run(command, check=False).returncode
    except FileNotFoundError as error:
        raise CliError(f"{command[0]} is not installed", hint="--player takes another one") from error
    finally:
        _restore_terminal(saved)


def has_display(variables: Mapping[str, str]) -> bool:
    """Whether a window can be opened."""
    return sys.platform == "darwin" or bool(variables.get("DISPLAY") or variables.get("WAYLAND_DISPLAY"))


def terminal_output() -> list[str]:
    """Choose the option with which this mpv draws in the terminal; builds differ, so it is asked."""
    listing = subprocess.run(["mpv", "--vo=help"], capture_output=True, text=True, check=False).stdout
    return ["--vo=tct"] if " tct " in listing else ["--vo=null"]


def _terminal_state() -> "list[int | list[bytes | int]] | None":
    if not os.isatty(0):
        return None
    import termios

    return termios.tcgetattr(0)


def _restore_terminal(saved: "list[int | list[bytes | int]] | None") -> None:
    if saved is None:
        return
    import termios

    with suppress(termios.error):
        termios.tcsetattr(0, termios.TCSADRAIN, saved)
