"""`main_knn.py` of the current host, which knows no Hydra and asks for a GPU."""

import functools
from argparse import Namespace
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from solo.args import knn
from solo.data import classification_dataloader, pretrain_dataloader

from solo_rekd.errors import refuse, refuse_beyond
from solo_rekd.hosts import data_sets
from solo_rekd.hosts.current_evaluation import belongs_to_us, evaluate_at, read_run, trained_view
from solo_rekd.hosts.evaluation import FOLDERS, refuse_folders
from solo_rekd.hosts.limits import KNN_K, KNN_LIMITS, KNN_TEMPERATURE

# The host's parser leaves these empty and its script loops over them.
PROTOCOL = {
    "k": [KNN_K],
    "temperature": [KNN_TEMPERATURE],
    "distance_function": ["cosine"],
    "feature_type": ["backbone"],
}


def finish_knn(parse: Callable[[], Namespace]) -> Callable[[], Namespace]:
    """Wraps the host's parser of the kNN evaluation."""

    @functools.wraps(parse)
    def parse_knn() -> Namespace:
        args = parse()
        folder = args.pretrained_checkpoint_dir
        run = folder and read_run(Path(folder))
        if not run or not list(Path(folder).glob("*.ckpt")):
            expected = "the folder of a pretraining run, with args.json and a .ckpt file"
            raise refuse("pretrained_checkpoint_dir", folder, expected)
        for name, value in PROTOCOL.items():
            if getattr(args, name) is None:
                setattr(args, name, value)
        for name in ("k", "temperature", "batch_size", "num_workers"):
            values = getattr(args, name)
            for value in values if isinstance(values, list) else [values]:
                refuse_beyond(name, value, *KNN_LIMITS[name])
        if args.dataset in FOLDERS:
            keys = ("train_data_path", "val_data_path")
            refuse_folders({key: getattr(args, key) for key in keys})
        evaluate_at(args.dataset, {}, trained_view(run))
        data_sets.choose(belongs_to_us(run), pretrain_dataloader, classification_dataloader)
        if not torch.cuda.is_available():
            stay_on_cpu()
        return args

    return parse_knn


def stay_on_cpu() -> None:
    """Makes `tensor.cuda()`, which the script calls on every batch, leave it on the CPU."""
    tensor: Any = torch.Tensor
    # a copy, as of a GPU: the script keeps every batch's, and a loader's own keeps a file open
    tensor.cuda = lambda self, *args, **kwargs: self.clone() if self.is_shared() else self


def apply() -> None:
    """Goes in; the caller sees to it that this happens once."""
    knn.parse_args_knn = finish_knn(knn.parse_args_knn)
