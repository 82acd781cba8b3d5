"""An ONNX file as a frozen backbone, run by ONNX Runtime."""

import json
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from solo_rekd.checkpoints.facts import Facts
from solo_rekd.checkpoints.loaded import Loaded
from solo_rekd.checkpoints.preprocessing import (
    Preprocessing,
    preprocessing_told,
    refuse_unknown_size,
)
from solo_rekd.utils.errors import UserError, refuse_missing
from solo_rekd.utils.files import sha256
from solo_rekd.utils.onnx_runtime import import_runtime

PACKAGES = ("onnxruntime",)


class OnnxBackbone(nn.Module):
    """An ONNX program, from images to one vector each, without gradients.

    It computes in float32 on the CPU, or on the GPU if ONNX Runtime's provider for it is installed,
    whatever the type of the images.

    Args:
        session: session of ONNX Runtime, with one input (B, 3, H, W) and features as first output.

    Attributes:
        num_features: width of the features, set by the code that builds it.
    """

    num_features: int

    def __init__(self, session: Any) -> None:
        super().__init__()
        self._session = session
        self._input = session.get_inputs()[0].name
        self._output = session.get_outputs()[0].name
        # the network has no torch parameters: this one holds its device and type
        self.anchor = nn.Parameter(torch.zeros(()), requires_grad=False)

    @torch.no_grad()
    def forward(self, images: Tensor) -> Tensor:
        """Images (B, 3, H, W) to features (B, num_features)."""
        return self.run(images).to(images.device, images.dtype).flatten(1)

    def run(self, images: Tensor) -> Tensor:
        """Maps images (B, 3, H, W) to the program's first output, in float32 on the CPU."""
        given = images.detach().float().cpu().numpy()
        (found,) = self._session.run([self._output], {self._input: given})
        return torch.from_numpy(found)

    def __deepcopy__(self, memo: dict[int, Any]) -> "OnnxBackbone":
        """The copy shares the program, which never changes."""
        copied = OnnxBackbone(self._session)
        copied.num_features = self.num_features
        return copied


def read_program(path: Path, img_size: int | None) -> Loaded:
    """Reads a program.

    Args:
        path: the file.
        img_size: side of the square inputs, in px; None: as its metadata or input records.

    Returns:
        The backbone and what is known of it.

    Raises:
        UserError: ONNX Runtime is missing or cannot read the file, or the program does not map any
            number of images of that size to one vector each.
    """
    session = _session(path)
    noted = dict(session.get_modelmeta().custom_metadata_map)
    preprocessing = _preprocessing(noted, session)
    size = img_size or preprocessing.size or refuse_unknown_size("teacher")
    backbone = OnnxBackbone(session)
    _refuse_inputs(path, session, size)
    backbone.num_features = _features(path, backbone, size)
    facts = Facts(
        path=str(path),
        sha256=sha256(path),
        format="ONNX",
        architecture=noted.get("encoder", "onnx"),
        num_features=backbone.num_features,
        pooling="first output",
        preprocessing=preprocessing,
    )
    return Loaded(backbone, None, size, facts)


def _preprocessing(noted: dict[str, str], session: Any) -> Preprocessing:
    """Reads the metadata of `solo-rekd export`, and the side that its input is fixed to."""
    shape = session.get_inputs()[0].shape
    side = shape[-1] if shape and isinstance(shape[-1], int) else None
    try:
        told = {key: json.loads(noted[key]) for key in ("mean", "std", "crop_size") if key in noted}
    except (ValueError, RecursionError):
        told = {}
    return preprocessing_told(
        told.get("mean"), told.get("std"), told.get("crop_size") or side, "the file's metadata"
    )


def _session(path: Path) -> Any:
    """Opens a program, on the GPU if ONNX Runtime's provider for it is installed."""
    refuse_missing(PACKAGES, "onnx")
    onnxruntime = import_runtime()
    if not path.is_file():  # a folder, or a pipe, which may never end
        raise UserError(f"{path} is not a file")
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4  # errors are reported once, below
    options.intra_op_num_threads = torch.get_num_threads()
    providers = {"CUDAExecutionProvider"} & {*onnxruntime.get_available_providers()}
    try:
        return onnxruntime.InferenceSession(
            path, options, providers=[*providers, "CPUExecutionProvider"]
        )
    except Exception as error:  # its error classes have no other common base
        cause = str(error).strip().partition("\n")[0]
        raise UserError(f"{path} cannot be read by ONNX Runtime: {cause}") from error


def _refuse_inputs(path: Path, session: Any, img_size: int) -> None:
    inputs = session.get_inputs()
    shape = inputs[0].shape if len(inputs) == 1 else None
    if shape is None or len(shape) != 4 or inputs[0].type != "tensor(float)":
        raise UserError(f"{path} does not take one batch of images (B, 3, H, W) of float32")
    batch, colours, *sides = shape
    if isinstance(batch, int):
        raise UserError(f"{path} takes batches of {batch} only: export it with a dynamic batch")
    if isinstance(colours, int) and colours != 3:
        raise UserError(f"{path} takes {colours} colours instead of 3")
    for side in sides:
        if isinstance(side, int) and side != img_size:
            raise UserError(f"{path} takes {side} px, not {img_size}: give teacher_size={side}")


def _features(path: Path, backbone: OnnxBackbone, img_size: int) -> int:
    """Measures the width of the features on two black images."""
    try:
        found = backbone.run(torch.zeros(2, 3, img_size, img_size))
    except Exception as error:
        cause = str(error).strip().partition("\n")[0]
        raise UserError(f"{path} does not run on {img_size} px: {cause}") from error
    shape = tuple(found.shape)
    if shape[:1] != (2,) or len(shape) not in (2, 4) or shape[2:] not in ((), (1, 1)):
        raise UserError(f"{path} gives {shape} for two images instead of one vector each")
    if not found.isfinite().all():
        raise UserError(f"{path} gives features that are not finite")
    return shape[1]
