"""Bringing a database to the current schema."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlalchemy import inspect, text

from sfserver.infra.db import Database

if TYPE_CHECKING:
    from alembic.config import Config

# The newest migration (a test compares it with the scripts). A current database costs no import of Alembic.
HEAD = "0001"


def alembic_config() -> Config:
    """Return Alembic's configuration; everything it needs lies in the package."""
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", "sfserver:migrations")
    config.set_main_option("path_separator", "os")
    return config


def upgrade_schema(database: Database) -> None:
    """Run the migrations that are missing, in one transaction."""
    with database.engine.begin() as connection:
        if inspect(connection).has_table("alembic_version"):
            found = connection.execute(text("SELECT version_num FROM alembic_version")).scalar_one_or_none()
            if found == HEAD:
                return
        from alembic import command

        config = alembic_config()
        config.attributes["connection"] = connection
        command.upgrade(config, "head")
