"""Functions, files and parameter lists stay small; what grows is split by verb."""

from tests.architecture.source import FunctionNode, Module, functions, parse, violations

MAX_FUNCTION_LINES = 40
MAX_FILE_LINES = 400
MAX_MODEL_LINES = 500
MAX_POSITIONAL = 5
HAND_WRITTEN = ("sfctl", "sfserver", "transformer", "bench", "docs")


def length(function: FunctionNode) -> int:
    return (function.end_lineno or function.lineno) - function.lineno + 1


def positional(function: FunctionNode) -> int:
    arguments = [*function.args.posonlyargs, *function.args.args]
    return len([argument for argument in arguments if argument.arg not in {"self", "cls"}])


def long_functions(module: Module) -> list[str]:
    if module.name.startswith("sfserver/migrations/"):
        return []
    found = [node for node in functions(module) if length(node) > MAX_FUNCTION_LINES]
    return [f"{module.name}:{node.lineno} {node.name} has {length(node)} lines" for node in found]


def crowded_functions(module: Module) -> list[str]:
    found = [node for node in functions(module) if positional(node) > MAX_POSITIONAL]
    return [f"{module.name}:{node.lineno} {node.name} takes {positional(node)} in a row" for node in found]


def long_files(module: Module) -> list[str]:
    limit = MAX_MODEL_LINES if module.name == "transformer/model.py" else MAX_FILE_LINES
    lines = module.text.count("\n")
    return [f"{module.name} has {lines} lines"] if lines > limit else []


def test_functions_are_short_and_take_few_positional_parameters() -> None:
    assert violations(long_functions, *HAND_WRITTEN) + violations(crowded_functions, *HAND_WRITTEN) == []


def test_files_are_short() -> None:
    assert violations(long_files, *HAND_WRITTEN, "tests") == []


def test_the_rules_see_what_is_too_big() -> None:
    body = "\n".join(["    pass"] * 40)
    assert long_functions(parse(f"def f():\n{body}")) == ["sfserver/example.py:1 f has 41 lines"]
    assert crowded_functions(parse("def f(self, a, b, c, d, e, g): ...")) == [
        "sfserver/example.py:1 f takes 6 in a row"
    ]
    assert crowded_functions(parse("def f(a, b, c, d, e, *, g, h): ...")) == []
    assert long_files(parse("\n" * 401)) == ["sfserver/example.py has 401 lines"]
