"""What the plug-in checks and adds between the current host's configuration and a run of ours.

The scripts bind the host's `parse_cfg` before Hydra finds the plug-in, but that function looks
`add_and_assert_dataset_cfg` up in its own module whenever it runs, and so finds ours there.
"""

import functools
import logging
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Any

import torch
from omegaconf import DictConfig, ListConfig, OmegaConf
from solo.args import linear, pretrain
from solo.methods import METHODS
from solo.methods.base import BaseMethod
from solo.methods.linear import LinearModel
from solo.utils.misc import omegaconf_select
from torch import nn

from solo_rekd.backbones import build_backbone, refuse_unknown, settle_stem
from solo_rekd.checkpoints.formats import CURRENT_HOST
from solo_rekd.checkpoints.read import read_file
from solo_rekd.checkpoints.run_settings import CIFAR
from solo_rekd.checkpoints.student import STARTED, choose_stem, load_student
from solo_rekd.config import AUTO, CHANNELS_LAST, CONTIGUOUS
from solo_rekd.hosts.current.backbones import is_ours
from solo_rekd.hosts.current.checks import (
    refuse_augmentations,
    refuse_incomplete,
    refuse_mistakes,
)
from solo_rekd.hosts.current.evaluation import (
    concerns_us,
    evaluate_at,
    has_dali,
    read_run,
    trained_view,
)
from solo_rekd.hosts.current.images import read_images
from solo_rekd.hosts.current.machine import fit_devices
from solo_rekd.hosts.current.overrides import WITH_DALI
from solo_rekd.hosts.current.run import note_run, settle_lengths
from solo_rekd.hosts.names import DALI_DEVICES
from solo_rekd.hosts.shared import patches, speed
from solo_rekd.hosts.shared.changes import ENTRIES, RUN, begin
from solo_rekd.hosts.shared.limits import LIMITS
from solo_rekd.hosts.shared.speed import COMPILE, MEMORY_FORMAT
from solo_rekd.images.data_sets import FOLDERS, needs_size
from solo_rekd.images.folders import refuse_folders, refuse_one_class
from solo_rekd.objectives import OBJECTIVES
from solo_rekd.utils.errors import UserError, nearest_first, refuse, refuse_beyond

_log = logging.getLogger("solo_rekd")

SCHEDULERS = ("warmup_cosine", "step", "none")  # of a pretraining: the host's own list has more

NUMBERS = {  # and their names in `LIMITS`
    "max_epochs": "max_epochs",
    "data.num_workers": "num_workers",
    "optimizer.batch_size": "batch_size",
    "optimizer.lr": "lr",
    "optimizer.classifier_lr": "classifier_lr",
    "optimizer.weight_decay": "weight_decay",
    "knn_eval.k": "knn_k",
    "checkpoint.frequency": "checkpoint_frequency",
    "data.augmentations.crop_size": "crop_size",
    "data.augmentations.resize_to": "resize_to",
    "data.augmentations.mean": "mean",
    "data.augmentations.std": "std",
    "limit_train_batches": "limit_train_batches",
    "limit_val_batches": "limit_val_batches",
    "accumulate_grad_batches": "accumulate_grad_batches",
    "check_val_every_n_epoch": "check_val_every_n_epoch",
    "gradient_clip_val": "gradient_clip_val",
    "num_nodes": "num_nodes",
}
NUMBERS_OF_A_VIEW = {
    "crop_size": "crop_size",
    "mean": "mean",
    "std": "std",
    "rrc.crop_min_scale": "min_scale",
    "rrc.crop_max_scale": "max_scale",
    "color_jitter.brightness": "brightness",
    "color_jitter.contrast": "contrast",
    "color_jitter.saturation": "saturation",
    "color_jitter.hue": "hue",
}


def before(
    prepare: Callable[[DictConfig], None], host: Callable[[DictConfig], DictConfig]
) -> Callable[[DictConfig], DictConfig]:
    """Puts `prepare` in front of the host's own step, in a run of ours."""

    @functools.wraps(host)
    def run(cfg: DictConfig) -> DictConfig:
        ours = concerns_us(cfg)
        begin(ours)
        if ours:
            patches.apply(RUN)
            if has_dali():
                from solo_rekd.hosts.current import dali

                dali.apply()
            prepare(cfg)
        return host(cfg)

    return run


