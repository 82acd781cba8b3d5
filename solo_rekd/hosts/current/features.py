"""What the current host extracts features with in `main_knn.py` and `main_umap.py`, for our runs.

Both scripts load a checkpoint without looking at what matched, and leave the model on the device
on which it was trained; `main_knn.py` takes its training images from a loader that shuffles them
and drops the last batch.
"""

import atexit
import functools
import json
import shutil
import tempfile
from argparse import Namespace
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from omegaconf import DictConfig, OmegaConf
from solo.args import umap
from solo.data import classification_dataloader, pretrain_dataloader
from solo.methods import METHODS
from torch.utils.data import DataLoader, Dataset

from solo_rekd.checkpoints.fit import load_backbone
from solo_rekd.checkpoints.read import read_complete
from solo_rekd.checkpoints.run_record import read_settings, settings_of
from solo_rekd.hosts.current.checks import is_our_run
from solo_rekd.hosts.current.evaluation import as_run, evaluate_at, read_run, trained_view
from solo_rekd.hosts.shared import data_sets, patches
from solo_rekd.hosts.shared.changes import ENTRIES, RUN, begin
from solo_rekd.hosts.shared.method import refuse_other_method
from solo_rekd.hosts.shared.saved import ENDING, newest_first, newest_whole
from solo_rekd.utils.errors import UserError, install_excepthook, refuse


def in_order(host: Callable[..., tuple[DataLoader, DataLoader]]) -> Callable[..., Any]:
    """Makes the host's `prepare_dataloaders` take every training image, in order, as validation."""

    @functools.wraps(host)
    def prepare_dataloaders(train: Dataset, val: Dataset, *args: Any, **kwargs: Any) -> Any:
        # of the host's two loaders the second does it right
        return tuple(host(train, split, *args, **kwargs)[1] for split in (train, val))

    return prepare_dataloaders


def load_whole(method: Any, path: str | Path, cfg: DictConfig, **host: Any) -> Any:
    """Builds a run's model and gives it every weight of its checkpoint, on the GPU if there is one.

    Args:
        method: the class of the run's method.
        path: the checkpoint.
        cfg: the run's settings.
        host: what else the script gives to Lightning's `load_from_checkpoint`.

    Raises:
        UserError: the checkpoint cannot be read, or does not hold exactly the model's tensors.
    """
    checkpoint = read_complete(path)
    try:
        refuse_other_method(checkpoint, cfg.method, "judge")
        model = method(cfg)
        load_backbone(
            model,
            checkpoint.get("state_dict", {}),
            f"{cfg.method} with {cfg.backbone.name}, which args.json tells,",
            translate=False,
        )
    except UserError as error:
        raise UserError(f"{path}: {error}") from error
    return model.to("cuda" if torch.cuda.is_available() else "cpu")


def is_our_folder(folder: Path) -> bool:
    """Whether a folder is that of a run of ours, by a checkpoint of it or by `args.json`."""
    beside = settings_of({}, folder / "args.json")
    runs = map(read_settings, newest_first(folder.glob(f"*{ENDING}")))
    return any(is_our_run(as_run(settings)) for settings in (beside, *runs))


def judge_newest(args: Namespace) -> DictConfig | None:
    """Makes a script judge the newest whole checkpoint of a run of ours, and names it.

    Args:
        args: of the script; `pretrained_checkpoint_dir` is changed in place.

    Returns:
        The settings of the run; None where it is none of ours.

    Raises:
        UserError: no checkpoint of the run is whole, or nothing says how it was trained.
    """
    folder = args.pretrained_checkpoint_dir
    ours = folder is not None and is_our_folder(Path(folder))
    begin(ours)
    if not ours:
        return None
    install_excepthook()
    chosen = newest_whole(Path(folder).glob(f"*{ENDING}"))
    run = read_run(chosen) if chosen else None
    if chosen is None or run is None:
        expected = "the folder of a pretraining run, with a complete .ckpt file of this host"
        raise refuse("pretrained_checkpoint_dir", folder, expected)
    patches.apply(RUN)
    data_sets.choose(pretrain_dataloader, classification_dataloader)
    args.pretrained_checkpoint_dir = hand_over(chosen, run)
    judge_whole(run)
    print(f"evaluated checkpoint: {chosen}")
    return run


def hand_over(checkpoint: Path, run: DictConfig) -> str:
    """Makes a folder of one checkpoint and its settings, as the script expects them.

    The script takes any of several checkpoints, and knows no settings but those of `args.json`.

    Args:
        checkpoint: the one to judge.
        run: its settings.

    Returns:
        The folder, which is removed when this process ends.
    """
    folder = tempfile.mkdtemp(prefix="solo-rekd-")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    (Path(folder) / checkpoint.name).symlink_to(checkpoint.absolute())
    settings = OmegaConf.to_container(run, resolve=True)
    (Path(folder) / "args.json").write_text(json.dumps(settings))
    return folder


def judge_whole(run: DictConfig) -> None:
    """Prepares this process, a script of the host that judges `run`, a run of ours."""
    RUN.wrap(classification_dataloader, "prepare_dataloaders", in_order)
    method = METHODS[run.method]
    load = staticmethod(functools.partial(load_whole, method))
    RUN.set(METHODS, run.method, type(method.__name__, (method,), {"load_from_checkpoint": load}))


def finish_umap(parse: Callable[[], Namespace]) -> Callable[[], Namespace]:
    """Wraps the host's parser of `main_umap.py`."""

    @functools.wraps(parse)
    def parse_umap() -> Namespace:
        args = parse()
        run = judge_newest(args)
        if run is not None:
            evaluate_at(args.dataset, {}, trained_view(run))
        return args

    return parse_umap


def apply() -> None:
    """Puts the parser where `main_umap.py` finds it."""
    ENTRIES.wrap(umap, "parse_args_umap", finish_umap)
