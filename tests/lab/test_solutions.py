"""The solutions solve the exercises: each runs from top to bottom, and its assertions hold."""

import ast
import runpy
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow
SOLUTIONS = Path(__file__).parents[2] / "notebooks" / "solutions"


@pytest.mark.parametrize("solution", sorted(SOLUTIONS.glob("*.py")), ids=lambda path: path.stem)
def test_solution_holds(solution: Path) -> None:
    assert any(isinstance(node, ast.Assert) for node in ast.walk(ast.parse(solution.read_text())))
    assert runpy.run_path(str(solution))["__name__"] == "<run_path>"
