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

# makes a backbone that a host alone has, of its name, the data set's, and the images' side in px
HostBackbone = Callable[[str, str, int], nn.Module]


class Features(NamedTuple):
    """What a network makes of one split, in the order of its images, on the CPU.

    Attributes:
        features: shape (N, f), float32, not normalised.
        labels: shape (N,), int64.
        classes: the name of each label.
    """

    features: Tensor
    labels: Tensor
    classes: list[str]


class JudgedNetwork(Protocol):
    """Which network a checkpoint holds; `solo_rekd.hosts.jobs.Network` is such a thing."""

    @property
    def name(self) -> str:
        """Its name."""

    @property
    def stem(self) -> str:
        """Its first layers: `small`, `imagenet` or `auto`."""


class Judgement(NamedTuple):
    """What comes of the features of a checkpoint.

    Attributes:
        splits: the features of `train` and `val`.
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
    """Extracts the features of a checkpoint's network and lets their neighbours vote.

    Args:
        checkpoint: the file, in any format of `solo_rekd.checkpoints`.
        network: what it holds.
        images: what the network is judged by; size, mean and deviation default to those of the
            training.
        batch_size: images at a time, which no figure depends on.
        k: number of neighbours, at least 1; all of them where there are fewer.
        temperature: of the votes, above 0.
        host_backbone: builds what no name of `solo_rekd.backbones` stands for.
        memory_format: of the network, `auto`, `channels_last` or `contiguous`.
        progress: takes the share of the features that is there, in [0, 1], after every batch.

    Raises:
        UserError: the checkpoint cannot be read or lacks weights of the network, or the images
            cannot be judged by.
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
    """Puts a network into evaluation, on the GPU where there is one, in its memory format.

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
        batch_size: images at a time.
        workers: processes that load images.
        progress: takes the share done, in [0, 1], after every batch.
        memory_format: of the network, as in `judge_features`.

    Returns:
        The features of each data set, under its name.
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
            # a copy: a loader's own tensor keeps a file open
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
