import contextlib
import itertools
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sfserver.errors import DamagedMediaError
from sfserver.media.sandbox.confinement import Confinement
from sfserver.media.sandbox.messages import (
    MAX_MESSAGE_BYTES,
    Crash,
    Failure,
    GarbageError,
    MessageReader,
    Progress,
    Result,
    Trouble,
    WallsUp,
    parse,
    printable,
)

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=9),
    lambda children: st.lists(children, max_size=3) | st.dictionaries(st.text(max_size=3), children, max_size=3),
    max_leaves=5,
)
SENT = [
    WallsUp(Confinement(7, True)),
    Progress({"n": 1}),
    Progress({"text": "é\n"}),
    Result({"ok": True}, 0.5, 1024),
    Trouble(28, "No space left"),
    Trouble(None, "no number"),
    Crash(True, ""),
]
LINES = [
    {"type": "walls", "landlock_abi": 7, "seccomp": True},
    {"type": "report", "values": {"n": 1}},
    {"type": "report", "values": {"text": "é\n"}},
    {"type": "result", "values": {"ok": True}, "cpu_s": 0.5, "peak_rss_bytes": 1024},
    {"type": "trouble", "errno": 28, "detail": "No \x1bspace left"},
    {"type": "trouble", "errno": None, "detail": "no number"},
    {"type": "crash", "reason": "memory"},
]
STREAM = b"".join(json.dumps(line).encode() + b"\n" for line in LINES)


@given(st.lists(st.integers(0, len(STREAM)), max_size=6))
def test_messages_survive_any_cutting(cuts: list[int]) -> None:
    edges = [0, *sorted(cuts), len(STREAM)]
    reader = MessageReader()
    pieces = [STREAM[start:end] for start, end in itertools.pairwise(edges)]
    assert [message for piece in pieces for message in reader.feed(piece)] == SENT


@given(st.dictionaries(st.sampled_from(["type", "values", "class", "reason", "cpu_s", "name", "errno"]), JSON))
def test_whatever_json_comes_it_is_a_message_or_garbage(content: dict[str, object]) -> None:
    with contextlib.suppress(GarbageError):
        assert isinstance(parse(json.dumps(content).encode()), Progress | Result | Failure | Crash | Trouble)


@given(st.binary())
def test_whatever_bytes_come_they_are_messages_or_garbage(data: bytes) -> None:
    with contextlib.suppress(GarbageError):
        assert list(MessageReader().feed(data)) == []


@pytest.mark.parametrize(
    "line", [b"[" * 200_000, b'{"type":"report","values":{"n":1e999}}', b'{"type":"report","values":{"n":-Infinity}}']
)
def test_what_json_parsers_trip_over_is_garbage(line: bytes) -> None:
    with pytest.raises(GarbageError):
        parse(line)


def test_good_messages_before_garbage_arrive() -> None:
    messages = MessageReader().feed(STREAM + b"garbage\n")
    assert [next(messages) for _ in SENT] == SENT
    with pytest.raises(GarbageError):
        next(messages)


def test_a_message_has_a_largest_size() -> None:
    reader = MessageReader()
    assert list(reader.feed(b" " * MAX_MESSAGE_BYTES)) == []
    with pytest.raises(GarbageError, match="more than 16 MiB"):
        list(reader.feed(b" "))


def test_text_of_an_error_is_cut_and_cleaned() -> None:
    line = {"type": "error", "class": "DamagedMediaError", "detail": "\x1b[2J" + "x" * 900, "hint": None}
    message = parse(json.dumps(line).encode())
    assert isinstance(message, Failure)
    assert isinstance(message.error, DamagedMediaError)
    assert message.error.detail == "[2J" + "x" * 496
    assert printable("a\x00b\u202ec\nd", 99) == "abc\nd"
