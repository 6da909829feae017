"""External players: which there are and how each is told URL, title and start."""

import os
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping
from contextlib import suppress

from sfctl.errors import CliError
from sfctl.text import safe_text

_COMMANDS: dict[str, Callable[[str, str, str], list[str]]] = {
    "mpv": lambda url, title, start: ["mpv", f"--force-media-title={title}", f"--start={start}", "--", url],
    "vlc": lambda url, title, start: ["vlc", f"--meta-title={title}", f"--start-time={start}", "--", url],
    "ffplay": lambda url, title, start: ["ffplay", "-window_title", title, "-ss", start, "-i", url],
}
PLAYERS = tuple(_COMMANDS)


def find_player() -> str:
    """Return the first player that is installed."""
    for name in PLAYERS:
        if shutil.which(name):
            return name
    raise CliError("no player found", why=f"looked for {', '.join(PLAYERS)}", hint="install mpv, or use `sfctl url ID`")


def player_command(player: str, url: str, *, title: str, start_s: float) -> list[str]:
    """Write the command line that plays `url` from `start_s` seconds on; the title is data to every player."""
    return _COMMANDS[player](url, safe_text(title), f"{start_s:g}")


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
