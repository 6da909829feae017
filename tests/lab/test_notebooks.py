"""Each notebook is kept twice: `NN_topic.py` to read and review, `NN_topic.ipynb` executed, with small outputs."""

from pathlib import Path

import jupytext
import nbformat
import pytest

NOTEBOOKS = Path(__file__).parents[2] / "notebooks"
MAX_BYTES = 1_500_000


def cells(notebook: nbformat.NotebookNode) -> list[tuple[str, str]]:
    return [(cell.cell_type, cell.source.strip()) for cell in notebook.cells]


def test_every_source_has_its_notebook_and_the_other_way_round() -> None:
    sources, notebooks = ({path.stem for path in NOTEBOOKS.glob(f"*.{kind}")} for kind in ("py", "ipynb"))
    assert sources == notebooks != set()


@pytest.mark.parametrize("source", sorted(NOTEBOOKS.glob("*.py")), ids=lambda path: path.stem)
def test_notebook_is_its_source_executed(source: Path) -> None:
    path = source.with_suffix(".ipynb")
    notebook = nbformat.read(path, as_version=4)
    assert cells(notebook) == cells(jupytext.read(source)), "make it anew: jupytext --to ipynb --execute"
    assert [cell.source for cell in notebook.cells if cell.cell_type == "code" and not cell.execution_count] == []
    assert path.stat().st_size < MAX_BYTES
