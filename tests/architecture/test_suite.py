"""The tests' own rules: each asserts something, and a missing tool is asked for in one place."""

import ast
import re

from tests.architecture.source import FunctionNode, Module, dotted, functions, parse, violations
from tests.requirements import listed_tools, require_tool

CHECKS = re.compile(r"(^|\.)(assert|check|expect|verify)\w*$|(^|\.)(raises|warns|fail)$")


def asserts(test: FunctionNode) -> bool:
    calls = [dotted(node.func) for node in ast.walk(test) if isinstance(node, ast.Call)]
    return any(isinstance(node, ast.Assert) for node in ast.walk(test)) or any(map(CHECKS.search, calls))


def empty_tests(module: Module) -> list[str]:
    tests = [node for node in functions(module) if node.name.startswith("test_")]
    return [f"{module.name}:{test.lineno} {test.name}" for test in tests if not asserts(test)]


def skips(module: Module) -> list[str]:
    if module.name == "tests/requirements.py":
        return []
    found = [node for node in ast.walk(module.tree) if dotted(node) in {"pytest.skip", "pytest.mark.skip"}]
    return [f"{module.name}:{node.lineno}" for node in found]  # type: ignore[attr-defined]


def unlisted_tools(module: Module) -> list[str]:
    asked = [
        node for node in ast.walk(module.tree) if isinstance(node, ast.Call) and dotted(node.func) == "require_tool"
    ]
    names = [(node.lineno, [arg.value for arg in node.args if isinstance(arg, ast.Constant)]) for node in asked]
    return [f"{module.name}:{line} {given}" for line, given in names if given and not listed_tools() & set(given)]


def test_every_test_asserts_something() -> None:
    assert violations(empty_tests, "tests") == []


def test_only_missing_tools_skip_a_test() -> None:
    assert violations(skips, "tests") == []


def test_every_tool_a_test_asks_for_is_installed_by_ci() -> None:
    assert {"festival", "flite", "ffmpeg"} <= listed_tools()
    assert violations(unlisted_tools, "tests") == []
    assert unlisted_tools(parse(f"{require_tool.__name__}('sox')")) == ["sfserver/example.py:1 ['sox']"]


def test_the_rules_see_empty_and_skipped_tests() -> None:
    assert empty_tests(parse("def test_nothing(): print(1)"))
    assert not empty_tests(parse("def test_error():\n    with pytest.raises(OSError): open('/')"))
    assert skips(parse("pytest.skip('later')"))
