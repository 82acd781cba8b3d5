"""`main_knn.py` of the current host, which knows no Hydra and asks for a GPU."""

import functools
from argparse import Namespace
from collections.abc import Callable
from typing import Any

import torch
from solo.args import knn

from solo_rekd.hosts.current.evaluation import evaluate_at, trained_view
from solo_rekd.hosts.current.features import judge_newest
from solo_rekd.hosts.shared.limits import KNN_K, KNN_LIMITS, KNN_TEMPERATURE
from solo_rekd.images.data_sets import FOLDERS
from solo_rekd.images.folders import refuse_folders
from solo_rekd.utils.errors import refuse, refuse_beyond

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
        run = judge_newest(args)
        if run is None:
            expected = "the folder of a pretraining run, with a whole .ckpt file of this host"
            raise refuse("pretrained_checkpoint_dir", args.pretrained_checkpoint_dir, expected)
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
