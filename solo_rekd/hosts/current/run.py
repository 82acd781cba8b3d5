"""A run of the current host: what its checkpoints record of it, and which run may resume it."""

from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
from lightning.pytorch.plugins.io import TorchCheckpointIO
from omegaconf import DictConfig, OmegaConf
from solo.data.pretrain_dataloader import prepare_datasets
from solo.utils.auto_resumer import AutoResumer
from solo.utils.checkpointer import Checkpointer
from solo.utils.misc import omegaconf_select

from solo_rekd.checkpoints.run_record import KEY, read_settings
from solo_rekd.config import EARLIER, SIGHT
from solo_rekd.hosts.shared.changes import RUN
from solo_rekd.hosts.shared.lengths import count_images, make_training, settle
from solo_rekd.hosts.shared.resume import Rule, find_resumable
from solo_rekd.hosts.shared.run_callback import RunCallback, WholeCheckpoints
from solo_rekd.images.data_sets import FOLDERS, NUMBERS
from solo_rekd.images.fingerprint import fingerprint
from solo_rekd.lengths import Training
from solo_rekd.objectives import OBJECTIVES
from solo_rekd.utils.files import sha256

# what decides nothing of a training: places, how it is watched and saved, and on which devices;
# images and weights are compared by their content, the devices by their number
IGNORED = tuple(
    "data.train_path data.val_path data.num_workers data.augmentations crop_size "
    "data.decoded_images data.transforms data.skip_broken "
    "method_kwargs.teacher_checkpoint method_kwargs.teacher_cache method_kwargs.bag_cache "
    "student_checkpoint "
    "pretrained_feature_extractor "
    "checkpoint auto_resume resume_from_checkpoint auto_umap wandb wandb_run_id knn_eval "
    "default_root_dir enable_progress_bar enable_model_summary log_every_n_steps profiler "
    "debug_augmentations num_sanity_val_steps check_val_every_n_epoch val_check_interval "
    "limit_val_batches limit_test_batches limit_predict_batches performance "
    "memory_format compile "
    "accelerator strategy devices num_nodes benchmark detect_anomaly inference_mode dali.device "
    "hydra".split()
)
WEIGHTS = tuple(
    "method_kwargs.teacher_checkpoint student_checkpoint pretrained_feature_extractor".split()
)
RULE = Rule(IGNORED, {f"method_kwargs.{name}": value for name, value in (SIGHT | EARLIER).items()})


class WholeFiles(WholeCheckpoints, TorchCheckpointIO):
    """Lightning's own way with checkpoints, whole or not at all."""


class CurrentRun(RunCallback, pl.Callback):
    """See `RunCallback`."""

    checkpointer_class = Checkpointer
    checkpoints_class = WholeFiles
    rule = RULE

    def run_settings(self, trainer: pl.Trainer, module: Any) -> Mapping[str, Any] | None:
        """The run's configuration, where the plug-in noted the run in it."""
        checkpointer = self.checkpointer(trainer)
        cfg = getattr(module, "cfg", None) if checkpointer is None else checkpointer.cfg
        if cfg is None or KEY not in cfg:
            return None
        return _container(cfg) | {"wandb_run_id": getattr(checkpointer, "wandb_run_id", None)}


def _container(cfg: DictConfig) -> dict[str, Any]:
    return OmegaConf.to_container(cfg, resolve=True)  # type: ignore[return-value]


def settle_lengths(cfg: DictConfig) -> None:
    """Puts a number in the place of every `auto` of a method of ours, in the configuration.

    Raises:
        UserError: a setting of the method is not allowed, or the images cannot be listed.
    """
    if cfg.method not in OBJECTIVES:
        return
    path = cfg.get("resume_from_checkpoint")
    numbers = settle(
        OBJECTIVES[cfg.method].config_class,
        omegaconf_select(cfg, "method_kwargs", {}),
        cfg.max_epochs,
        lambda: expected_training(cfg),
        lambda: read_settings(Path(path)).get("method_kwargs", {}) if path else {},
    )
    for name, number in numbers.items():
        OmegaConf.update(cfg, f"method_kwargs.{name}", number)


def expected_training(cfg: DictConfig) -> Training:
    """How long the training will be."""
    data = cfg.data
    if data.dataset not in FOLDERS:
        images = NUMBERS[data.dataset]
    elif data.get("format") == "h5":
        images = len(training_set(cfg))
    else:
        no_labels, fraction = data.get("no_labels") or False, data.get("fraction")
        images = count_images(data.train_path, no_labels, fraction)
    return make_training(
        images,
        cfg.optimizer.batch_size,
        len(cfg.devices) * (cfg.get("num_nodes") or 1),
        cfg.max_epochs,
        cfg.get("limit_train_batches"),
        cfg.get("max_steps"),
        cfg.get("accumulate_grad_batches"),
    )


def note_run(cfg: DictConfig) -> None:
    """Notes in a configuration that this run is ours, and what its settings do not say of it.

    From here on, auto-resume takes none but the same run.

    Args:
        cfg: of pretraining or of linear evaluation, with `devices` fitted to the machine. Images
            and weights are looked at where a checkpoint is to record them.
    """
    noted: dict[str, Any] = {
        "devices": len(cfg.devices),
        "nodes": omegaconf_select(cfg, "num_nodes", 1),
    }
    asking = ("checkpoint.enabled", "auto_resume.enabled", "resume_from_checkpoint")
    if any(omegaconf_select(cfg, key, None) for key in asking):
        if cfg.data.dataset in FOLDERS:  # the others are the same everywhere
            noted["images"] = fingerprint(training_set(cfg))
        for key in WEIGHTS:
            if path := omegaconf_select(cfg, key, None):
                with suppress(OSError):  # what cannot be read is refused by who loads it
                    noted[key.rpartition(".")[2]] = sha256(path)
    cfg[KEY] = noted
    RUN.set(AutoResumer, "find_checkpoint", find_same_run)


def training_set(cfg: DictConfig) -> Any:
    """The host's data set of training images, without its augmentation."""
    return prepare_datasets(
        cfg.data.dataset,
        None,
        train_data_path=cfg.data.train_path,
        data_format=omegaconf_select(cfg, "data.format", "image_folder"),
        no_labels=omegaconf_select(cfg, "data.no_labels", False),
        data_fraction=omegaconf_select(cfg, "data.fraction", -1),
    )


def find_same_run(resumer: AutoResumer, cfg: DictConfig) -> tuple[Path | None, str | None]:
    """Finds a checkpoint of the same run and of no other: see `find_resumable`.

    Args:
        resumer: the host's, which says where to look and how far back.
        cfg: the run's configuration.

    Returns:
        The checkpoint, and the run of Weights & Biases that continues with it; None without one.
    """
    hours = resumer.max_hours.total_seconds() / 3600
    path = find_resumable(Path(resumer.checkpoint_dir), hours, _container(cfg), RULE)
    return path, read_settings(path).get("wandb_run_id") if path else None
