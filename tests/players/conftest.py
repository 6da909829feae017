"""One server, one library of clips and one of each player, for the whole matrix."""

from collections.abc import Iterator, Mapping
from contextlib import ExitStack

import pytest

from tests.integration.server import EmbeddedServer
from tests.players.library import Library
from tests.players.live import LiveShow
from tests.players.players import AnyPlayer, make_players


@pytest.fixture(scope="session")
def _no_proxy() -> Iterator[None]:
    """Some players ask a proxy even for a loopback address."""
    with pytest.MonkeyPatch.context() as patch:
        for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
            patch.delenv(name, raising=False)
        yield


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory, _no_proxy: None) -> Iterator[EmbeddedServer]:
    server = EmbeddedServer(tmp_path_factory.mktemp("server")).start()
    yield server
    server.close()


@pytest.fixture(scope="session")
def library(server: EmbeddedServer, tmp_path_factory: pytest.TempPathFactory) -> Library:
    return Library(server, tmp_path_factory.mktemp("signals"))


@pytest.fixture(scope="session")
def players(_no_proxy: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mapping[str, AnyPlayer]]:
    with ExitStack() as stack:
        yield make_players(stack, tmp_path_factory.mktemp("players"))


@pytest.fixture(scope="session")
def live_show(
    _no_proxy: None, players: Mapping[str, AnyPlayer], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[LiveShow]:
    """A server with one encoder, so that there is time to watch while it is at work."""
    server = EmbeddedServer(tmp_path_factory.mktemp("live"), SF_WORKER__CONCURRENCY="1").start()
    yield LiveShow(Library(server, tmp_path_factory.mktemp("signals")), players)
    server.close()
