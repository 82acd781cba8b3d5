"""A run of the classic host: what its checkpoints record of it, and which run may resume it."""

from argparse import Namespace
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
from pytorch_lightning.plugins.io import TorchCheckpointIO
from solo.utils.auto_resumer import AutoResumer
from solo.utils.checkpointer import Checkpointer

from solo_rekd.checkpoints.run_record import KEY, read_settings
from solo_rekd.config import AUTO, EARLIER, SIGHT
from solo_rekd.hosts.classic import help
from solo_rekd.hosts.classic.loaders import pretrain_images
from solo_rekd.hosts.shared.changes import RUN
from solo_rekd.hosts.shared.lengths import count_images, make_training, settle
from solo_rekd.hosts.shared.resume import Rule, find_resumable
from solo_rekd.hosts.shared.run_callback import RunCallback, WholeCheckpoints
from solo_rekd.images.data_sets import FOLDERS, NUMBERS
from solo_rekd.images.fingerprint import fingerprint
from solo_rekd.lengths import Training
from solo_rekd.objectives import OBJECTIVES
from solo_rekd.utils.files import sha256

# what the host's own script does, without a flag for it
HOSTS_OWN = {
    **{"seed": help.HOST_SEED, "stem": "auto", "student_checkpoint": None},
    **{"memory_format": AUTO, "compile": False},
}
# what decides nothing of a training: places, how it is watched and saved, and on which devices;
# images and weights are compared by their content, the devices by their number
IGNORED = tuple(
    "data_dir train_dir val_dir num_workers teacher_cache bag_cache "
    "teacher_checkpoint student_checkpoint pretrained_feature_extractor "
    "save_checkpoint checkpoint_dir checkpoint_frequency resume_from_checkpoint "
    "auto_resume auto_resumer_max_hours default_root_dir "
    "auto_umap auto_umap_dir auto_umap_frequency wandb offline logger enable_checkpointing "
    "enable_progress_bar enable_model_summary log_every_n_steps profiler debug_augmentations "
    "num_sanity_val_steps check_val_every_n_epoch val_check_interval limit_val_batches "
    "limit_test_batches limit_predict_batches knn_eval knn_k "
    "accelerator strategy devices gpus num_nodes num_processes auto_select_gpus "
    "memory_format compile "
    "benchmark detect_anomaly move_metrics_to_cpu inference_mode dali_device".split()
)


WEIGHTS = ("teacher_checkpoint", "student_checkpoint", "pretrained_feature_extractor")
RULE = Rule(IGNORED, HOSTS_OWN | SIGHT | EARLIER)


class WholeFiles(WholeCheckpoints, TorchCheckpointIO):
    """Lightning's own way with checkpoints, whole or not at all."""


class ClassicRun(RunCallback, pl.Callback):
    """See `RunCallback`.

    Attributes:
        args: the parsed arguments; our commands give them, the host's script has them in its
            callback that saves checkpoints.
    """

    checkpointer_class = Checkpointer
    checkpoints_class = WholeFiles
    rule = RULE
    args: Namespace | None = None

    def run_settings(self, trainer: pl.Trainer, module: Any) -> Mapping[str, Any] | None:
        """The parsed arguments by name, where the plug-in noted the run in them."""
        args = self.args or getattr(self.checkpointer(trainer), "args", None)
        return vars(args) if args is not None and KEY in vars(args) else None

    def on_load_checkpoint(
        self, trainer: pl.Trainer, module: Any, checkpoint: dict[str, Any]
    ) -> None:
        """See `RunCallback`; the epoch of the checkpoint counts as completed, too.

        This Lightning writes a checkpoint before it counts the epoch, and makes that good in one
        of its two counts.
        """
        super().on_load_checkpoint(trainer, module, checkpoint)
        if self.run_settings(trainer, module) is not None:
            loops = checkpoint.get("loops", {}).get("fit_loop", {})
            if count := loops.get("epoch_progress", {}).get("total"):
                count["completed"] = count["processed"]


def settle_lengths(args: Namespace) -> None:
    """Puts a number in the place of every `auto` of a method of ours, in the parsed arguments.

    Raises:
        UserError: a setting of the method is not allowed, or the images cannot be listed.
    """
    if args.method not in OBJECTIVES:
        return
    path = args.resume_from_checkpoint
    numbers = settle(
        OBJECTIVES[args.method].config_class,
        vars(args),
        args.max_epochs,
        lambda: expected_training(args),
        lambda: read_settings(Path(path)) if path else {},
    )
    vars(args).update(numbers)


def expected_training(args: Namespace) -> Training:
    """How long the training will be."""
    if args.dataset in FOLDERS:
        images = count_images(Path(args.data_dir) / args.train_dir, args.no_labels)
    else:
        images = NUMBERS[args.dataset]
    return make_training(
        images,
        args.batch_size,
        count_processes(args),
        args.max_epochs,
        args.limit_train_batches,
        args.max_steps,
        args.accumulate_grad_batches,
    )


def count_processes(args: Namespace) -> int:
    """How many processes train together: by `--gpus` or `--devices`, on each of `--num_nodes`."""
    devices = str(args.devices)
    number = int(devices) if devices.isdecimal() else devices.count(",") + 1
    return max(len(args.gpus), number) * args.num_nodes


def note_run(args: Namespace) -> None:
    """Notes in the parsed arguments that this run is ours, and what its flags do not say of it.

    From here on, `--auto_resume` takes none but the same run.

    Args:
        args: of pretraining or of linear evaluation. Images and weights are looked at where a
            checkpoint is to record them.
    """
    noted: dict[str, Any] = {
        "devices": str(args.devices),
        "gpus": len(args.gpus),
        "nodes": args.num_nodes,
    }
    told = vars(args)
    if told["save_checkpoint"] or told.get("auto_resume") or told["resume_from_checkpoint"]:
        if args.dataset in FOLDERS:  # the others are the same everywhere
            noted["images"] = fingerprint(pretrain_images(args, None))
        for name in WEIGHTS:
            if told.get(name):
                with suppress(OSError):  # what cannot be read is refused by who loads it
                    noted[name] = sha256(told[name])
    told[KEY] = noted
    RUN.set(AutoResumer, "find_checkpoint", find_same_run)


def find_same_run(resumer: AutoResumer, args: Namespace) -> Path | None:
    """Finds a checkpoint of the same run and of no other: see `find_resumable`.

    Args:
        resumer: the host's, which says where to look and how far back.
        args: the parsed arguments of the run.
    """
    hours = resumer.max_hours.total_seconds() / 3600
    return find_resumable(Path(resumer.checkpoint_dir), hours, vars(args), RULE)
