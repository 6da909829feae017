"""Fixtures that all parts of the suite share."""

import signal
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from sfserver.infra.db import Database
from sfserver.infra.schema import upgrade_schema

# A suite that a script started in the background was told to ignore Ctrl-C, and all that it starts would be too.
signal.signal(signal.SIGINT, signal.default_int_handler)

# A machine that does something else beside the suite is no reason to fail it.
settings.register_profile("suite", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("suite")


@pytest.fixture(scope="session")
def empty_database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a database file with the current schema; tests copy it, since migrating takes a second."""
    path = tmp_path_factory.mktemp("schema") / "streamforge.db"
    database = Database(f"sqlite:///{path}")
    upgrade_schema(database)
    database.close()
    return path
