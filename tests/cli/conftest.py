import io
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from sfctl.context import Environment
from sfctl.embedded import ServerOptions
from sfctl.main import run
from tests.cli.fake_server import TOKEN, FakeServer, serving


@dataclass
class Ran:
    """What a command line came to."""

    code: int
    out: str
    err: str


class Stream(io.StringIO):
    """A text stream with an encoding and bytes below, like the real ones."""

    encoding = "utf-8"

    def __init__(self, text: str = "") -> None:
        super().__init__(text)
        self.buffer = io.BytesIO()


Cli = Callable[..., Ran]


@pytest.fixture
def server() -> Iterator[FakeServer]:
    with serving() as fake:
        yield fake


@pytest.fixture
def environment(tmp_path: Path) -> Environment:
    """No server is known and nothing is a terminal."""
    return Environment(
        stdin=Stream(),
        stdout=Stream(),
        stderr=Stream(),
        variables={"SF_URL": "http://127.0.0.1:1"},
        config_dir=tmp_path / "config",
        data_dir=tmp_path / "data",
        width=100,
        height=24,
    )


@pytest.fixture
def bare(environment: Environment, monkeypatch: pytest.MonkeyPatch) -> Cli:
    """Run a command line without a server; keywords replace fields of the environment."""

    def call(*args: str, stdin: str = "", **changes: object) -> Ran:
        fields = {"stdin": Stream(stdin), "stdout": Stream(), "stderr": Stream(), **changes}
        changed = replace(environment, **fields)  # type: ignore[arg-type]
        # Help and usage errors come from Typer, which knows only the process's streams.
        monkeypatch.setattr(sys, "stdout", changed.stdout)
        monkeypatch.setattr(sys, "stderr", changed.stderr)
        code = run(args, changed)
        return Ran(code, changed.stdout.getvalue(), changed.stderr.getvalue())  # type: ignore[attr-defined]

    return call


@pytest.fixture
def cli(bare: Cli, server: FakeServer) -> Cli:
    """Run a command line against the fake server, signed in."""

    def call(*args: str, variables: dict[str, str] | None = None, **changes: object) -> Ran:
        known = {"SF_URL": server.url, "SF_TOKEN": TOKEN, **(variables or {})}
        return bare(*args, variables=known, **changes)

    return call


@pytest.fixture
def stub_life(monkeypatch: pytest.MonkeyPatch) -> Callable[[float], None]:
    """Let `up` and `demo` start the stub instead of the server, for so many seconds; 20 unless called."""
    real = ServerOptions.command_line

    def set_life(life_s: float) -> None:
        def command_line(options: ServerOptions) -> list[str]:
            return [sys.executable, "-m", "tests.cli.stub_server", str(life_s), *real(options)[2:]]

        monkeypatch.setattr(ServerOptions, "command_line", command_line)

    set_life(20)
    return set_life
