"""Checks the current host's configuration for what would end its run later with a traceback."""

import importlib.util
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, ListConfig
from omegaconf.errors import OmegaConfBaseException
from solo.args import pretrain
from solo.methods.base import BaseMethod
from solo.utils.misc import omegaconf_select

from solo_rekd.checkpoints.read import read_complete
from solo_rekd.hosts.current.backbones import is_ours
from solo_rekd.hosts.shared.checks import (
    refuse_long_rise,
    refuse_missing_gpu,
    refuse_no_training,
    refuse_size,
    refuse_unwritable,
    refuse_wandb,
)
from solo_rekd.hosts.shared.ownership import is_claimed
from solo_rekd.images.data_sets import FOLDERS
from solo_rekd.objectives import OBJECTIVES
from solo_rekd.utils.errors import UserError, nearest_first, refuse

GROUPS = ("data", "backbone", "optimizer", "scheduler")
SETTINGS = (
    *("data.dataset", "backbone.name", "optimizer.name", "optimizer.batch_size", "optimizer.lr"),
    *("scheduler.name", "max_epochs"),
)
OPTIONAL_GROUPS = (
    *("method_kwargs", "momentum", "knn_eval", "dali", "wandb", "performance"),
    *("auto_resume", "checkpoint", "auto_umap"),
)
FORMATS = ("image_folder", "dali", "h5")
IN_H5 = ("imagenet", "imagenet100")


def refuse_incomplete(cfg: DictConfig) -> None:
    """Raises a UserError for a missing group of settings, or a missing required setting."""
    for key in (*GROUPS, *(name for name in OPTIONAL_GROUPS if name in cfg)):
        if not isinstance(cfg.get(key), DictConfig):
            raise refuse(key, cfg.get(key), "a group of settings, as in the recipes")
    for key in SETTINGS:
        if omegaconf_select(cfg, key) is None:
            raise UserError(f"{key} is missing: give {key}=VALUE")
    datasets = sorted({*pretrain._N_CLASSES_PER_DATASET, *FOLDERS})
    if cfg.data.dataset not in datasets:
        raise refuse("data.dataset", cfg.data.dataset, nearest_first(cfg.data.dataset, datasets))


def refuse_augmentations(cfg: DictConfig) -> None:
    """Raises a UserError where the views of a pretraining are not described."""
    views = cfg.get("augmentations")
    if not isinstance(views, ListConfig) or not views:
        raise refuse("augmentations", views, "a list of views, as in the recipes")
    for index, view in enumerate(views):
        for key in ("crop_size", "num_crops"):
            value = view.get(key) if isinstance(view, DictConfig) else None
            if not isinstance(value, int) or value < 1:
                raise refuse(f"augmentations.{index}.{key}", value, "a whole number of 1 or more")


def is_our_run(cfg: Any) -> bool:
    """Whether a run is ours: by its method, backbone, pretraining or keys, or as all runs are.

    Args:
        cfg: its settings; None if there is no run, which then is not ours.
    """
    if cfg is None:
        return False
    if is_claimed():
        return True
    method, pretraining, backbone, *own = (
        select_name(cfg, key)
        for key in (
            *("method", "pretrain_method", "backbone.name"),
            # the host knows none of these
            *("backbone.kwargs.stem", "student_checkpoint", "memory_format"),
        )
    )
    ours = method in OBJECTIVES or pretraining in OBJECTIVES or is_ours(backbone)
    return ours or any(own) or cfg.get("compile") is True


def select_name(cfg: Any, key: str) -> str:
    """Returns the text under a key of an unchecked configuration; empty if there is none."""
    try:
        value = omegaconf_select(cfg, key)
    except OmegaConfBaseException:  # a list instead of a group; code that needs the key reports it
        return ""
    return value if isinstance(value, str) else ""


def refuse_mistakes(cfg: DictConfig, side: int) -> None:
    """Raises a UserError for a setting of a run of ours that would stop it with a traceback.

    Args:
        cfg: complete configuration of one of the host's scripts.
        side: side of the images, in px.
    """
    refuse_missing_gpu("accelerator", cfg.get("accelerator"))
    refuse_wandb(omegaconf_select(cfg, "wandb.enabled", False))
    rise = "method_kwargs.warmup_teacher_temperature_epochs"
    refuse_long_rise(rise, omegaconf_select(cfg, rise, None), cfg.get("max_epochs"))
    if omegaconf_select(cfg, "checkpoint.enabled", False):
        refuse_unwritable("checkpoint.dir", cfg.checkpoint.dir)
    seed = cfg.get("seed")
    if seed is not None and not (isinstance(seed, int) and 0 <= seed < 2**32):
        raise refuse("seed", seed, f"a whole number from 0 to {2**32 - 1}")
    refuse_format(cfg.data)
    refuse_no_training("limit_train_batches", cfg.get("limit_train_batches"))
    fraction = cfg.data.get("fraction")
    if fraction is not None and not (fraction == -1 or 0 < fraction < 1):
        raise refuse("data.fraction", fraction, "-1 for all images, or a share between 0 and 1")
    if cfg.get("resume_from_checkpoint") is not None:
        read_complete(cfg.resume_from_checkpoint)
    name = cfg.backbone.name
    kwargs = omegaconf_select(cfg, "backbone.kwargs", {})
    method = cfg.get("method") or cfg.get("pretrain_method")
    refuse_size("crop_size", side, name, lambda: BaseMethod._BACKBONES[name](method, **kwargs))


def refuse_format(data: DictConfig) -> None:
    """Raises a UserError if the images are not in the format of `data.format`."""
    kind = data.get("format", "image_folder")
    if kind not in FORMATS:
        raise refuse("data.format", kind, FORMATS)
    if kind != "h5":
        return
    if data.dataset not in IN_H5:
        allowed = (
            f"image_folder or dali: the host reads h5 only with data.dataset={' or '.join(IN_H5)}"
        )
        raise refuse("data.format", kind, allowed)
    if importlib.util.find_spec("h5py") is None:
        raise UserError("data.format='h5' needs h5py: pip install h5py, or give image_folder")
    import h5py

    for key in ("train_path", "val_path"):
        path = data.get(key)
        if path is not None and not (Path(path).is_file() and h5py.is_hdf5(path)):
            raise refuse(f"data.{key}", str(path), "an HDF5 file, with data.format=h5")
