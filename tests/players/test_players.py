"""Every player of the matrix goes through every exercise that it can do."""

from collections.abc import Mapping
from fractions import Fraction
from random import Random

import pytest

from tests.players.browser import BACK_AT_S
from tests.players.library import Library
from tests.players.live import LiveShow
from tests.players.matrix import LIVE, Exercise, Player, runnable
from tests.players.players import AnyPlayer
from tests.players.signals import Signal
from tests.promises.ledger import sizes

PLAIN = Signal()
RATES = [
    PLAIN,
    *(
        pytest.param(signal, marks=pytest.mark.prove)
        for signal in (
            Signal(30, Fraction(24_000, 1001)),
            Signal(16, Fraction(60), (1280, 720)),
            Signal(40, Fraction(25, 2), (1920, 1080)),
        )
    ),
]
LIVE_PLAIN = Signal(32, Fraction(30), (1280, 720))
LIVE_RATES = [
    LIVE_PLAIN,
    pytest.param(Signal(40, Fraction(24_000, 1001), (1920, 1080)), marks=pytest.mark.prove),
    pytest.param(Signal(32, Fraction(30), (1920, 1080)), marks=pytest.mark.prove),
]
VOD = [each for each in Exercise if each not in {*LIVE, Exercise.SILENT, Exercise.SEEK}]


def cells(*exercises: Exercise) -> pytest.MarkDecorator:
    found = runnable(*exercises)
    return pytest.mark.parametrize(("player", "exercise"), found, ids=[f"{p.name}-{e}" for p, e in found])


def named(value: object) -> str | None:
    return f"{value.size[1]} lines, {float(value.fps):.5g} a second" if isinstance(value, Signal) else None


def seeks(signal: Signal, count: int) -> list[int]:
    """Draw `count` frames: among them the first, the last, a flash, one late in a GOP, and both sides of a joint."""
    fixed = [310, 59, 480, 0, signal.frames - 1, signal.flashes[3]]
    random = Random(count)
    drawn = [random.randrange(signal.frames) for _ in range(count - len(fixed))]
    return [number for number in [*fixed, *drawn] if number < signal.frames]


@pytest.mark.parametrize("signal", RATES, ids=named)
@cells(*VOD)
def test_it_starts_switches_and_ends(
    library: Library, players: Mapping[str, AnyPlayer], player: Player, exercise: Exercise, signal: Signal
) -> None:
    video = library.video(signal)
    assert len(video.heights) >= 2
    players[player.name].perform(exercise, video, seeks(signal, 20))


@pytest.mark.parametrize("signal", RATES, ids=named)
@sizes(20, 200)
@cells(Exercise.SEEK)
def test_it_seeks(
    library: Library,
    players: Mapping[str, AnyPlayer],
    player: Player,
    exercise: Exercise,
    signal: Signal,
    size: int,
) -> None:
    numbers = seeks(signal, size)
    assert len(numbers) >= 18
    players[player.name].perform(exercise, library.video(signal), numbers)


@cells(Exercise.SILENT)
def test_it_plays_without_sound(
    library: Library, players: Mapping[str, AnyPlayer], player: Player, exercise: Exercise
) -> None:
    video = library.video(Signal(seconds=6, has_sound=False))
    assert "AUDIO=" not in library.server.http.get(video.hls).text
    players[player.name].perform(exercise, video, [])


@pytest.mark.parametrize("signal", LIVE_RATES, ids=named)
@cells(*LIVE)
def test_it_plays_live(
    live_show: LiveShow, players: Mapping[str, AnyPlayer], player: Player, exercise: Exercise, signal: Signal
) -> None:
    watched = live_show.watch(signal)
    assert watched.ready_after_s > BACK_AT_S + 2, "encoded too fast to be watched meanwhile: take a longer clip"
    seen = watched.seen[player.name].result()
    players[player.name].check_live(exercise, watched.video, seen, watched.ready_after_s)
