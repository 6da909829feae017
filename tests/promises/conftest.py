"""The ledger of a run, its table at the end, and the servers and clips that the proofs share."""

from collections.abc import Generator, Iterator
from pathlib import Path

import pytest

from sfserver.media.encode.sample import make_sample
from sfserver.media.sandbox.parent import Sandbox, SandboxLimits
from tests.integration.server import EmbeddedServer
from tests.promises.ledger import LEDGER, Ledger, Proof, choose_seed
from tests.tasks.fixtures import plain_log

__all__ = ["plain_log"]


def pytest_configure(config: pytest.Config) -> None:
    config.stash[LEDGER] = Ledger(choose_seed(proving=config.option.markexpr == "prove"))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Note a test that broke outside its cells."""
    report = yield
    promise = item.get_closest_marker("promise")
    row = item.config.stash[LEDGER].row(promise.args[0]) if promise else None
    if row is not None and report.failed and call.when != "teardown":
        reason = call.excinfo.exconly() if call.excinfo else report.longreprtext
        row.failures.append(f"{item.name} ({call.when}): {reason[:300]}")
    return report


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    ledger = config.stash[LEDGER]
    if config.option.markexpr == "prove" and ledger.rows:
        terminalreporter.section("promises")
        for line in ledger.lines():
            terminalreporter.write_line(line)


@pytest.fixture
def proof(request: pytest.FixtureRequest) -> Iterator[Proof]:
    """Count the cells of the test's promise; fail it at the end if one of them did not hold."""
    ledger = request.config.stash[LEDGER]
    promise = request.node.get_closest_marker("promise").args[0]
    proof = Proof(ledger.row(promise), ledger.seed)
    yield proof
    if proof.failed:
        shown = "\n".join(proof.failed[:20])
        pytest.fail(f"{request.node.name}: {len(proof.failed)} cells, seed {proof.seed}\n{shown}", pytrace=False)


@pytest.fixture(scope="session")
def tiny_clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three seconds of 320x180 with sound: one chunk, one rung."""
    path = tmp_path_factory.mktemp("clips") / "tiny.mp4"
    make_sample(path, seconds=3, width=320, height=180)
    return path


@pytest.fixture(scope="session")
def long_clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Ten seconds of 640x360 with sound: three chunks, one rung."""
    path = tmp_path_factory.mktemp("clips") / "long.mp4"
    make_sample(path, seconds=10, width=640, height=360)
    return path


@pytest.fixture(scope="session")
def sandbox() -> Iterator[Sandbox]:
    sandbox = Sandbox(SandboxLimits(stall_s=20))
    sandbox.start()
    yield sandbox
    sandbox.close()


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedServer]:
    """One server, which has to live through all that is sent to it."""
    server = EmbeddedServer(tmp_path_factory.mktemp("server"), SF_SANDBOX__STALL_S="20").start()
    yield server
    server.close()
