"""Bringing a database to the current schema."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlalchemy import Connection, MetaData, inspect, text

from sfserver.errors import DatabaseDamagedError
from sfserver.infra.database_errors import database_errors
from sfserver.infra.db import Database

if TYPE_CHECKING:
    from alembic.config import Config

# The newest migration (a test compares it with the scripts). A current database costs no import of Alembic.
HEAD = "0003"
_LOCK = int.from_bytes(b"sfschema")  # one number for all servers of a PostgreSQL database


def alembic_config() -> Config:
    """Return Alembic's configuration; everything it needs lies in the package."""
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", "sfserver:migrations")
    config.set_main_option("path_separator", "os")
    return config


def upgrade_schema(database: Database) -> None:
    """Run the migrations that are missing, in one transaction and one server at a time."""
    with database_errors(), database.engine.begin() as connection:
        # SQLite's transaction holds the write lock from its beginning.
        if connection.dialect.name == "postgresql":
            connection.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": _LOCK})
        if read_revision(connection) == HEAD:
            return
        from alembic import command

        config = alembic_config()
        config.attributes["connection"] = connection
        command.upgrade(config, "head")


def check_schema(database: Database, metadata: MetaData) -> None:
    """Raise `DatabaseDamagedError` where a table or column is missing, whatever revision the database claims."""
    with database_errors(), database.read_engine.connect() as connection:
        found = inspect(connection)
        tables = set(found.get_table_names())
        for table in metadata.sorted_tables:
            if table.name not in tables:
                raise DatabaseDamagedError(f"its table {table.name!r} is missing")
            missing = set(table.columns.keys()) - {column["name"] for column in found.get_columns(table.name)}
            if missing:
                raise DatabaseDamagedError(f"its table {table.name!r} lacks the column {min(missing)!r}")


def read_revision(connection: Connection) -> str | None:
    """Return the revision a database has; None if no migration has run."""
    if not inspect(connection).has_table("alembic_version"):
        return None
    found: str | None = connection.execute(text("SELECT version_num FROM alembic_version")).scalar_one_or_none()
    return found


def is_known_revision(revision: str) -> bool:
    """Whether this program has the migration, so that it can go on from there."""
    if revision == HEAD:
        return True
    from alembic.script import ScriptDirectory

    return revision in {script.revision for script in ScriptDirectory.from_config(alembic_config()).walk_revisions()}
