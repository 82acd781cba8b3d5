"""`main_knn.py` of the current host, which knows no Hydra and asks for a GPU, for our runs."""

import functools
import sys
from argparse import Namespace
from collections.abc import Callable
from typing import Any

import torch
from solo.args import knn
from torch import Tensor
from torch.utils.data import DataLoader
from tqdm import tqdm

from solo_rekd.hosts.current.evaluation import evaluate_at, trained_view
from solo_rekd.hosts.current.features import in_order, judge_newest
from solo_rekd.hosts.shared.changes import ENTRIES, RUN
from solo_rekd.hosts.shared.knn_metric import HostKnn
from solo_rekd.hosts.shared.limits import KNN_K, KNN_LIMITS, KNN_TEMPERATURE
from solo_rekd.images.data_sets import FOLDERS
from solo_rekd.images.folders import refuse_folders, refuse_one_class
from solo_rekd.memory_format import choose, lay_out
from solo_rekd.utils.errors import refuse_beyond

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
            return args
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
            refuse_one_class(keys[0], args.train_data_path)
        evaluate_at(args.dataset, {}, trained_view(run))
        change_script(sys._getframe(1).f_globals)
        return args

    return parse_knn


def change_script(names: dict[str, Any]) -> None:
    """Makes the script take all images, on any device, with today's torchmetrics.

    Args:
        names: those of the script, which has bound the host's functions before it reads its
            arguments.
    """
    wrappers = {
        "prepare_dataloaders": in_order,
        "extract_features": lambda own: extract_features,
        "WeightedKNNClassifier": lambda own: HostKnn,
    }
    for name, wrapper in wrappers.items():
        if name in names:
            RUN.wrap(names, name, wrapper)


@torch.no_grad()
def extract_features(loader: DataLoader, model: Any) -> tuple[Tensor, ...]:
    """Does what the script's own function does, on the device where the model is.

    Args:
        loader: of the images of one split.
        model: a method of the host.

    Returns:
        Features of the backbone (N, f), of the projector (N, d), and labels (N,).
    """
    model.eval()
    lay_out(model.backbone, choose(model.backbone, gpu=model.device.type == "cuda").name)
    parts = []
    for images, labels in tqdm(loader):
        out = model(images.to(model.device))
        # a copy: a loader's own tensor keeps a file open
        parts.append((out["feats"], out["z"], labels.to(model.device, copy=True)))
    return tuple(torch.cat(column) for column in zip(*parts, strict=True))


def apply() -> None:
    """Puts the parser where the script finds it."""
    ENTRIES.wrap(knn, "parse_args_knn", finish_knn)
