"""What a child may say, read without trusting it: one JSON object a line, at most 16 MiB."""

import json
import math
import re
from collections.abc import Iterator
from dataclasses import dataclass

from sfserver import errors
from sfserver.media.sandbox.confinement import Confinement

MAX_MESSAGE_BYTES = 16 << 20


@dataclass(frozen=True)
class Progress:
    """The stage reports something."""

    values: dict[str, object]


@dataclass(frozen=True)
class Result:
    """The stage ended well."""

    values: dict[str, object]
    cpu_s: float
    peak_rss_bytes: int


@dataclass(frozen=True)
class Failure:
    """The stage refused its input."""

    error: errors.PermanentError


@dataclass(frozen=True)
class Crash:
    """The stage broke in a way the child could still tell."""

    out_of_memory: bool
    detail: str


@dataclass(frozen=True)
class Trouble:
    """The stage met an error of its surroundings."""

    errno: int | None
    detail: str


@dataclass(frozen=True)
class WallsUp:
    """The first message of all: which walls stand round the child."""

    walls: Confinement


LastWord = Result | Failure | Crash | Trouble
Message = WallsUp | Progress | LastWord


class GarbageError(ValueError):
    """Bytes that no child of ours sends."""


class MessageReader:
    """Cuts the bytes of a pipe into messages."""

    def __init__(self) -> None:
        self._rest = bytearray()

    def feed(self, data: bytes) -> Iterator[Message]:
        """Take the next bytes; go through the messages they complete. Raises GarbageError, after the good ones."""
        first, *others = data.split(b"\n")
        self._rest += first
        for other in others:
            line, self._rest = bytes(self._rest), bytearray(other)
            yield parse(line)
        if len(self._rest) > MAX_MESSAGE_BYTES:
            raise GarbageError("a message of more than 16 MiB")


def parse(line: bytes) -> Message:
    """Read one message. Raises GarbageError."""
    try:
        content: dict[str, object] = json.loads(line, parse_constant=_finite, parse_float=_finite)
        match content:
            case {"type": "report", "values": dict(values)}:
                return Progress(values)
            case {"type": "result", "values": dict(values), "cpu_s": float(cpu_s), "peak_rss_bytes": int(peak)}:
                return Result(values, cpu_s, peak)
            case {"type": "error", "class": str(name), **rest}:
                return Failure(_error(name, rest))
            case {"type": "walls", "landlock_abi": int(abi), "seccomp": bool(seccomp)}:
                return WallsUp(Confinement(abi, seccomp))
            case {"type": "trouble", "errno": int() | None as number, "detail": str(detail)}:
                return Trouble(number, printable(detail, 500))
            case {"type": "crash", "reason": str(reason), **rest}:
                return Crash(reason == "memory", printable(str(rest.get("detail", "")), 500))
            case _:
                raise GarbageError("an unknown message")
    except (ValueError, RecursionError, OverflowError) as error:
        raise GarbageError(str(error)) from None


def printable(text: str, length: int) -> str:
    """Cut text of unknown origin and take control characters out of it, but for line ends."""
    return "".join(character for character in text[:length] if character.isprintable() or character == "\n")


def _error(name: str, content: dict[str, object]) -> errors.PermanentError:
    """Rebuild a permanent error; a transient one would let a hostile child ask for retries without end."""
    if name == errors.MediaLimitError.__name__:
        return _limit_error(content)
    kind = getattr(errors, name, None)
    if not (isinstance(kind, type) and issubclass(kind, errors.PermanentError)):
        raise GarbageError("an unknown error")
    hint = content.get("hint")
    return kind(printable(str(content.get("detail", "")), 500), hint=printable(str(hint), 500) if hint else None)


def _limit_error(content: dict[str, object]) -> errors.MediaLimitError:
    match content:
        case {"name": str(name), "limit": int() | float() as limit, "value": int() | float() as value}:
            if re.fullmatch("[a-z_]{1,40}", name):
                return errors.MediaLimitError(name, limit=limit, value=value)
        case _:
            pass
    raise GarbageError("a limit error without its limit")


def _finite(text: str) -> float:
    """Read a number; JSON has no NaN, and what is too large for a float would become infinite."""
    if not math.isfinite(number := float(text)):
        raise ValueError(f"{text} is not finite")
    return number
