"""U2: what would cost too much ends by the name of its limit, and nothing of it stays."""

from pathlib import Path

import pytest

from tests.integration.remains import assert_clean
from tests.integration.server import EmbeddedServer
from tests.promises.bombs import BOMBS, WALLED
from tests.promises.ledger import Proof, sizes

pytestmark = pytest.mark.promise("U2")


def ended(server: EmbeddedServer, path: Path) -> str:
    """Return the error code a job ends with, or its status without one."""
    job = server.wait(server.upload(path)["job_id"])
    return str(job["error"]["code"] if job["error"] else job["status"])


@sizes(1, 5)
def test_every_bomb_ends_by_its_name(
    server: EmbeddedServer, proof: Proof, tmp_path: Path, tiny_clip: Path, size: int
) -> None:
    for name, bomb in BOMBS.items():
        path = tmp_path / "bomb.bin"
        bomb.write(path)
        for _ in range(size):
            with proof.cell(name):
                assert ended(server, path) in bomb.codes
                assert_clean(server.data_dir)
    assert len(BOMBS) >= 12
    with proof.cell("a good video after all of them"):
        assert ended(server, tiny_clip) == "ready"


@sizes(1, 1)
def test_what_gets_past_the_limits_meets_a_wall(proof: Proof, tmp_path: Path, size: int) -> None:
    for name, (setting, value, write, code) in WALLED.items():
        path = tmp_path / "bomb.bin"
        write(path)
        server = EmbeddedServer(tmp_path / name.replace(" ", "-"), **{setting: value})
        try:
            server.start()
            with proof.cell(name):
                assert [ended(server, path) for _ in range(size)] == [code] * size
                assert_clean(server.data_dir)
        finally:
            server.close()
