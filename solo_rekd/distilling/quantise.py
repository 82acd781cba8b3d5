"""The student in 8 bits: weights and activations quantised to integers by ONNX Runtime."""

import logging
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from solo_rekd.utils.errors import UserError
from solo_rekd.utils.files import replacing
from solo_rekd.utils.log_levels import at_level
from solo_rekd.utils.onnx_runtime import keep_silent

CALIBRATED = 256  # photos for calibrating the ranges of the activations, at most
BATCH = 16


class _Reader:
    """Gives ONNX Runtime the calibration images, a batch at a time."""

    def __init__(self, images: Tensor) -> None:
        self._batches = iter(images.split(BATCH))

    def get_next(self) -> dict[str, np.ndarray] | None:
        """Returns the next batch by the name of the input; None at the end."""
        batch = next(self._batches, None)
        return None if batch is None else {"images": batch.numpy()}


def quantise(source: Path, target: Path, images: Tensor) -> None:
    """Quantises a network to 8 bits: statically, with one scale per channel of the weights.

    Args:
        source: `.onnx` file of `solo_rekd.export`.
        target: `.onnx` file to write, complete or not at all.
        images: calibration images, shape (N, 3, H, W), normalised.

    Raises:
        UserError: ONNX Runtime cannot quantise the network.
    """
    try:
        _quantise(source, target, images)
    except Exception as error:  # of many types, depending on the unsupported operator
        cause = str(error).strip().partition("\n")[0]
        raise UserError(f"{source} cannot be quantised: {cause}") from error


def _quantise(source: Path, target: Path, images: Tensor) -> None:
    import onnx

    keep_silent()
    from onnxruntime import quantization
    from onnxruntime.quantization import shape_inference

    with (
        tempfile.TemporaryDirectory() as folder,
        at_level(None, logging.ERROR),  # hides the library's hints to developers
        replacing(target) as unfinished,
    ):
        prepared = Path(folder) / "prepared.onnx"
        shape_inference.quant_pre_process(str(source), str(prepared), skip_symbolic_shape=True)
        reader: Any = _Reader(images)
        quantization.quantize_static(
            str(prepared),
            str(unfinished),
            reader,
            quant_format=quantization.QuantFormat.QDQ,
            per_channel=True,
            activation_type=quantization.QuantType.QUInt8,
            weight_type=quantization.QuantType.QInt8,
        )
        model = onnx.load(str(unfinished))
        noted = {entry.key: entry.value for entry in onnx.load(str(source)).metadata_props}
        kinds = {"quantised": f"int8, static, per channel, {len(images)} photos"}
        onnx.helper.set_model_props(model, noted | kinds)
        onnx.save(model, str(unfinished))
