"""The shape of every list answer."""

from typing import Generic, TypeVar

from pydantic import BaseModel

Item = TypeVar("Item")


class Page(BaseModel, Generic[Item]):
    """One page of a list; pass `next_cursor` back as `?cursor=` for the next one."""

    items: list[Item]
    next_cursor: str | None = None
