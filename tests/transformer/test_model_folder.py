"""A folder with a model is loaded if its files are what its description says, and refused with a reason if not."""

import json
import math
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from tests.transformer.conftest import Exported
from transformer.export import describe
from transformer.graph import save_entries
from transformer.runtime import ModelError, Transcriber

ABC = '{"format": 1, "sha256": "abc"}'


@pytest.fixture
def folder(exported: Exported, tmp_path: Path) -> Path:
    return Path(shutil.copytree(exported.folder, tmp_path / "model"))


def rewrite(name: str, change: Callable[[bytes], bytes]) -> Callable[[Path], None]:
    return lambda folder: [(folder / name).write_bytes(change((folder / name).read_bytes())), None][1]


def swap(folder: Path) -> None:
    language, lexicon = ((folder / name).read_bytes() for name in ("language.xz", "lexicon.xz"))
    (folder / "language.xz").write_bytes(lexicon)
    (folder / "lexicon.xz").write_bytes(language)


def replace_by_foreign(folder: Path) -> None:
    values = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, 4]) for name in ("x", "y")]
    graph = helper.make_graph([helper.make_node("Relu", ["x"], ["y"])], "foreign", values[:1], values[1:])
    opset = [helper.make_opsetid("", 17)]
    onnx.save(helper.make_model(graph, opset_imports=opset, ir_version=8), folder / "captioner.onnx")


def widen(folder: Path) -> None:
    """Ask for 64 mel bands: the names stay as they are."""
    model = onnx.load(folder / "captioner.onnx")
    model.graph.input[0].type.tensor_type.shape.dim[2].dim_value = 64
    shape = np.array([0, 0, 80], np.int64)  # so that the network inside still fits: a reshape that fails when it is run
    model.graph.initializer.append(numpy_helper.from_array(shape, "eighty"))
    for node in model.graph.node:
        node.input[:] = ["wide" if name == "features" else name for name in node.input]
    model.graph.node.insert(0, helper.make_node("Reshape", ["features", "eighty"], ["wide"]))
    onnx.save(model, folder / "captioner.onnx")


def refused(folder: Path, capfd: pytest.CaptureFixture[str]) -> str:
    with pytest.raises(ModelError) as error:
        Transcriber(folder)
    assert error.value.__cause__ is None
    assert error.value.__suppress_context__ or error.value.__context__ is None
    assert "".join(capfd.readouterr()) == ""
    return str(error.value)


@pytest.mark.parametrize("name", ["captioner.onnx", "language.xz", "lexicon.xz"])
@pytest.mark.parametrize("change", [lambda data: data[:-1], lambda data: data + b"\0", lambda _: b""])
def test_a_file_that_is_not_the_one_described_is_refused(
    folder: Path, capfd: pytest.CaptureFixture[str], name: str, change: Callable[[bytes], bytes]
) -> None:
    rewrite(name, change)(folder)
    assert f"{name} is not the file that captioner.json describes" in refused(folder, capfd)


@pytest.mark.parametrize("name", ["captioner.onnx", "language.xz", "lexicon.xz", "captioner.json"])
def test_a_missing_file_is_named(folder: Path, capfd: pytest.CaptureFixture[str], name: str) -> None:
    (folder / name).unlink()
    assert name in refused(folder, capfd)


def test_a_missing_folder_is_named(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert str(tmp_path / "none") in refused(tmp_path / "none", capfd)


@pytest.mark.parametrize(
    ("change", "named"),
    [
        (rewrite("captioner.onnx", lambda data: data[: len(data) // 2]), "captioner.onnx"),
        (rewrite("captioner.onnx", lambda _: b""), "captioner.onnx"),
        (rewrite("captioner.onnx", lambda _: b"no model"), "captioner.onnx"),
        (replace_by_foreign, "captioner.onnx is another model"),
        (widen, "captioner.onnx is another model"),
        (rewrite("language.xz", lambda data: data[:-50]), "language.xz"),
        (rewrite("lexicon.xz", lambda data: data[:-50]), "lexicon.xz"),
        (swap, "language.xz holds no language model"),
        (lambda folder: save_entries(folder / "lexicon.xz", [(200, [1, 2])]), "lexicon.xz"),
    ],
    ids=[
        "half",
        "empty",
        "text",
        "foreign",
        "64 bands",
        "no end of language",
        "no end of lexicon",
        "swapped",
        "unknown ids",
    ],
)
def test_a_described_file_of_another_kind_is_refused(
    folder: Path, capfd: pytest.CaptureFixture[str], change: Callable[[Path], None], named: str
) -> None:
    change(folder)
    describe(folder, {})
    assert named in refused(folder, capfd)


@pytest.mark.parametrize(
    "text",
    ["", "{", "\xff\xfe", "[]", "null", "7", '"captioner"', "{}", '{"format": 1}', '{"format": 1, "sha256": {}}', ABC],
)
def test_a_garbled_description_is_refused(folder: Path, capfd: pytest.CaptureFixture[str], text: str) -> None:
    (folder / "captioner.json").write_bytes(text.encode("latin-1"))
    assert "captioner.json" in refused(folder, capfd)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("beam", None),
        ("beam", {"width": 3}),
        ("beam", {"threshold": "13"}),
        ("beam", {"threshold": math.nan}),
        ("beam", {"hypotheses": 1.5}),
        ("beam", {"hypotheses": 0}),
        ("timing", None),
        ("timing", {}),
        ("timing", {"start_offset_s": "0", "end_offset_s": 0}),
        ("lowest_confidence", None),
        ("lowest_confidence", True),
    ],
)
def test_a_description_with_a_wrong_value_or_none_is_refused(
    folder: Path, capfd: pytest.CaptureFixture[str], key: str, value: object
) -> None:
    about = json.loads((folder / "captioner.json").read_text())
    about.pop(key)
    (folder / "captioner.json").write_text(json.dumps(about if value is None else {**about, key: value}))
    assert "captioner.json" in refused(folder, capfd)


def test_another_format_is_refused(folder: Path, capfd: pytest.CaptureFixture[str]) -> None:
    describe(folder, {"format": 99})
    assert "format 99" in refused(folder, capfd)
