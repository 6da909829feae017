"""Everything a command takes from the outside: streams, terminal, variables, directories. Tests make their own."""

import os
import shlex
import shutil
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

from sfctl.config import ConfigFile, ResolvedSettings, load_settings
from sfctl.errors import CliError
from sfctl.exits import Exit

if TYPE_CHECKING:
    import typer

    from sfctl.client import Client
    from sfctl.embedded import ServerRecord
    from sfctl.output import Output

DEFAULT_URL = "http://127.0.0.1:8420"
_LOOPBACK = {"127.0.0.1", "localhost", "::1"}


@dataclass(frozen=True)
class Environment:
    """The process around a command. `width` and `height` fix the terminal's size, None asks it each time."""

    stdin: TextIO
    stdout: TextIO
    stderr: TextIO
    variables: Mapping[str, str]
    config_dir: Path
    data_dir: Path
    stdin_tty: bool = False
    stdout_tty: bool = False
    stderr_tty: bool = False
    width: int | None = None
    height: int | None = None

    @classmethod
    def of_process(cls) -> "Environment":
        """Read the real process; directories follow XDG."""
        import platformdirs

        for stream in (sys.stdout, sys.stderr):
            # A title that the locale cannot write must not end the command.
            stream.reconfigure(errors="replace")  # type: ignore[union-attr]
        return cls(
            stdin=sys.stdin,
            stdout=sys.stdout,
            stderr=sys.stderr,
            variables=os.environ,
            config_dir=platformdirs.user_config_path("streamforge"),
            data_dir=platformdirs.user_data_path("streamforge"),
            stdin_tty=sys.stdin is not None and sys.stdin.isatty(),
            stdout_tty=sys.stdout.isatty(),
            stderr_tty=sys.stderr.isatty(),
        )

    def terminal_size(self) -> tuple[int, int]:
        """Columns and lines of the terminal, 80 x 24 where there is none."""
        size = shutil.get_terminal_size()
        return self.width or size.columns, self.height or size.lines


@dataclass
class Invocation:
    """One run of `sfctl`: the environment and the options that every command takes."""

    environment: Environment
    flags: dict[str, str] = field(default_factory=dict)

    @cached_property
    def config(self) -> ConfigFile:
        """The config file, there or not."""
        return ConfigFile(self.environment.config_dir / "config.toml")

    @cached_property
    def settings(self) -> ResolvedSettings:
        """Flags, environment, profile and defaults merged."""
        return load_settings(self.config, self.environment.variables, self.flags)

    def has(self, flag: str) -> bool:
        """Whether a shared flag like `json`, `quiet` or `debug` is given."""
        return flag in self.flags

    @cached_property
    def out(self) -> "Output":
        """Where results and notes go."""
        from sfctl.output import Output

        color = self.settings.find("color") or "auto"
        return Output(self.environment, color=color, as_json=self.has("json"), quiet=self.has("quiet"))

    @property
    def data_dir(self) -> Path:
        """The embedded server's data directory, absolute."""
        return Path(self.settings.find("data_dir") or self.environment.data_dir).expanduser().absolute()

    @property
    def same_server(self) -> str:
        """The options with which a proposed command reaches the server of this one, each after a space."""
        given = {"--data-dir": self.flags.get("data_dir"), "--profile": self.flags.get("profile")}
        return "".join(f" {option} {shlex.quote(value)}" for option, value in given.items() if value)

    @cached_property
    def server_record(self) -> "ServerRecord | None":
        """What the embedded server of the data directory last said about itself."""
        from sfctl.embedded import read_record

        return read_record(self.data_dir)

    @property
    def url(self) -> str:
        """The server's base URL: settings, then the embedded server, then the default port."""
        found = self.settings.find("url") or (self.server_record.url if self.server_record else DEFAULT_URL)
        return found.rstrip("/")

    def find_token(self) -> str | None:
        """Return SF_TOKEN or the data directory's token; the latter never leaves this machine."""
        from urllib.parse import urlsplit

        if token := self.environment.variables.get("SF_TOKEN"):
            return token
        record = self.server_record
        is_local = (record and record.url.rstrip("/") == self.url) or urlsplit(self.url).hostname in _LOOPBACK
        if not is_local:
            return None
        try:
            return (self.data_dir / "token").read_text().strip() or None
        except FileNotFoundError:
            return None
        except OSError as error:
            raise CliError("cannot read the local token", why=str(error), exit_code=Exit.NOT_SIGNED_IN) from error

    def at_embedded(self, record: "ServerRecord") -> "Invocation":
        """Return this invocation bound to the data directory's server, whatever settings and variables say."""
        names = {"SF_URL", "SF_TOKEN"}
        variables = {name: value for name, value in self.environment.variables.items() if name not in names}
        return Invocation(replace(self.environment, variables=variables), {**self.flags, "url": record.url})

    def client(self, *, timeout_s: float = 30.0) -> "Client":
        """Make a client of the server in use."""
        from sfctl.client import Client

        return Client(self.url, self.find_token(), timeout_s=timeout_s)


def invocation(ctx: "typer.Context") -> Invocation:
    """Return the invocation that a command runs in."""
    found = ctx.find_object(Invocation)
    if found is None:
        raise RuntimeError("commands run through sfctl.main.run")
    return found