def prepare_pretrain(cfg: DictConfig) -> None:
    """Prepares the configuration of a pretraining of ours, in place.

    Raises:
        UserError: a setting is missing or not allowed.
    """
    if cfg.get("method") not in METHODS:
        raise refuse("method", cfg.get("method"), nearest_first(str(cfg.get("method")), [*METHODS]))
    refuse_augmentations(cfg)
    prepare(cfg, SCHEDULERS, required=("train_path",))
    for crop in cfg.augmentations:
        refuse_numbers(crop, NUMBERS_OF_A_VIEW)
    if cfg.method in OBJECTIVES:
        crops = [(crop.crop_size, crop.num_crops) for crop in cfg.augmentations]
        if sum(number for _, number in crops) != 2 or len({size for size, _ in crops}) != 1:
            listed = " and ".join(f"{number} of {size} px" for size, number in crops)
            raise refuse("augmentations", f"crops: {listed}", "2 crops of one size")
    if cfg.data.dataset in FOLDERS and (cfg.data.get("no_labels") or not cfg.data.get("val_path")):
        # the host would collect features for an evaluation that never comes
        OmegaConf.update(cfg, "knn_eval.enabled", False)
    view = cfg.augmentations[0]
    if is_ours(cfg.backbone.name):
        OmegaConf.update(cfg, "backbone.kwargs.img_size", view.crop_size)
    given = omegaconf_select(cfg, "data.augmentations", {})
    evaluate_at(cfg.data.dataset, given, trained_view(cfg))
    refuse_mistakes(cfg, view.crop_size)
    if cfg.get(STARTED) is not None:
        prepare_student(cfg, cfg[STARTED])
    read_images(pretrain, cfg.data)
    settle_lengths(cfg)
    note_run(cfg)


def prepare_student(cfg: DictConfig, path: str) -> None:
    """Gives the student the first layers of the file that it starts from, and sees that it fits.

    Raises:
        UserError: the file cannot be read, or does not hold every weight of the backbone.
    """
    if not isinstance(path, str):
        raise refuse(STARTED, path, "a file of weights")
    name, dataset, key = cfg.backbone.name, cfg.data.dataset, "backbone.kwargs.stem"
    stem = choose_stem(path, name, omegaconf_select(cfg, key, "auto"), key)
    if name.startswith("resnet") and dataset in CIFAR:
        if stem == "imagenet":
            raise UserError(
                f"{STARTED}={path!r}: its {name} has the first layers for ImageNet, but the host "
                f"makes them small with data.dataset={dataset}: give data.dataset=custom and the "
                "folders of the images"
            )
    elif stem != "auto":
        OmegaConf.update(cfg, key, stem)
    load_student(path, name, build_like_host(cfg, cfg.method), key=STARTED)


def prepare_linear(cfg: DictConfig) -> None:
    """Prepares the configuration of a linear evaluation of ours, and checks the checkpoint.

    Raises:
        UserError: a setting is missing or not allowed, or the checkpoint lacks weights.
    """
    prepare(cfg, LinearModel._SCHEDULERS, required=("train_path", "val_path"))
    if "pretrained_feature_extractor" not in cfg:
        key = "pretrained_feature_extractor"
        raise UserError(f"{key} is missing: give {key}=FILE, a checkpoint of a pretraining")
    prepare_probe(cfg, cfg.pretrained_feature_extractor)


def prepare_probe(cfg: DictConfig, path: str | None) -> None:
    """Prepares the evaluation of the checkpoint `path`, and looks whether it fits the backbone."""
    if path is None or not path.endswith((".ckpt", ".pth", ".pt")):
        raise refuse("pretrained_feature_extractor", path, "a checkpoint: .ckpt, .pth or .pt")
    run, dataset = read_run(Path(path)), cfg.data.dataset
    given = omegaconf_select(cfg, "data.augmentations", {})
    built_by_us = is_ours(cfg.backbone.name)
    known = run is not None or "crop_size" in given or not Path(path).is_file()
    if built_by_us and not known and needs_size(dataset):
        read_file(path)  # what is wrong with the file itself comes first
        key = "data.augmentations.crop_size"
        raise UserError(
            f"{key} is missing: neither {path} nor an args.json beside it records it: "
            f"give +{key}=N, the side in px of the images that the student was trained on"
        )
    resize_to = given.get("resize_to")
    if resize_to is not None and (cfg.data.get("format") == "dali" or not needs_size(dataset)):
        limit = "none, except with data.dataset=custom and without DALI"
        raise refuse("data.augmentations.resize_to", resize_to, limit)
    side = evaluate_at(dataset, given, trained_view(run))
    read_images(linear, cfg.data)
    if dataset in FOLDERS and Path(cfg.data.train_path).is_dir():
        refuse_one_class("data.train_path", cfg.data.train_path)
    if built_by_us:
        # the stem is the one that was trained, whatever the size of evaluation
        trained = run and omegaconf_select(run, "backbone.kwargs.img_size", None)
        if resize_to is not None:
            asked = omegaconf_select(cfg, "backbone.kwargs.stem", "auto")
            stem = settle_stem(cfg.backbone.name, trained or side, asked)
            OmegaConf.update(cfg, "backbone.kwargs.stem", stem)
        OmegaConf.update(cfg, "backbone.kwargs.img_size", resize_to or trained or side)
    # the script loads without looking at what matched, for fine-tuning too
    backbone = build_like_host(cfg, cfg.get("pretrain_method"))
    load_student(path, cfg.backbone.name, backbone, only=CURRENT_HOST)
    refuse_mistakes(cfg, resize_to or side)
    note_run(cfg)


