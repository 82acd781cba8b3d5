"""Exports the student of a checkpoint for deployment, as weights or as a complete network."""

import json
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save
from torch import nn

from solo_rekd import __version__
from solo_rekd.checkpoints.load import load_networks
from solo_rekd.checkpoints.run_settings import refuse_untold
from solo_rekd.hosts.shared.limits import LIMITS
from solo_rekd.utils.errors import UserError, refuse, refuse_beyond, refuse_missing
from solo_rekd.utils.files import replacing
from solo_rekd.utils.onnx_runtime import import_runtime

SUFFIXES = (".safetensors", ".onnx")
ONNX_PACKAGES = ("onnx", "onnxscript", "onnxruntime")


def export(checkpoint: Path, target: Path, trained: Mapping[str, Any]) -> dict[str, str]:
    """Writes the student of a checkpoint; the file is complete or absent.

    Args:
        checkpoint: checkpoint of a host, or of any format that a teacher is read from.
        target: file to write, with one of `SUFFIXES`.
        trained: how the student was trained: encoder, crop_size in px, and if known stem, and mean
            and std of each channel in [0, 1].

    Returns:
        The metadata of the file.

    Raises:
        UserError: a setting is missing or not allowed, the checkpoint does not hold that encoder,
            a package for ONNX is missing, or the file cannot be written.
    """
    if target.suffix not in SUFFIXES:
        raise refuse("target", str(target), f"a file name ending in {' or '.join(SUFFIXES)}")
    if not target.absolute().parent.is_dir():
        raise refuse("target", str(target), "a file in a folder that exists")
    if target.suffix == ".onnx":
        refuse_missing(ONNX_PACKAGES, "onnx")
    if not checkpoint.is_file():
        raise refuse("checkpoint", str(checkpoint), "a file that exists")
    if target.exists() and target.samefile(checkpoint):
        raise refuse(
            "target", str(target), "a file other than the checkpoint, which it would replace"
        )
    for name in ("encoder", "crop_size"):
        if name not in trained:
            raise refuse_untold(name, checkpoint)
    refuse_beyond("crop_size", trained["crop_size"], *LIMITS["crop_size"])
    for name in ("mean", "std"):
        for value in trained.get(name, ()):
            refuse_beyond(name, value, *LIMITS[name])
    encoder, crop_size = trained["encoder"], trained["crop_size"]
    asked = trained.get("stem", "auto")
    student = load_networks(checkpoint, encoder, crop_size, asked, role="student")
    facts = {
        "encoder": encoder,
        "crop_size": str(crop_size),
        "stem": student.stem,
        "num_features": str(student.backbone.num_features),
        **{name: json.dumps(trained[name]) for name in ("mean", "std") if name in trained},
        "checkpoint": student.sha256,
        "solo_rekd": __version__,
    }
    write = write_weights if target.suffix == ".safetensors" else write_network
    try:
        with replacing(target) as unfinished:
            write(student.backbone.eval(), crop_size, facts, unfinished)
    except OSError as error:
        raise UserError(f"{target} cannot be written: {error.strerror or error}") from error
    return facts


def write_weights(network: nn.Module, crop_size: int, facts: dict[str, str], path: Path) -> None:
    """Writes the weights as safetensors."""
    tensors = {name: tensor.contiguous() for name, tensor in network.state_dict().items()}
    path.write_bytes(save(tensors, facts))


def write_network(network: nn.Module, crop_size: int, facts: dict[str, str], path: Path) -> None:
    """Writes the network as ONNX, and checks that ONNX Runtime's outputs equal torch's.

    Raises:
        UserError: torch cannot export the network.
        AssertionError: ONNX Runtime's features differ.
    """
    images = torch.randn(2, 3, crop_size, crop_size)
    try:
        with warnings.catch_warnings():
            # torch itself calls functions that it has deprecated
            warnings.filterwarnings("ignore", ".*deprecated", FutureWarning)
            program = torch.onnx.export(
                network,
                (images,),
                input_names=["images"],
                output_names=["features"],
                dynamic_shapes=({0: torch.export.Dim("batch")},),
                dynamo=True,
                verbose=False,
            )
    except torch.onnx.OnnxExporterError as error:
        cause = str(error).strip().partition("\n")[0]
        raise UserError(
            f"{facts['encoder']} cannot be exported to ONNX: {cause}; .safetensors works"
        ) from error
    assert program is not None  # it is only None if a file name is given
    program.model.metadata_props.update(facts)
    program.save(path, external_data=False)
    check_network(network, path, torch.randn(3, 3, crop_size, crop_size))


def check_network(network: nn.Module, path: Path, images: torch.Tensor) -> None:
    """Raises an AssertionError where ONNX Runtime's features of `images` differ from torch's."""
    features = onnx_network(path)(images)
    with torch.no_grad():
        expected = network(images)
    torch.testing.assert_close(features, expected, rtol=1e-3, atol=1e-4)


def onnx_network(path: Path) -> Callable[[torch.Tensor], torch.Tensor]:
    """Loads what `write_network` wrote: images (N, 3, H, W) to features (N, f), on the CPU."""
    session = import_runtime().InferenceSession(path, providers=["CPUExecutionProvider"])

    def run(images: torch.Tensor) -> torch.Tensor:
        (features,) = session.run(None, {"images": images.numpy()})
        return torch.from_numpy(features)

    return run
