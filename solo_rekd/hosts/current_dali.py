"""Changes to the current host's loading by NVIDIA DALI; imported only where that is installed."""

import functools
from collections.abc import Callable, Sequence
from typing import Any

from solo.data import dali_dataloader

from solo_rekd.hosts.dali import AnySize, fit_machine


def on_any_machine(init: Callable[..., None]) -> Callable[..., None]:
    """Wraps the making of the host's pipeline builders: see `fit_machine`."""

    @functools.wraps(init)
    def initialise(self: Any, *args: Any, **kwargs: Any) -> None:
        init(self, *args, **kwargs)
        fitted = fit_machine(self.num_threads, self.seed)
        self.num_threads, self.device_id, self.seed = fitted

    return initialise


class EvaluationBuilder(AnySize, dali_dataloader.CustomNormalPipelineBuilder):
    """The host's builder for image folders, at any size."""


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
