import hashlib
import json
import shutil
from dataclasses import asdict
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from onnxruntime import InferenceSession

from tests.transformer.conftest import Exported
from tests.transformer.tiny import Floats
from transformer import export
from transformer.config import N_MELS
from transformer.decoding import BeamSettings
from transformer.export import describe, export_model, load_run, strip
from transformer.model import output_lengths
from transformer.runtime import FORMAT, open_session


@pytest.fixture(scope="module")
def plain(exported: Exported) -> InferenceSession:
    return open_session(exported.plain)


def run(session: InferenceSession, features: torch.Tensor, frames: torch.Tensor) -> tuple[Floats, Floats]:
    phones, letters = session.run(None, {"features": features.numpy(), "frames": frames.numpy()})
    return phones, letters


@pytest.mark.parametrize("length", [1, 2, 3, 4, 5, 37, 500, 1499])
def test_onnx_says_what_torch_says(exported: Exported, plain: InferenceSession, length: int) -> None:
    features, frames = torch.randn(1, length, N_MELS), torch.tensor([length])
    meant = exported.model(features, frames)
    phones, letters = run(plain, features, frames)
    assert phones.shape == (1, -(-length // 4), 40)
    assert np.abs(phones - meant.phones.numpy()).max() < 1e-4
    assert np.abs(letters - meant.letters.numpy()).max() < 1e-4


def test_onnx_says_what_torch_says_of_a_padded_batch(exported: Exported, plain: InferenceSession) -> None:
    frames = torch.tensor([500, 37, 1])
    features = torch.randn(3, 500, N_MELS) * (torch.arange(500) < frames[:, None])[..., None]
    meant = exported.model(features, frames)
    found = run(plain, features, frames)
    for row, length in enumerate(output_lengths(frames).tolist()):
        alone = run(plain, features[row : row + 1, : frames[row]], frames[row : row + 1])
        for own, batched, torchs in zip(alone, found, (meant.phones, meant.letters), strict=True):
            assert np.abs(batched[row, :length] - torchs[row, :length].numpy()).max() < 1e-4
            assert np.abs(batched[row, :length] - own[0]).max() < 1e-4


def test_the_untrained_model_has_opinions(exported: Exported) -> None:
    """Or being close to it would say little."""
    phones = exported.model(torch.randn(1, 500, N_MELS), torch.tensor([500])).phones
    assert phones.std() > 0.5


def test_log_probabilities_add_up_to_one(exported: Exported, plain: InferenceSession) -> None:
    for session in (plain, open_session(exported.folder / "captioner.onnx")):
        for part in run(session, torch.randn(2, 100, N_MELS), torch.tensor([100, 60])):
            assert np.exp(part).sum(-1) == pytest.approx(1, abs=1e-4)


@pytest.mark.parametrize("length", [37, 1499])
def test_eight_bits_are_close(exported: Exported, plain: InferenceSession, length: int) -> None:
    small = open_session(exported.folder / "captioner.onnx")
    features, frames = torch.randn(3, length, N_MELS), torch.tensor([length, length // 2, length // 3])
    lengths = output_lengths(frames).tolist()
    for own, meant in zip(run(small, features, frames), run(plain, features, frames), strict=True):
        differences = [np.abs(own[row, :size] - meant[row, :size]).mean() for row, size in enumerate(lengths)]
        assert 1e-6 < max(differences) < 0.08


def test_eight_bits_are_smaller(exported: Exported) -> None:
    small, whole = (path.stat().st_size for path in (exported.folder / "captioner.onnx", exported.plain))
    matrices = sum(
        module.weight.numel() for module in exported.model.modules() if isinstance(module, torch.nn.Linear)
    ) - (exported.model.auxiliary_head.weight.numel() if exported.model.auxiliary_head else 0)
    assert whole - small > 0.9 * 3 * matrices


@pytest.mark.parametrize("int8", [True, False])
def test_a_model_is_exported_into_a_folder(
    exported: Exported, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, int8: bool
) -> None:
    monkeypatch.setattr(export, "export_onnx", lambda _, path: shutil.copy(exported.plain, path))
    path = export_model(exported.model, tmp_path / "new" / "folder", int8=int8)
    assert path == tmp_path / "new" / "folder" / "captioner.onnx"
    assert [item.name for item in path.parent.iterdir()] == ["captioner.onnx"]
    same = exported.folder / "captioner.onnx" if int8 else exported.plain
    inputs = torch.randn(2, 100, N_MELS), torch.tensor([100, 60])
    for own, meant in zip(run(open_session(path), *inputs), run(open_session(same), *inputs), strict=True):
        assert np.abs(own - meant).max() < 1e-4


def test_notes_for_debuggers_are_not_shipped(exported: Exported, tmp_path: Path) -> None:
    path = Path(shutil.copy(exported.plain, tmp_path))
    strip(path)
    assert path.stat().st_size < exported.plain.stat().st_size
    assert not any(node.metadata_props or node.doc_string for node in onnx.load(path).graph.node)


def test_a_run_is_loaded_as_its_average(exported: Exported, tmp_path: Path) -> None:
    state = exported.model.state_dict()
    torch.save({"shape": asdict(exported.model.config), "average": state, "step": 3}, tmp_path / "checkpoint.pt")
    model = load_run(tmp_path)
    assert not model.training
    assert model.config == exported.model.config
    assert all(torch.equal(value, state[name]) for name, value in model.state_dict().items())


# --- the description ---


def about(folder: Path) -> dict[str, object]:
    return json.loads((folder / "captioner.json").read_text())


def test_a_description_tells_what_serving_needs(tmp_path: Path) -> None:
    (tmp_path / "captioner.onnx").write_bytes(b"model")
    (tmp_path / "notes.txt").write_text("not part of it")
    describe(tmp_path, {})
    found = about(tmp_path)
    assert found["format"] == FORMAT
    assert BeamSettings(**found["beam"]) == BeamSettings()
    assert set(found["timing"]) == {"start_offset_s", "end_offset_s"}
    assert found["sha256"] == {"captioner.onnx": hashlib.sha256(b"model").hexdigest()}


def test_what_was_known_stays_and_hashes_are_renewed(tmp_path: Path) -> None:
    (tmp_path / "captioner.onnx").write_bytes(b"model")
    (tmp_path / "lexicon.xz").write_bytes(b"words")
    describe(tmp_path, {"scores": {"T1": 0.93}, "version": "2"})
    (tmp_path / "captioner.onnx").write_bytes(b"another")
    (tmp_path / "lexicon.xz").unlink()
    describe(tmp_path, {"version": "3", "timing": {"start_offset_s": 0.1, "end_offset_s": 0}})
    found = about(tmp_path)
    assert found["scores"] == {"T1": 0.93}
    assert found["version"] == "3"
    assert found["timing"] == {"start_offset_s": 0.1, "end_offset_s": 0}
    assert found["sha256"] == {"captioner.onnx": hashlib.sha256(b"another").hexdigest()}


def test_describing_changes_no_defaults(tmp_path: Path) -> None:
    (tmp_path / "first").mkdir()
    (tmp_path / "second").mkdir()
    describe(tmp_path / "first", {"name": "other", "extra": 1})
    describe(tmp_path / "second", {})
    assert about(tmp_path / "second")["name"] == "streamforge-captioner"
    assert "extra" not in about(tmp_path / "second")
