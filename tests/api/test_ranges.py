"""The range parser alone: the cases of RFC 9110, and what holds for every header."""

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sfserver.errors import RangeNotSatisfiableError
from sfserver.playback.ranges import (
    ByteRange,
    Validators,
    is_failed_precondition,
    is_not_modified,
    may_use_range,
    parse_range,
)

SIZE = 10_000
HELD = Validators('"abc"', datetime(2026, 1, 2, 3, 4, 5, 600_000, UTC))
CURRENT, OLDER = "Fri, 02 Jan 2026 03:04:05 GMT", "Fri, 02 Jan 2026 03:04:04 GMT"


@pytest.mark.parametrize(
    ("header", "start", "end"),
    [
        ("bytes=0-499", 0, 500),
        ("bytes=500-999", 500, 1000),
        ("bytes=0-0", 0, 1),
        ("bytes=9999-9999", 9999, 10_000),
        ("bytes=9500-", 9500, 10_000),
        ("bytes=0-", 0, 10_000),
        ("bytes=-500", 9500, 10_000),
        ("bytes=-1", 9999, 10_000),
        ("bytes=-10000", 0, 10_000),
        ("bytes=-10001", 0, 10_000),
        ("bytes=0-99999", 0, 10_000),
        ("bytes=9999-10000", 9999, 10_000),
        ("Bytes=1-2", 1, 3),
        ("BYTES=1-2", 1, 3),
        ("bytes=00001-0002", 1, 3),
        ("bytes= 1-2", 1, 3),
        ("bytes=1-2 ", 1, 3),
        ("bytes=,1-2", 1, 3),
        ("bytes=1-2, ,", 1, 3),
        ("bytes=\t1-2", 1, 3),
        (f"bytes=5-{'9' * 40}", 5, 10_000),
        (f"bytes=-{'9' * 40}", 0, 10_000),
    ],
)
def test_a_satisfiable_range(header: str, start: int, end: int) -> None:
    assert parse_range(header, SIZE) == ByteRange(start, end)


@pytest.mark.parametrize(
    "header",
    [
        None,
        "",
        "bytes",
        "bytes=",
        "bytes=-",
        "bytes=,",
        "bytes=--1",
        "bytes=1--2",
        "bytes=5-4",
        "bytes=1-2-3",
        "bytes=a-b",
        "bytes=1-b",
        "bytes=0x1-2",
        "bytes=1.0-2",
        "bytes=+1-2",
        "bytes=1 - 2",
        "bytes=1_0-20",
        "bytes=\u0661-2",
        "bytes =1-2",
        " bytes=1-2",
        "items=1-2",
        "bytes:1-2",
        "bytes=1-2,4-5",
        "bytes=1-2;4-5",
        "bytes=0-,-1",
        f"bytes={'9' * 40}-5",
    ],
)
def test_what_is_not_one_range_is_ignored(header: str | None) -> None:
    assert parse_range(header, SIZE) is None


@pytest.mark.parametrize("header", ["bytes=10000-", "bytes=10000-10001", "bytes=-0", f"bytes={'9' * 40}-"])
def test_a_range_without_a_byte_is_refused(header: str) -> None:
    with pytest.raises(RangeNotSatisfiableError):
        parse_range(header, SIZE)


@given(st.text(alphabet="bytes=-0123456789, x", max_size=30), st.integers(0, 200))
def test_whatever_is_sent_the_range_lies_in_the_file(header: str, size: int) -> None:
    for text in (header, f"bytes={header}"):
        try:
            found = parse_range(text, size)
        except RangeNotSatisfiableError:
            continue
        assert found is None or 0 <= found.start < found.end <= size


@given(st.data(), st.integers(1, 10**12))
def test_a_plain_range_is_taken_literally(data: st.DataObject, size: int) -> None:
    start = data.draw(st.integers(0, size - 1))
    last = data.draw(st.integers(start, 2 * size))
    assert parse_range(f"bytes={start}-{last}", size) == ByteRange(start, min(size, last + 1))


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        ({}, False),
        ({"if-none-match": '"abc"'}, True),
        ({"if-none-match": 'W/"abc"'}, True),
        ({"if-none-match": '"x" ,"abc"'}, True),
        ({"if-none-match": "*"}, True),
        ({"if-none-match": "abc"}, False),
        ({"if-none-match": '"x"'}, False),
        ({"if-none-match": '"x"', "if-modified-since": CURRENT}, False),
        ({"if-modified-since": CURRENT}, True),
        ({"if-modified-since": OLDER}, False),
        ({"if-modified-since": "yesterday"}, False),
        ({"if-modified-since": "Fri, 02 Jan 2026 03:04:05 -0000"}, True),
    ],
)
def test_not_modified(headers: dict[str, str], expected: bool) -> None:
    assert is_not_modified(headers, HELD) is expected


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        ({}, False),
        ({"if-match": '"abc"'}, False),
        ({"if-match": '"x", "abc"'}, False),
        ({"if-match": "*"}, False),
        ({"if-match": 'W/"abc"'}, True),
        ({"if-match": '"x"'}, True),
        ({"if-unmodified-since": CURRENT}, False),
        ({"if-unmodified-since": OLDER}, True),
        ({"if-unmodified-since": "rubbish"}, False),
        ({"if-match": '"abc"', "if-unmodified-since": OLDER}, False),
    ],
)
def test_failed_preconditions(headers: dict[str, str], expected: bool) -> None:
    assert is_failed_precondition(headers, HELD) is expected


@pytest.mark.parametrize(("value", "expected"), [(None, True), ('"abc"', True), ('W/"abc"', False), (CURRENT, False)])
def test_a_range_needs_the_same_version(value: str | None, expected: bool) -> None:
    assert may_use_range(value, HELD) is expected
