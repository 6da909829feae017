"""What crosses the wall: one function of typed values, called by its name, JSON on the way there and back."""

import importlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar, get_type_hints

from pydantic import TypeAdapter

from sfserver.media.sandbox.throttle import Report

_Arguments = TypeVar("_Arguments")
_Result = TypeVar("_Result")
_Function = Callable[[_Arguments, Path, Report], _Result]


@dataclass(frozen=True)
class Call:
    """A function that may run in a child, and how its arguments and its result are read and written."""

    function: Callable[[Any, Path, Report], object]
    arguments: TypeAdapter[Any]
    result: TypeAdapter[Any]

    def dump_arguments(self, arguments: object) -> dict[str, object]:
        """Return arguments as JSON."""
        dumped: dict[str, object] = self.arguments.dump_python(arguments, mode="json")
        return dumped

    def run(self, arguments: dict[str, object], workdir: Path, report: Report) -> dict[str, object]:
        """Call the function with JSON arguments; return its result as JSON. Raises pydantic's ValidationError."""
        result = self.function(self.arguments.validate_python(arguments), workdir, report)
        dumped: dict[str, object] = self.result.dump_python(result, mode="json")
        return dumped


_CALLS: dict[object, Call] = {}


def sandboxed(function: _Function[_Arguments, _Result]) -> _Function[_Arguments, _Result]:
    """Let `function(arguments, workdir, report) -> result` be called in a child; both values are dataclasses.

    The adapters are built here, at import, which is before the fork: the first one alone costs 65 ms.
    """
    hints = get_type_hints(function)
    arguments = next(kind for name, kind in hints.items() if name != "return")
    _CALLS[function] = Call(function, TypeAdapter(arguments), TypeAdapter(hints["return"]))
    return function


@sandboxed
def do_nothing(arguments: dict[str, object], workdir: Path, report: Report) -> dict[str, object]:
    """Do nothing, behind all the walls there are."""
    return {}


def load_call(name: str) -> Call:
    """Return the call named "module:function"; `KeyError` if that function is not marked as `sandboxed`."""
    module, _, function = name.partition(":")
    return _CALLS[getattr(importlib.import_module(module), function)]
