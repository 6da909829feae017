"""The project's own code as syntax trees, for tests that check the house rules."""

import ast
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

ROOT = Path(__file__).parents[2]
PRODUCT = ("sfctl", "sfserver", "transformer")
FunctionNode = ast.FunctionDef | ast.AsyncFunctionDef


@dataclass(frozen=True)
class Module:
    """One file; `name` is its path below the repository, with slashes."""

    name: str
    text: str
    tree: ast.Module


@cache
def modules(*folders: str) -> list[Module]:
    """Return every Python file below `folders`, the product's own by default."""
    paths = sorted(path for folder in folders or PRODUCT for path in (ROOT / folder).rglob("*.py"))
    texts = {path: path.read_text() for path in paths}
    return [Module(path.relative_to(ROOT).as_posix(), text, ast.parse(text)) for path, text in texts.items()]


def functions(module: Module) -> Iterator[FunctionNode]:
    """Yield every function and method, nested ones too."""
    return (node for node in ast.walk(module.tree) if isinstance(node, FunctionNode))


def imports(module: Module) -> Iterator[tuple[int, str]]:
    """Yield line and dotted name of everything imported: `from a import b` gives `a.b`."""
    for node in ast.walk(module.tree):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield from ((node.lineno, f"{node.module}.{alias.name}") for alias in node.names)


def dotted(node: ast.AST) -> str:
    """Return `a.b.c` for a chain of attributes, and an empty string for anything else."""
    if isinstance(node, ast.Attribute):
        return f"{dotted(node.value)}.{node.attr}"
    return node.id if isinstance(node, ast.Name) else ""


def parse(text: str, name: str = "sfserver/example.py") -> Module:
    """Return a module made of `text`, to try a rule on."""
    return Module(name, text, ast.parse(text))


def violations(rule: Callable[[Module], list[str]], *folders: str) -> list[str]:
    """Return what `rule` says about every file below `folders`."""
    return [line for module in modules(*folders) for line in rule(module)]
