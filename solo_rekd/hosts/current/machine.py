"""Fits `devices` to the machine: the host counts processes by its length, Lightning reads it."""

from collections.abc import Mapping
from typing import Any

import torch
from omegaconf import DictConfig, ListConfig, OmegaConf

from solo_rekd.utils.errors import refuse

FITTED = ("devices", "accelerator")


def on_cpu(cfg: DictConfig) -> bool:
    """Whether Lightning will train on the CPU."""
    accelerator = cfg.get("accelerator") or "auto"
    return accelerator == "cpu" or (accelerator == "auto" and not torch.cuda.is_available())


def fit_devices(cfg: DictConfig) -> None:
    """Rewrites `devices` so that `len(devices)` is the number of processes, which scales the rate.

    The host accepts nothing but a list, which Lightning refuses on a CPU. Here a number, a list,
    `auto` and -1 all do, on both.

    Args:
        cfg: the run's configuration, changed in place.

    Raises:
        UserError: `devices` is none of these.
    """
    devices = cfg.get("devices", "auto")
    if isinstance(devices, ListConfig):
        wanted: list[int] = list(devices)
    else:
        wanted = list(range(_count(devices, on_cpu(cfg))))
    if not on_cpu(cfg):
        cfg.devices = wanted
        return
    # Lightning reads a CPU's number of processes from digits: "1", "02", "003" have that length
    cfg.devices = str(len(wanted)).zfill(len(wanted))
    cfg.sync_batchnorm = False  # torch has it for GPUs only


def count_processes(settings: Mapping[str, Any]) -> int:
    """How many processes train on this machine, by `devices` (1 where not given).

    Raises:
        UserError: `devices` is nothing that `fit_devices` takes.
    """
    cfg = OmegaConf.create({"devices": 1} | {k: settings[k] for k in FITTED if k in settings})
    fit_devices(cfg)
    return len(cfg.devices)


def _count(devices: object, cpu: bool) -> int:
    text = str(devices)
    if text in ("auto", "-1"):
        return 1 if cpu else torch.cuda.device_count()
    if not text.isdigit() or int(text) == 0:
        raise refuse("devices", devices, "a number of 1 or more, a list of numbers, or auto")
    return int(text)
