"""Bringing a database to the current schema."""

from alembic import command
from alembic.config import Config

from sfserver.infra.db import Database


def alembic_config() -> Config:
    """Return Alembic's configuration; everything it needs lies in the package."""
    config = Config()
    config.set_main_option("script_location", "sfserver:migrations")
    config.set_main_option("path_separator", "os")
    return config


def upgrade_schema(database: Database) -> None:
    """Run the migrations that are missing, in one transaction."""
    config = alembic_config()
    with database.engine.begin() as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, "head")
