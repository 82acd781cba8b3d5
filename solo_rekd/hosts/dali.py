"""What the DALI loading of both hosts needs: any machine, and evaluation at any size.

The hosts assume a GPU, and fix evaluation on an image folder at 224 px.
"""

import gc
import os
from collections.abc import Sequence
from typing import Any

import torch
from nvidia.dali import ops
from nvidia.dali.types import DALIDataType, DALIInterpType

_Host: Any = object  # mypy: the host's class, which stands behind this one

# A worker that frees a pipeline left by its parent waits for threads that a fork does not copy.
os.register_at_fork(after_in_child=gc.freeze)


def fit_machine(num_threads: int, seed: int) -> tuple[int, int | None, int]:
    """Fits a pipeline's settings to the machine and the run.

    DALI refuses a device where there is no GPU, and `num_workers: 0`, which means no worker process
    to torch, as a number of threads. The hosts' seed is the same in every run, and they take a
    process's place on its machine for its GPU's number, which with `devices: [2, 3]` it is not.

    Args:
        num_threads: as the host has it.
        seed: as the host has it.

    Returns:
        Threads, at least one; device, torch's GPU or None without one; a seed of the run's.
    """
    device = torch.cuda.current_device() if torch.cuda.is_available() else None
    return max(1, num_threads), device, seed + torch.initial_seed() % 2**31


class AnySize(_Host):
    """Images and labels for linear evaluation on an image folder.

    To be put in front of the class that a host names as the place to change its transforms. At
    224 px they are the host's own.

    Args:
        args: the host's.
        crop_size: side of the images in pixels.
        resized: the shorter side before the centre crop of validation, in pixels.
        mean: channel means, in [0, 1].
        std: channel standard deviations, in [0, 1].
        kwargs: the host's.
    """

    def __init__(
        self,
        *args: Any,
        crop_size: int,
        resized: int,
        mean: Sequence[float],
        std: Sequence[float],
        **kwargs: Any,
    ) -> None:
        super().__init__(*args, **kwargs)
        options: dict[str, Any] = {
            "device": self.device,
            "dtype": DALIDataType.FLOAT,
            "output_layout": "CHW",
            "mean": [value * 255 for value in mean],
            "std": [value * 255 for value in std],
        }
        self.resize: Any
        cubic = DALIInterpType.INTERP_CUBIC
        if self.validation:
            self.resize = ops.Resize(device=self.device, resize_shorter=resized, interp_type=cubic)
            options["crop"] = (crop_size, crop_size)
        else:
            self.resize = ops.RandomResizedCrop(
                device=self.device, size=crop_size, random_area=(0.08, 1.0), interp_type=cubic
            )
        self.cmn = ops.CropMirrorNormalize(**options)