def prepare(cfg: DictConfig, schedulers: Collection[str], required: tuple[str, ...]) -> None:
    """Does what both scripts need: paths, names, numbers, devices, DALI's device."""
    refuse_incomplete(cfg)
    for key in ("train_path", "val_path"):
        value = None if OmegaConf.is_missing(cfg.data, key) else cfg.data.get(key)
        if value is None and key in required:
            raise UserError(f"data.{key} is missing: give data.{key}=PATH")
        if value is not None and cfg.data.dataset in FOLDERS and not Path(value).exists():
            raise refuse(f"data.{key}", value, "a path that exists")
    if cfg.data.dataset in FOLDERS and not cfg.data.get("no_labels"):
        refuse_folders({f"data.{key}": cfg.data.get(key) for key in ("train_path", "val_path")})
    name = cfg.backbone.name
    refuse_unknown("backbone.name", name, BaseMethod._BACKBONES)
    if name == "resnet50x2" and cfg.data.dataset in CIFAR:
        limit = f"another backbone with {cfg.data.dataset}, whose stem the host makes too narrow"
        raise refuse("backbone.name", name, limit)
    names = {"optimizer.name": LinearModel._OPTIMIZERS, "scheduler.name": schedulers}
    for key, allowed in names.items():
        chosen = omegaconf_select(cfg, key)
        if chosen is not None and chosen not in allowed:
            raise refuse(key, chosen, nearest_first(str(chosen), list(allowed)))
    refuse_numbers(cfg, NUMBERS)
    speed.note({COMPILE: cfg.get(COMPILE, False), MEMORY_FORMAT: settle_memory_format(cfg)})
    fit_devices(cfg)
    if cfg.data.get("format") == WITH_DALI:
        prepare_dali(cfg)


def prepare_dali(cfg: DictConfig) -> None:
    """Checks loading by DALI before anything runs; it is on the CPU where there is no GPU.

    Raises:
        UserError: DALI is not installed, or a setting does not go with it.
    """
    if not has_dali():
        raise UserError("data.format=dali needs NVIDIA DALI: pip install 'solo-rekd[dali]'")
    device = omegaconf_select(cfg, "dali.device", "gpu")
    if device not in DALI_DEVICES:
        raise refuse("dali.device", device, DALI_DEVICES)
    for index, view in enumerate(cfg.get("augmentations") or ()):
        if probability := omegaconf_select(view, "equalization.prob", 0):
            limit = "0 with data.format=dali, which does not equalize images"
            raise refuse(f"augmentations.{index}.equalization.prob", probability, limit)
    if device == "gpu" and not torch.cuda.is_available():
        _log.warning("dali.device=gpu: there is no GPU, so DALI loads on the CPU")
        device = "cpu"
    OmegaConf.update(cfg, "dali.device", device)


def settle_memory_format(cfg: DictConfig) -> Any:
    """Reads `memory_format` and the host's own key for it as one, and returns that.

    The host would lay out the whole model; `auto` is a choice for each network, so that the host
    is kept from it.

    Raises:
        UserError: the two contradict each other.
    """
    asked, key = cfg.get(MEMORY_FORMAT, AUTO), "performance.disable_channel_last"
    given = omegaconf_select(cfg, key)
    if given is not None:
        of_host = CONTIGUOUS if given else CHANNELS_LAST
        if asked not in (AUTO, of_host):
            raise refuse(key, given, f"none with {MEMORY_FORMAT}={asked}, which contradicts it")
        asked = of_host
    OmegaConf.update(cfg, key, asked != CHANNELS_LAST)
    return asked


def refuse_numbers(cfg: DictConfig, names: Mapping[str, str]) -> None:
    """Raises a UserError where a number of `cfg` is beyond its limits, `LIMITS[names[key]]`."""
    for key, name in names.items():
        value = omegaconf_select(cfg, key)
        for each in value if isinstance(value, ListConfig) else [value]:
            if isinstance(each, int | float):
                refuse_beyond(key, each, *LIMITS[name])
            elif each is not None:
                raise refuse(key, each, "a number")


def build_like_host(cfg: DictConfig, method: str | None) -> nn.Module:
    """Builds the backbone that the host's script will build, which some change for `method`."""
    name = cfg.backbone.name
    kwargs = omegaconf_select(cfg, "backbone.kwargs", {})
    if name.startswith("resnet"):
        # the host's ResNets are torchvision's, with a small stem for CIFAR
        stem = "small" if cfg.data.dataset in CIFAR else kwargs.get("stem", "auto")
        return build_backbone(name, kwargs.get("img_size", 224), stem)
    return BaseMethod._BACKBONES[name](method, **kwargs)


def apply() -> None:
    """Puts both steps where the host's `parse_cfg` finds them."""
    for module, step in ((pretrain, prepare_pretrain), (linear, prepare_linear)):
        ENTRIES.wrap(module, "add_and_assert_dataset_cfg", functools.partial(before, step))
