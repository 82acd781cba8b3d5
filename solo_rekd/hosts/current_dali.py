"""Changes to the current host's loading by NVIDIA DALI; imported only where that is installed."""

import functools
from collections.abc import Callable, Sequence
from typing import Any

import torch
from solo.data import dali_dataloader
from timm.data.constants import IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD

from solo_rekd.hosts.dali import evaluation_operators


def on_any_machine(init: Callable[..., None]) -> Callable[..., None]:
    """Wraps the making of the host's pipeline builders.

    DALI refuses a device where there is no GPU, and `num_workers: 0`, which means no worker process
    to torch, as a number of threads. The host's seed is the same in every run.
    """

    @functools.wraps(init)
    def initialise(self: Any, *args: Any, **kwargs: Any) -> None:
        init(self, *args, **kwargs)
        if not torch.cuda.is_available():
            self.device_id = None
        self.num_threads = max(1, self.num_threads)
        self.seed += torch.initial_seed() % 2**31

    return initialise


class EvaluationBuilder(dali_dataloader.CustomNormalPipelineBuilder):
    """Images and labels for linear evaluation on an image folder, at any size.

    The host fixes 224 px, and names the class that this one extends as the place to change that.

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
        crop_size: int = 224,
        resized: int = 256,
        mean: Sequence[float] = IMAGENET_DEFAULT_MEAN,
        std: Sequence[float] = IMAGENET_DEFAULT_STD,
        **kwargs: Any,
    ) -> None:
        super().__init__(*args, **kwargs)
        self.resize, self.cmn = evaluation_operators(
            self.device, self.validation, crop_size, resized, mean, std
        )


def evaluate_at(crop_size: int, resized: int, mean: Sequence[float], std: Sequence[float]) -> None:
    """Makes linear evaluation on an image folder use these: see `EvaluationBuilder`."""
    dali_dataloader.CustomNormalPipelineBuilder = functools.partial(
        EvaluationBuilder, crop_size=crop_size, resized=resized, mean=mean, std=std
    )


def apply() -> None:
    """Applies every mend; the caller sees to it that this happens once."""
    for name in ("NormalPipelineBuilder", "PretrainPipelineBuilder"):
        builder = getattr(dali_dataloader, name)
        builder.__init__ = on_any_machine(builder.__init__)
