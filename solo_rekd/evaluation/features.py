"""Features of a pretrained network, extracted once for every evaluation on them."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader

from solo_rekd.backbones import is_known
from solo_rekd.checkpoints.student import build_student, load_student
from solo_rekd.config import AUTO
from solo_rekd.evaluation.as_trained import JudgedImages, as_trained
from solo_rekd.evaluation.knn import weighted_knn
from solo_rekd.images.evaluated import evaluation_sets
from solo_rekd.memory_format import choose, lay_out
from solo_rekd.utils.errors import refuse
from solo_rekd.utils.memory import keep_freed_memory
from solo_rekd.utils.progress import bar

# builds a backbone that only a host has, from its name, the data set's name, and the side in px
HostBackbone = Callable[[str, str, int], nn.Module]


class Features(NamedTuple):
    """A network's features of one split, in the order of its images, on the CPU.

    Attributes:
        features: shape (N, f), float32, not normalised.
        labels: shape (N,), int64.
        classes: name of each label.
    """

    features: Tensor
    labels: Tensor
    classes: list[str]


class JudgedNetwork(Protocol):
    """The network that a checkpoint holds, such as `solo_rekd.hosts.jobs.Network`."""

    @property
    def name(self) -> str:
        """Name of the network."""

    @property
    def stem(self) -> str:
        """First layers of the network: `small`, `imagenet` or `auto`."""


class Judgement(NamedTuple):
    """The features of a checkpoint and their kNN accuracy.

    Attributes:
        splits: features of `train` and `val`.
        knn: top1 and top5 in percent on the validation images, k, temperature, and the protocol.
    """

    splits: dict[str, Features]
    knn: dict[str, Any]


def judge_features(
    checkpoint: str | Path,
    network: JudgedNetwork,
    images: JudgedImages,
    *,
    batch_size: int,
    k: int,
    temperature: float,
    host_backbone: HostBackbone | None = None,
    memory_format: str = AUTO,
    progress: Callable[[float], None] = lambda share: None,
) -> Judgement:
    """Extracts the features of a checkpoint's network and evaluates them by kNN.

    Args:
        checkpoint: file in any format of `solo_rekd.checkpoints`.
        network: network that it holds.
        images: images of the evaluation; size, mean and deviation default to the training's.
        batch_size: images per batch; the results do not depend on it.
        k: number of neighbours, at least 1; all of them where there are fewer.
        temperature: temperature of the votes, above 0.
        host_backbone: builds networks that `solo_rekd.backbones` does not know.
        memory_format: `auto`, `channels_last` or `contiguous`, for the network.
        progress: function that takes the share of features done, in [0, 1], after every batch.

    Raises:
        UserError: the checkpoint cannot be read or lacks weights of the network, or the images
            cannot be used for an evaluation.
    """
    seen = as_trained(Path(checkpoint), network.name, network.stem, images)
    folders, colours = (images.train, images.val), (seen.mean, seen.std)
    sets = evaluation_sets(images.dataset, *folders, seen.size, *colours, images.resize_to)
    side = images.resize_to or seen.size
    if is_known(network.name):
        backbone = build_student(checkpoint, network.name, side, seen.stem)
    else:
        backbone = _of_host(checkpoint, network, images.dataset, side, host_backbone)
    loading = batch_size, images.workers or 0
    splits = extract_features(backbone, sets, *loading, progress, memory_format)
    train, val = splits["train"], splits["val"]
    k = min(k, len(train.labels))
    votes = train.features, train.labels, val.features, val.labels
    top1, top5 = weighted_knn(*votes, k, temperature)
    resized = f"resized to {images.resize_to} px, " if images.resize_to else ""
    knn = {
        "top1": top1,
        "top5": top5,
        "k": k,
        "temperature": temperature,
        "protocol": (
            f"weighted kNN, cosine, k {k}, temperature {temperature:g}, "
            f"{seen.size} px, {resized}without augmentation"
        ),
    }
    return Judgement(splits, knn)


def make_ready(backbone: nn.Module, memory_format: str = AUTO) -> str:
    """Prepares a network for evaluation: eval mode, GPU where there is one, memory format.

    Args:
        backbone: the network.
        memory_format: as in `judge_features`.

    Returns:
        The name of the device.
    """
    backbone.eval().to(device := "cuda" if torch.cuda.is_available() else "cpu")
    lay_out(backbone, choose(backbone, memory_format, gpu=device == "cuda").name)
    if device == "cpu":
        keep_freed_memory()
    return device


@torch.no_grad()
def extract_features(
    backbone: nn.Module,
    sets: Mapping[str, Any],
    batch_size: int,
    workers: int = 0,
    progress: Callable[[float], None] = lambda share: None,
    memory_format: str = AUTO,
) -> dict[str, Features]:
    """Extracts the features of images, on the GPU where there is one.

    Args:
        backbone: images (B, 3, H, W) to features (B, f).
        sets: data sets of (image, label) with `classes`, by name.
        batch_size: images per batch.
        workers: processes that load images.
        progress: function that takes the share done, in [0, 1], after every batch.
        memory_format: as in `judge_features`.

    Returns:
        The features of each data set, by its name.
    """
    device = make_ready(backbone, memory_format)
    loaders = {
        name: DataLoader(images, batch_size=batch_size, num_workers=workers)
        for name, images in sets.items()
    }
    done, batches = 0, sum(map(len, loaders.values()))
    splits = {}
    for name, loader in loaders.items():
        parts = []
        for images, labels in bar(loader, f"features of {name}", "batch"):
            # a copy, because a loader's tensor keeps a file open
            parts.append((backbone(images.to(device)).float().cpu(), labels.clone()))
            done += 1
            progress(done / batches)
        features, labels = (torch.cat(column) for column in zip(*parts, strict=True))
        splits[name] = Features(features, labels, list(sets[name].classes))
    return splits


def _of_host(
    checkpoint: str | Path,
    network: JudgedNetwork,
    dataset: str,
    size: int,
    build: HostBackbone | None,
) -> nn.Module:
    name = network.name
    if network.stem != "auto":
        raise refuse("stem", network.stem, f"auto with {name}, which has one stem only")
    if build is None:
        raise refuse("encoder", name, "a name of solo-rekd list; other networks need solo-learn")
    backbone = build(name, dataset, size)
    load_student(checkpoint, name, backbone)
    return backbone
