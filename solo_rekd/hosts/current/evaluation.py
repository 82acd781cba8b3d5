"""Evaluation on an image folder as the student was trained: size, mean and deviation.

The host fixes 224 px and ImageNet's mean and deviation for evaluation, also in the validation of a
pretraining run at 32 px, and reads `data.augmentations` without using it.
"""

import functools
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf
from solo.args import pretrain
from solo.data import classification_dataloader
from timm.data.constants import IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD

from solo_rekd.checkpoints.run_record import read_settings
from solo_rekd.hosts.current.checks import is_our_run, select_name
from solo_rekd.hosts.shared.changes import RUN
from solo_rekd.images.data_sets import FIXED_SIDES
from solo_rekd.images.transforms import before_crop, evaluation_pipeline

DEFAULTS = {"crop_size": 224, "mean": IMAGENET_DEFAULT_MEAN, "std": IMAGENET_DEFAULT_STD}


def has_dali() -> bool:
    """Whether the host could import its DALI loaders."""
    return pretrain._dali_available


def read_run(checkpoint: Path) -> DictConfig | None:
    """Reads the configuration of the pretraining that wrote a checkpoint; None without one."""
    return as_run(read_settings(checkpoint))


def as_run(settings: dict[str, Any]) -> DictConfig | None:
    """The configuration of a pretraining; None where the settings are of another kind."""
    return OmegaConf.create(settings) if "augmentations" in settings else None


def concerns_us(cfg: DictConfig) -> bool:
    """Whether a run is ours, or evaluates what a run of ours has trained.

    Args:
        cfg: of pretraining or of linear evaluation.
    """
    if is_our_run(cfg):
        return True
    path = select_name(cfg, "pretrained_feature_extractor")
    return path != "" and is_our_run(read_run(Path(path)))


def trained_view(run: DictConfig | None) -> Mapping[str, Any]:
    """The augmentation of a run's first view, if the run is ours."""
    return run.augmentations[0] if run is not None and is_our_run(run) else {}


def evaluate_at(dataset: str, given: Mapping[str, Any], trained: Mapping[str, Any]) -> int:
    """Sets the transforms of evaluation in a run of ours.

    Args:
        dataset: name of the data set; all but `custom` keep the host's transforms.
        given: `crop_size` in px, `mean` and `std` in [0, 1], as far as the user gave them;
            `resize_to` in px, where the crops are resized for the network.
        trained: the same of the pretraining run, as far as known: used where not given.

    Returns:
        The side of the images in px.
    """
    if dataset in FIXED_SIDES:
        return FIXED_SIDES[dataset]
    side, mean, std = (
        given.get(key, trained.get(key, default)) for key, default in DEFAULTS.items()
    )
    pipeline = functools.partial(evaluation_pipeline, side, mean, std, given.get("resize_to"))
    RUN.set(classification_dataloader, "build_custom_pipeline", pipeline)
    if has_dali():
        from solo_rekd.hosts.current import dali

        dali.evaluate_at(side, before_crop(side), mean, std)
    return side
