"""Operators of NVIDIA DALI for evaluation on an image folder at any size: both hosts fix 224 px."""

from collections.abc import Sequence
from typing import Any

from nvidia.dali import ops
from nvidia.dali.types import DALIDataType, DALIInterpType


def evaluation_operators(
    device: str,
    validation: bool,
    crop_size: int,
    resized: int,
    mean: Sequence[float],
    std: Sequence[float],
) -> tuple[Any, Any]:
    """Builds the two operators in which the size shows; at 224 px they are the host's own.

    Args:
        device: `cpu` or `gpu`.
        validation: whether to crop the centre rather than at random.
        crop_size: side of the images in pixels.
        resized: the shorter side before the centre is cropped, in pixels.
        mean: channel means, in [0, 1].
        std: channel standard deviations, in [0, 1].

    Returns:
        The operator that resizes, and the one that crops, mirrors and normalises.
    """
    options: dict[str, Any] = {
        "device": device,
        "dtype": DALIDataType.FLOAT,
        "output_layout": "CHW",
        "mean": [value * 255 for value in mean],
        "std": [value * 255 for value in std],
    }
    cubic = DALIInterpType.INTERP_CUBIC
    resize: Any
    if validation:
        resize = ops.Resize(device=device, resize_shorter=resized, interp_type=cubic)
        options["crop"] = (crop_size, crop_size)
    else:
        resize = ops.RandomResizedCrop(
            device=device, size=crop_size, random_area=(0.08, 1.0), interp_type=cubic
        )
    return resize, ops.CropMirrorNormalize(**options)
