"""One thread and one seed, so that each test computes the same on every machine."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch

from tests.transformer.tiny import make_entries, make_language
from transformer.config import ModelConfig
from transformer.graph import save_entries
from transformer.model import Captioner


@pytest.fixture(scope="package", autouse=True)
def one_thread() -> Iterator[None]:
    """Keep torch to one core: tiny networks only lose by sharing, and a sum's order stays the same."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(autouse=True)
def seed() -> None:
    torch.manual_seed(0)


@dataclass(frozen=True)
class Exported:
    """A network that has learnt nothing, the same as ONNX, and the folder with its 8-bit form that is served."""

    model: Captioner
    plain: Path
    folder: Path


@pytest.fixture(scope="session")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Exported:
    """Export a tiny model once (ten seconds of torch), with a tiny lexicon and language model. Nothing writes there."""
    from transformer.export import describe, export_onnx, quantise, strip

    torch.manual_seed(0)
    config = ModelConfig(64, n_layers=1, n_heads=2, d_ff=256, conv_channels=8, conv_kernel=7, auxiliary_layer=1)
    model = Captioner(config).eval().requires_grad_(False)
    model.phone_head.weight.mul_(8)  # or every label would be as likely
    model.letter_head.weight.mul_(8)
    folder = tmp_path_factory.mktemp("model")
    plain = tmp_path_factory.mktemp("plain") / "captioner.onnx"
    export_onnx(model, plain)
    quantise(plain, folder / "captioner.onnx")
    strip(folder / "captioner.onnx")
    make_language().save(folder / "language.xz")
    save_entries(folder / "lexicon.xz", make_entries())
    describe(folder, {"name": "untrained"})
    return Exported(model, plain, folder)
