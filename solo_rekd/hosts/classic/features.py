"""Features of an encoder, extracted once for every evaluation on them."""

from argparse import Namespace
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from solo_rekd.hosts.classic import arguments, backbones
from solo_rekd.hosts.classic.loaders import plain_loaders
from solo_rekd.utils.progress import bar


class Features(NamedTuple):
    """What an encoder makes of one split, in the order of its images, on the CPU.

    Attributes:
        features: shape (N, f), float32, not normalised.
        labels: shape (N,), int64.
        classes: the name of each label.
    """

    features: Tensor
    labels: Tensor
    classes: list[str]


@torch.no_grad()
def extract_features(
    args: Namespace, progress: Callable[[float], None] = lambda share: None
) -> dict[str, Features]:
    """Extracts the features of the training and the validation images, without augmentation.

    Args:
        args: the parsed arguments of kNN evaluation.
        progress: takes the share done, in [0, 1].

    Returns:
        `train` and `val`.

    Raises:
        UserError: the checkpoint cannot be read or lacks weights of the encoder, or the splits
            hold different classes.
    """
    backbones.name_for_host(args)
    encoder = arguments.load_encoder(args)
    encoder.eval().to(device := "cuda" if torch.cuda.is_available() else "cpu")
    loaders = plain_loaders(args)
    done, batches = 0, sum(map(len, loaders.values()))
    splits = {}
    for name, loader in loaders.items():
        parts = []
        for images, labels in bar(loader, f"features of {name}", "batch"):
            # a copy: a loader's own tensor keeps a file open
            parts.append((encoder(images.to(device)).float().cpu(), labels.clone()))
            done += 1
            progress(done / batches)
        features, labels = (torch.cat(column) for column in zip(*parts, strict=True))
        splits[name] = Features(features, labels, loader.dataset.classes)  # type: ignore[attr-defined]
    return splits
