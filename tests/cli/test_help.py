"""Help: examples first, each of them run; quick, and light on imports."""

import re
import shlex
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import typer
from typer.core import TyperGroup

from sfctl.main import RootGroup, app
from sfserver.wire.jobs import JobStatus
from tests.cli.conftest import Cli
from tests.cli.fake_server import TOKEN, FakeServer

ROOT = typer.main.get_command(app)
PRINT_MODULES = """
import sys
from sfctl.main import main
try:
    main()
finally:
    print(*sys.modules, file=sys.stderr)
"""


def walk(command: object, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], object]]:
    yield path, command
    if isinstance(command, TyperGroup):
        context = typer.Context(command, info_name="sfctl")
        for name in command.list_commands(context):
            yield from walk(command.get_command(context, name), (*path, name))


COMMANDS = dict(walk(ROOT))


def examples() -> list[str]:
    """Every example of every help, without what it says about it."""
    found = []
    for command in COMMANDS.values():
        found += [re.split(r"\s{2,}", line)[0] for line in getattr(command, "examples", [])]
    return list(dict.fromkeys(found))


def test_every_command_has_examples() -> None:
    assert [path for path, command in COMMANDS.items() if not getattr(command, "examples", [])] == []


def test_the_index_says_what_the_commands_say() -> None:
    helps = {path[0]: getattr(command, "help", "") for path, command in COMMANDS.items() if len(path) == 1}
    assert {name: entry.help for name, entry in RootGroup.entries.items()} == {
        name: text.splitlines()[0].partition(";")[0].rstrip(".") + "." for name, text in helps.items()
    }


@pytest.mark.parametrize("path", COMMANDS)
@pytest.mark.parametrize("option", ["-h", "--help"])
def test_help_begins_with_examples(bare: Cli, path: tuple[str, ...], option: str) -> None:
    ran = bare(*path, option)
    assert ran.code == 0
    assert ran.out.startswith("Examples:\n  ")


@pytest.mark.parametrize("example", examples())
def test_example(
    example: str,
    cli: Cli,
    server: FakeServer,
    stub_life: Callable[[float], None],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[2]))
    monkeypatch.setattr("sfctl.preflight._bind", lambda _host, _port: None)
    for name in () if "download" in example else ("film.mp4", "one.mp4", "two.mkv", "clips/three.mov"):
        Path(name).parent.mkdir(exist_ok=True)
        Path(name).write_bytes(b"frames")
    monkeypatch.setattr("sfctl.commands.demo._make_clip", lambda _run, path: path.write_bytes(b"frames") and path)
    monkeypatch.setattr("sfctl.players.run_player", lambda _command, _variables: 0)
    monkeypatch.setattr("webbrowser.open", lambda _url: True)
    stub_life(4.0 if "demo" in example or "--detach" in example else 0.5)
    title = "a film"
    states = {"cancel": JobStatus.PROCESSING, "retry": JobStatus.FAILED}
    server.add(title, next((state for word, state in states.items() if word in example), JobStatus.READY))
    inner = re.search(r"\$\((sfctl [^)]*)\)", example)
    words = shlex.split((inner[1] if inner else example).split(" > ")[0])
    assert words[0] == "sfctl"
    variables = {"SF_TOKEN": TOKEN, "SF_URL": server.url}
    if "--profile" in words or set(words) & {"up", "down", "demo"}:
        variables = {"SF_DATA_DIR": str(tmp_path / "data")}
    is_tty = "rm" in words and not set(words) & {"--yes", "--dry-run"}
    ran = cli(*words[1:], variables={"SF_URL": "", **variables}, stdin="y\n" if is_tty else "", stdin_tty=is_tty)
    assert ran.code == 0, ran.err
    cli("down", variables={"SF_URL": "", "SF_DATA_DIR": str(tmp_path / "data")})
    cli("down", "--data-dir", "./data", variables={"SF_URL": ""})


def test_help_loads_little() -> None:
    for args in (["--help"], ["upload", "-h"], ["ls", "-h"], ["demo", "-h"]):
        command = [sys.executable, "-c", PRINT_MODULES, *args]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
        loaded = {name.split(".")[0] for name in done.stderr.split()}
        assert done.stdout.startswith("Examples:")
        assert not loaded & {"sfserver", "av", "textual", "torch", "httpx", "rich", "numpy", "fastapi"}


def test_version(bare: Cli) -> None:
    assert bare("--version").out.startswith("sfctl 0.")


def test_a_near_miss_is_named(bare: Cli) -> None:
    ran = bare("uplod")
    assert ran.code == 2
    assert "Did you mean upload?" in ran.err


@pytest.mark.parametrize("args", [["ls", "--nope"], ["upload"], ["nonsense"], ["info"], ["jobs", "cancel"]])
def test_usage_errors_are_2(bare: Cli, args: list[str]) -> None:
    assert bare(*args).code == 2


def test_completion_offers_commands_and_ids(server: FakeServer, tmp_path: Path) -> None:
    video = server.add("a film")
    done = subprocess.run(
        [Path(sys.executable).with_name("sfctl")],
        env={
            "SF_URL": server.url,
            "SF_TOKEN": TOKEN,
            "HOME": str(tmp_path),
            "_SFCTL_COMPLETE": "complete_bash",
            "COMP_WORDS": "sfctl info 0192",
            "COMP_CWORD": "2",
        },
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.stdout.split() == [video.id], done.stderr
