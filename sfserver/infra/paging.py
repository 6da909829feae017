"""Opaque cursors over UUIDv7 ids, newest first: stable while rows come and go."""

import base64
import binascii
from collections.abc import Sequence
from typing import Annotated, TypeVar

from fastapi import Query

from sfserver.errors import InvalidRequestError

Row = TypeVar("Row")
Limit = Annotated[int, Query(ge=1, le=200)]


def encode_cursor(last_id: str) -> str:
    """Return the cursor that continues after `last_id`."""
    return base64.urlsafe_b64encode(last_id.encode()).decode().rstrip("=")


def decode_cursor(cursor: str | None) -> str | None:
    """Return the id a cursor continues after; `InvalidRequestError` if it is not one of ours."""
    if not cursor:
        return None
    try:
        last_id = base64.b64decode(cursor + "=" * (-len(cursor) % 4), altchars=b"-_", validate=True).decode()
    except (binascii.Error, ValueError) as error:
        raise InvalidRequestError("the cursor is not one this server gave") from error
    if encode_cursor(last_id) != cursor or "\0" in last_id:
        raise InvalidRequestError("the cursor is not one this server gave")
    return last_id


def cut_page(rows: Sequence[Row], limit: int) -> tuple[list[Row], bool]:
    """Split `limit + 1` fetched rows into a page and whether there are more."""
    return list(rows[:limit]), len(rows) > limit
