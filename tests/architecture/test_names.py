"""Names say what a thing does: no drawer for everything else."""

import ast
from pathlib import PurePosixPath

from tests.architecture.source import Module, functions, parse, violations

DRAWERS = {"util", "utils", "helper", "helpers", "common", "misc", "manager", "managers", "shared", "stuff"}


def drawers(module: Module) -> list[str]:
    parts = {part.strip("_") for part in PurePosixPath(module.name).with_suffix("").parts}
    classes = [node.name for node in ast.walk(module.tree) if isinstance(node, ast.ClassDef)]
    vague = [name for name in classes if name.lower().endswith(tuple(DRAWERS))]
    return [f"{module.name}: {name}" for name in [*sorted(parts & DRAWERS), *vague]]


def undocumented(module: Module) -> list[str]:
    public = [node for node in functions(module) if not node.name.startswith("_") and is_reachable(module, node)]
    return [f"{module.name}:{node.lineno} {node.name}" for node in public if not ast.get_docstring(node)]


def is_reachable(module: Module, node: ast.AST) -> bool:
    owners = [module.tree, *(item for item in module.tree.body if isinstance(item, ast.ClassDef))]
    return any(node in owner.body for owner in owners)


def test_nothing_is_named_after_a_drawer() -> None:
    assert violations(drawers, "sfctl", "sfserver", "transformer", "tests", "bench") == []


def test_every_public_function_of_media_and_captioner_says_what_it_does() -> None:
    assert violations(undocumented, "sfserver/media", "transformer") == []


def test_the_rules_see_drawers_and_missing_docstrings() -> None:
    assert drawers(parse("class JobManager: ...", "sfserver/jobs/utils.py")) == [
        "sfserver/jobs/utils.py: utils",
        "sfserver/jobs/utils.py: JobManager",
    ]
    assert undocumented(parse("class A:\n    def b(self): ...\ndef _c():\n    def d(): ...")) == [
        "sfserver/example.py:2 b"
    ]
