"""From a training run to the folder that is served: ONNX, matrices in 8 bits, a description with hashes.

Only matrix products are quantised (weights a byte per number, one scale a column; activations on the fly): that is
where the numbers are. Convolutions stay as they are, onnxruntime's integer ones are slower.
"""

import hashlib
import json
import tempfile
import warnings
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from transformer.config import ModelConfig
from transformer.decoding import BeamSettings
from transformer.model import Captioner
from transformer.runtime import FORMAT


class Served(nn.Module):
    """The encoder with the two outputs that are served."""

    def __init__(self, model: Captioner) -> None:
        super().__init__()
        self.model = model

    def forward(self, features: Tensor, frames: Tensor) -> tuple[Tensor, Tensor]:
        """Return log-probabilities of phones and letters."""
        output = self.model(features, frames)
        return output.phones, output.letters


def load_run(folder: Path) -> Captioner:
    """Return the averaged model of a training run."""
    state = torch.load(folder / "checkpoint.pt", weights_only=True)
    model = Captioner(ModelConfig(**state["shape"]))
    model.load_state_dict(state["average"])
    return model.eval()


def export_onnx(model: Captioner, path: Path) -> None:
    """Write the model as ONNX, for any number of examples of any length."""
    served = Served(model).eval()
    example = torch.zeros(2, 200, model.config.n_mels), torch.tensor([200, 160])
    batch, time = torch.export.Dim("batch"), torch.export.Dim("time")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch's exporter warns of itself
        torch.onnx.export(
            served,
            example,
            path,
            input_names=["features", "frames"],
            output_names=["phones", "letters"],
            dynamic_shapes=({0: batch, 1: time}, {0: batch}),
            external_data=False,
            verbose=False,
        )


def quantise(source: Path, target: Path) -> None:
    """Write the ONNX model in `source` with its weight matrices as bytes."""
    from onnxruntime.quantization import QuantType, quantize_dynamic

    quantize_dynamic(source, target, op_types_to_quantize=["MatMul"], per_channel=True, weight_type=QuantType.QInt8)


def export_model(model: Captioner, folder: Path, *, int8: bool = True) -> Path:
    """Write `folder`/captioner.onnx; return its path."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "captioner.onnx"
    with tempfile.TemporaryDirectory() as scratch:
        plain = path if not int8 else Path(scratch) / "fp32.onnx"
        export_onnx(model, plain)
        if int8:
            quantise(plain, path)
    strip(path)
    return path


def strip(path: Path) -> None:
    """Take what the exporter notes for debuggers (a tenth of the file) out of an ONNX model."""
    import onnx

    model = onnx.load(path)
    for node in model.graph.node:
        node.ClearField("metadata_props")
        node.ClearField("doc_string")
    for field in ("value_info", "metadata_props"):
        model.graph.ClearField(field)
    model.ClearField("metadata_props")
    onnx.save(model, path)


def describe(folder: Path, facts: Mapping[str, Any]) -> None:
    """Write captioner.json: what is in the folder, with the sha256 of each file; `facts` are added to what it said."""
    path = folder / "captioner.json"
    known: dict[str, Any] = json.loads(path.read_text()) if path.exists() else DEFAULTS
    files = sorted(item for item in folder.iterdir() if item.suffix in {".onnx", ".xz"})
    hashes = {item.name: hashlib.sha256(item.read_bytes()).hexdigest() for item in files}
    path.write_text(json.dumps({**known, **facts, "sha256": hashes}, indent=1) + "\n")


DEFAULTS: dict[str, Any] = {
    "format": FORMAT,
    "name": "streamforge-captioner",
    "version": "1",
    "language": "en",
    "beam": asdict(BeamSettings()),
    "timing": {"start_offset_s": 0.0, "end_offset_s": 0.0},
    "lowest_confidence": 0.3,
}
