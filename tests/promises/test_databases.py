"""D10: a database that this server must not use is named by `up` and `doctor`, and nothing is created or changed."""

import hashlib
import json
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from random import Random

import pytest

from tests.integration.server import EmbeddedServer
from tests.promises.ledger import Proof, sizes

pytestmark = pytest.mark.promise("D10")
DATABASE = "streamforge.db"


def truncate(folder: Path, random: Random) -> None:
    database = folder / DATABASE
    with database.open("r+b") as file:
        file.truncate(int(database.stat().st_size * random.uniform(0.05, 0.95)))


def scribble(folder: Path, random: Random) -> None:
    (folder / DATABASE).write_bytes(b"This is a letter and no database. " * 300)


def empty(folder: Path, random: Random) -> None:
    (folder / DATABASE).write_bytes(b"")


def lose(folder: Path, random: Random) -> None:
    (folder / DATABASE).unlink()


def forget_everything(folder: Path, random: Random) -> None:
    (folder / DATABASE).unlink()
    run(folder, "CREATE TABLE recipes (id INTEGER PRIMARY KEY, text TEXT)")


def come_from_the_future(folder: Path, random: Random) -> None:
    run(folder, "UPDATE alembic_version SET version_num = '9999'")


def drop_a_table(folder: Path, random: Random) -> None:
    run(folder, f"DROP TABLE {random.choice(['garbage', 'task_parts', 'assets'])}")


def rename_a_column(folder: Path, random: Random) -> None:
    run(folder, f"ALTER TABLE jobs RENAME COLUMN {random.choice(['seq', 'limits'])} TO other")


# What is done to it, and the code that `doctor` says; None where only `up` looks that closely.
TROUBLES: dict[str, tuple[Callable[[Path, Random], None], str | None]] = {
    "truncated": (truncate, "database_damaged"),
    "overwritten": (scribble, "database_damaged"),
    "empty beside objects": (empty, "database_missing"),
    "missing beside objects": (lose, "database_missing"),
    "of another program": (forget_everything, "foreign_database"),
    "newer": (come_from_the_future, "newer_schema"),
    "short of a table": (drop_a_table, None),
    "short of a column": (rename_a_column, None),
}


def run(folder: Path, statement: str) -> None:
    with closing(sqlite3.connect(folder / DATABASE)) as database, database:
        database.execute(statement)


def contents(folder: Path) -> dict[str, str]:
    """Return the digest of every file but the lock and the log."""
    files = [path for path in sorted(folder.rglob("*")) if path.is_file() and path.name not in {"lock", "server.log"}]
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory, tiny_clip: Path) -> Path:
    """Return the directory of a stopped server that holds one video."""
    server = EmbeddedServer(tmp_path_factory.mktemp("library") / "data").start()
    try:
        assert server.wait(server.upload(tiny_clip)["job_id"])["status"] == "ready"
        server.stop()
    finally:
        server.close()
    return server.data_dir


@sizes(1, 10)
def test_a_wrong_database_is_refused_and_named(proof: Proof, library: Path, tmp_path: Path, size: int) -> None:
    for number, (name, (spoil, code)) in enumerate(list(TROUBLES.items()) * size):
        with proof.cell(name):
            folder = tmp_path / f"{number}-{code}"
            shutil.copytree(library, folder)
            spoil(folder, proof.random)
            before = dict.fromkeys(contents(folder), "") if code is None else contents(folder)
            command = [sys.executable, "-m", "sfserver"]
            up = subprocess.run(
                [*command, "up", "--data-dir", str(folder), "--port", "0"],
                capture_output=True,
                text=True,
                timeout=60,
                check=False,
            )
            assert up.returncode == 1, up.stderr
            assert "Traceback" not in up.stderr, up.stderr
            assert "error: " in up.stderr
            if code is None:
                assert contents(folder).keys() == before.keys()
                continue
            assert contents(folder) == before
            doctor = subprocess.run(
                [*command, "doctor", "--data-dir", str(folder)], capture_output=True, text=True, timeout=60, check=True
            )
            assert json.loads(doctor.stdout)["database"]["code"] == code
            assert contents(folder) == before
