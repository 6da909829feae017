"""The boundary table for what databases raise: which error is an outage, which is damage, and which is a bug of ours.

An outage (`DatabaseUnavailableError`) goes away by itself or by a person's hand, and what met it is tried again. Damage
(`DatabaseDamagedError`) stays. All else (constraints, syntax, values that do not fit) is left as it is.
"""

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy.exc import DBAPIError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError

from sfserver.errors import DatabaseDamagedError, DatabaseUnavailableError

# Primary result codes; the upper bytes of an extended code only say more (sqlite.org/rescode.html).
_SQLITE: dict[int, type[DatabaseDamagedError | DatabaseUnavailableError]] = {
    sqlite3.SQLITE_CORRUPT: DatabaseDamagedError,
    sqlite3.SQLITE_NOTADB: DatabaseDamagedError,
    sqlite3.SQLITE_BUSY: DatabaseUnavailableError,
    sqlite3.SQLITE_LOCKED: DatabaseUnavailableError,
    sqlite3.SQLITE_READONLY: DatabaseUnavailableError,
    sqlite3.SQLITE_IOERR: DatabaseUnavailableError,
    sqlite3.SQLITE_FULL: DatabaseUnavailableError,
    sqlite3.SQLITE_CANTOPEN: DatabaseUnavailableError,
    sqlite3.SQLITE_PROTOCOL: DatabaseUnavailableError,  # lost a race for the locks of the write-ahead log
}
# Beginnings of an SQLSTATE (postgresql.org, appendix A); the longest that fits wins.
_SQLSTATE: dict[str, type[DatabaseDamagedError | DatabaseUnavailableError]] = {
    "XX001": DatabaseDamagedError,  # data corrupted
    "XX002": DatabaseDamagedError,  # index corrupted
    "08": DatabaseUnavailableError,  # connection
    "40": DatabaseUnavailableError,  # serialization failure, deadlock
    "53": DatabaseUnavailableError,  # disk full, out of memory, too many connections
    "57": DatabaseUnavailableError,  # shut down, cancelled by an administrator
}
_ROOM_HINT = "make room on the disk that holds the database"


@contextmanager
def database_errors(*, read_only: bool = False) -> Iterator[None]:
    """Turn outages and damage into errors of ours, also those of connecting, beginning and committing.

    In a `read_only` transaction SQLite's READONLY is an attempt to write: a bug, not a read-only disk.
    """
    try:
        yield
    except PoolTimeoutError as error:
        raise DatabaseUnavailableError("every connection to the database is in use") from error
    except (DBAPIError, sqlite3.Error) as error:
        kind = classify(error)
        if kind is None or (read_only and _sqlite_code(_origin(error)) == sqlite3.SQLITE_READONLY):
            raise
        raise kind(str(_origin(error)), hint=_ROOM_HINT if _is_full(_origin(error)) else None) from error


def classify(error: DBAPIError | sqlite3.Error) -> type[DatabaseDamagedError | DatabaseUnavailableError] | None:
    """Return which error of ours a driver's error is; None for one that is neither outage nor damage."""
    origin = _origin(error)
    if isinstance(origin, sqlite3.Error):
        code = _sqlite_code(origin)
        return None if code is None else _SQLITE.get(code & 0xFF)
    state: str | None = getattr(origin, "sqlstate", None)
    if state is not None:
        found = [begin for begin in _SQLSTATE if state.startswith(begin)]
        if found:
            return _SQLSTATE[max(found, key=len)]
    if isinstance(error, DBAPIError) and error.connection_invalidated:
        return DatabaseUnavailableError
    # Without an SQLSTATE the server never answered.
    return DatabaseUnavailableError if state is None and isinstance(error, OperationalError) else None


def _is_full(origin: BaseException) -> bool:
    return ((_sqlite_code(origin) or 0) & 0xFF) == sqlite3.SQLITE_FULL or getattr(origin, "sqlstate", None) == "53100"


def _origin(error: DBAPIError | sqlite3.Error) -> BaseException:
    return (error.orig or error) if isinstance(error, DBAPIError) else error


def _sqlite_code(error: BaseException) -> int | None:
    return getattr(error, "sqlite_errorcode", None)
