import json
from pathlib import Path

import pytest

from tests.cli.conftest import Cli


def test_origins(bare: Cli, tmp_path: Path) -> None:
    assert bare("config", "set", "quality", "720p").code == 0
    assert bare("config", "set", "progress", "plain").code == 0
    shown = json.loads(bare("config", "show", "--json", "--color", "never", variables={"SF_PROGRESS": "none"}).out)
    assert shown["quality"] == {"value": "720p", "origin": "profile default"}
    assert shown["progress"] == {"value": "none", "origin": "env SF_PROGRESS"}
    assert shown["color"] == {"value": "never", "origin": "flag"}
    assert "player" not in shown
    assert "player\t-\t-" in bare("config").out.splitlines()


def test_profiles(bare: Cli) -> None:
    url = "https://studio.example/\u202e🎬"
    assert bare("--profile", "studio", "config", "set", "url", url, variables={}).code == 0
    assert bare("config", "get", "url", "--profile", "studio", variables={}).out == "https://studio.example/🎬\n"
    assert bare("config", "get", "url", variables={}).code == 5
    assert bare("config", "set", "profile", "studio").code == 0
    assert bare("config", "get", "url", variables={}).out.startswith("https://studio")
    assert bare("config", "set", "profile", "nowhere").code == 1
    assert bare("ls", "--profile", "nowhere").code == 2


@pytest.mark.parametrize("words", [["quality", "4k"], ["nonsense", "1"]])
def test_wrong_settings_are_refused(bare: Cli, words: list[str]) -> None:
    assert bare("config", "set", *words).code == 2
    assert bare("config", "get", "nonsense").code == 2
    assert bare("ls", variables={"SF_QUALITY": "4k"}).code == 2


def test_a_broken_file_is_named(bare: Cli, tmp_path: Path) -> None:
    path = Path(bare("config", "path").out.strip())
    path.parent.mkdir(parents=True)
    path.write_text("profile = [")
    ran = bare("config", "show")
    assert ran.code == 2
    assert str(path) in ran.err


def test_colours(cli: Cli, server: object) -> None:
    server.add("a film")  # type: ignore[attr-defined]
    assert "\x1b[1m" in cli("ls", stdout_tty=True).out
    assert "\x1b" not in cli("ls", stdout_tty=True, variables={"NO_COLOR": "1"}).out
    assert "\x1b" not in cli("ls", stdout_tty=True, variables={"TERM": "dumb"}).out
    assert "\x1b" not in cli("ls", "--color", "never", stdout_tty=True).out
    assert "\x1b[1m" in cli("ls", "--color", "always", stdout_tty=True, variables={"NO_COLOR": "1"}).out
