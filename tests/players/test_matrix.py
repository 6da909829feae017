"""The table says of every cell what is so, and why it is where it is not a plain yes."""

import json
from collections.abc import Mapping

from tests.players.matrix import MEANINGS, PLAYERS, Exercise, How, runnable
from tests.players.players import AnyPlayer
from tests.players.scripts import FOLDER


def test_every_no_says_why() -> None:
    cells = [(player.name, each, player.cell(each)) for player in PLAYERS for each in Exercise]
    assert [(name, each) for name, each, cell in cells if cell.how is not How.YES and not cell.why] == []
    assert set(MEANINGS) == set(Exercise)


def test_every_player_that_is_tested_is_there(players: Mapping[str, AnyPlayer]) -> None:
    assert set(players) == {player.name for player, _ in runnable(*Exercise)}


def test_scripts_have_exact_versions() -> None:
    wanted = json.loads((FOLDER / "package.json").read_text())["dependencies"]
    assert sorted(wanted) == ["dashjs", "hls.js", "shaka-player"]
    assert all(part.isdigit() for version in wanted.values() for part in version.split("."))
