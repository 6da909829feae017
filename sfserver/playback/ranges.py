"""Byte ranges and conditions of one GET (RFC 9110, 13 and 14): pure functions of header values."""

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

from sfserver.errors import RangeNotSatisfiableError

_UNIT = re.compile(r"bytes=", re.IGNORECASE)
_SPEC = re.compile(r"([0-9]*)-([0-9]*)")
_ENTITY_TAG = re.compile(r'(W/)?("[\x21\x23-\x7e\x80-\xff]*")')
# Longer numbers are beyond any file, and CPython refuses to read very long ones.
_MAX_DIGITS = 30


@dataclass(frozen=True)
class ByteRange:
    """Bytes `start` ≤ i < `end`."""

    start: int
    end: int

    @property
    def length(self) -> int:
        """How many bytes."""
        return self.end - self.start


@dataclass(frozen=True)
class Validators:
    """What a client may hold against its copy: a strong entity tag, quotes included, and the last change."""

    etag: str
    modified_at: datetime


def entity_tag(identity: str) -> str:
    """Return a strong entity tag for bytes that are named uniquely."""
    return f'"{hashlib.sha256(identity.encode()).hexdigest()[:32]}"'


def parse_range(header: str | None, size: int) -> ByteRange | None:
    """Return the one range asked for, or None for the whole file; `RangeNotSatisfiableError` if it has no byte.

    What is not understood is ignored, and so are several ranges at once, as RFC 9110, 14.2 allows.
    """
    unit = _UNIT.match(header or "")
    if header is None or unit is None:
        return None
    specs = [spec for spec in (item.strip(" \t") for item in header[unit.end() :].split(",")) if spec]
    found = _SPEC.fullmatch(specs[0]) if len(specs) == 1 else None
    if found is None or found.group() == "-":
        return None
    first, last = (_number(digits) for digits in found.groups())
    if first is None:
        start, end = max(0, size - (last or 0)), size
    elif last is not None and last < first:
        return None
    else:
        start, end = first, size if last is None else min(size, last + 1)
    if start >= end:
        raise RangeNotSatisfiableError(f"the file has {size} bytes")
    return ByteRange(start, end)


def is_not_modified(headers: Mapping[str, str], held: Validators) -> bool:
    """Say whether the client's copy is current: by `If-None-Match`, else by `If-Modified-Since` (RFC 9110, 13.2.2)."""
    tags = headers.get("if-none-match")
    if tags is not None:
        return tags.strip() == "*" or any(tag == held.etag for _, tag in _ENTITY_TAG.findall(tags))
    since = _date(headers.get("if-modified-since"))
    return since is not None and held.modified_at.replace(microsecond=0) <= since


def is_failed_precondition(headers: Mapping[str, str], held: Validators) -> bool:
    """Say whether the client wants another version: by `If-Match`, else by `If-Unmodified-Since`."""
    tags = headers.get("if-match")
    if tags is not None:
        strong = (tag for weak, tag in _ENTITY_TAG.findall(tags) if not weak)
        return tags.strip() != "*" and held.etag not in strong
    since = _date(headers.get("if-unmodified-since"))
    return since is not None and held.modified_at.replace(microsecond=0) > since


def may_use_range(if_range: str | None, held: Validators) -> bool:
    """Say whether a range fits the part the client has: `If-Range` must match exactly and strongly (RFC 9110, 13.1.5).

    A date is no strong validator here: two publishings may share a second.
    """
    return if_range is None or if_range.strip() == held.etag


def _number(digits: str) -> int | None:
    if not digits:
        return None
    return int(digits) if len(digits) <= _MAX_DIGITS else 10**_MAX_DIGITS


def _date(value: str | None) -> datetime | None:
    if value is None:
        return None
    try:
        moment = parsedate_to_datetime(value)
    except ValueError:
        return None
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)
