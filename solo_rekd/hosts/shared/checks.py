"""Checks both hosts' settings before a run for what would end it later with a traceback."""

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn

from solo_rekd.utils.errors import UserError, refuse, refuse_missing

GPU = ("gpu", "cuda")  # Lightning's names
# what DALI decides itself, by the setting that conflicts with it
DALIS = {
    "neighbours": "which chooses the images of a batch itself",
    "drawn_views": "which draws the views itself",
}


def refuse_dali(loads_by_dali: bool, settings: Mapping[str, Any]) -> None:
    """Raises a UserError for a setting that conflicts with DALI.

    Args:
        loads_by_dali: whether the run loads its images with DALI.
        settings: settings of the method; those that do not concern DALI are ignored.
    """
    for key, reason in DALIS.items():
        if loads_by_dali and settings.get(key, 0):
            limit = f"0 with DALI, {reason}; load without DALI to use {key}"
            raise refuse(key, settings[key], limit)


def refuse_missing_gpu(key: str, accelerator: object) -> None:
    """Raises a UserError where a GPU is asked for and torch sees none."""
    if accelerator in GPU and not torch.cuda.is_available():
        raise refuse(key, accelerator, "cpu or auto: torch sees no GPU here")


def refuse_no_training(key: str, batches: object) -> None:
    """Raises a UserError for a limit of zero batches, with which Lightning trains nothing."""
    if batches == 0:
        raise refuse(key, batches, "1 or more batches, or a share above 0")


def refuse_long_rise(key: str, epochs: int | None, max_epochs: int | None) -> None:
    """Raises a UserError where DINO's temperature would rise for longer than the training.

    Args:
        key: name of the setting.
        epochs: of the rise; None: the host sets it.
        max_epochs: of the training; None or -1: others bound it.
    """
    if epochs is not None and max_epochs is not None and 0 < max_epochs < epochs:
        raise refuse(key, epochs, f"at most {max_epochs}, the length of the training")


def refuse_wandb(enabled: bool) -> None:
    """Raises a UserError where Weights & Biases is asked for and not installed."""
    if enabled:
        refuse_missing(("wandb",), "classic")


def refuse_unwritable(key: str, folder: str | Path) -> None:
    """Raises a UserError for a folder that cannot be made, or written to.

    Args:
        key: name of the setting.
        folder: what a run will write to, which need not be there yet.
    """
    path = Path(folder).absolute()
    there = next(parent for parent in (path, *path.parents) if parent.exists())
    if not there.is_dir():
        raise refuse(key, str(folder), f"a folder, but {there} is a file")
    if not os.access(there, os.W_OK | os.X_OK):
        raise refuse(key, str(folder), f"a folder that you can write to, which {there} is not")


def refuse_size(key: str, side: int, name: str, build: Callable[[], nn.Module]) -> None:
    """Raises a UserError where a backbone does not take images of a size.

    Args:
        key: name of the setting of the size.
        side: of the images, in px.
        name: of the backbone.
        build: makes it.
    """
    try:
        with torch.device("meta"), torch.no_grad():  # shapes alone: neither memory nor time
            build().eval()(torch.zeros(2, 3, side, side))
    except Exception:
        _refuse_real_size(key, side, name, build)


def _refuse_real_size(key: str, side: int, name: str, build: Callable[[], nn.Module]) -> None:
    # a backbone may fail on the meta device alone
    try:
        with torch.no_grad():
            build().eval()(torch.zeros(2, 3, side, side))
    except UserError:
        raise
    except (AssertionError, RuntimeError, ValueError) as error:
        reason = str(error).strip().partition("\n")[0].rstrip(".")
        raise refuse(key, side, f"a side in px that {name} accepts ({reason})") from error
