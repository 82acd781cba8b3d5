"""ReKD's relation among whole training images: mined before training, looked up in each step."""

import functools
from typing import NamedTuple

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Subset

from solo_rekd.config import RekdConfig
from solo_rekd.images.labels import labels_of
from solo_rekd.lengths import image_prototypes
from solo_rekd.modules.relatives import Relatives, by_groups, by_prototypes, by_similarity
from solo_rekd.teachers import OnlineTeacher
from solo_rekd.utils.processes import rank, sum_over_processes, world_size
from solo_rekd.utils.progress import bar

UNKNOWN = -1


class Known(NamedTuple):
    """The relation of a batch's images.

    Attributes:
        means: mean of the relatives' embeddings, shape (B, d), 0 for images without relatives.
        found: 1 for images with relatives, else 0, shape (B, 1).
        ids: groups of the images, shape (B,).
    """

    means: Tensor
    found: Tensor
    ids: Tensor


class ImageRelation:
    """The relatives of every training image, on the CPU.

    Args:
        relatives: see `Relatives`.
        labels: of all images, shape (N,), -1 where unknown, only for `purity`; None: not known.
    """

    def __init__(self, relatives: Relatives, labels: Tensor | None = None) -> None:
        self.relatives = Relatives(*(part.cpu() for part in relatives))
        self.labels = labels

    @property
    def groups(self) -> int:
        """Number of prototypes of the first bank."""
        return int(self.relatives.ids.max()) + 1

    def look_up(self, places: Tensor, like: Tensor) -> "Known":
        """Looks up the relation of some images.

        Args:
            places: their indexes, shape (B,); reading them from a device other than the CPU waits.
            like: tensor with the device and type of the results.
        """
        means, found, _, ids = (part[places.cpu()] for part in self.relatives)
        move = functools.partial(Tensor.to, device=like.device, non_blocking=True)
        means, found = (move(part, dtype=like.dtype) for part in (means, found[:, None]))
        return Known(means, found, move(ids))

    def purity(self, places: Tensor, device: torch.device) -> Tensor | None:
        """Returns the share of the images' relatives of known label that have the same label.

        It is that of the data set's labels, so that it depends on no earlier step: a resumed run
        has the same.

        Args:
            places: indexes of the images, shape (B,), on the CPU.
            device: of the result.

        Returns:
            A scalar; None where no labels are known.
        """
        if self.labels is None:
            return None
        mates = self.relatives.nearest[places.cpu()]
        own, theirs = self.labels[places.cpu()][:, None], self.labels[mates.clamp(min=0)]
        known = (mates >= 0) & (theirs >= 0) & (own >= 0)
        share = ((theirs == own) & known).sum() / known.sum().clamp(min=1)
        return share.to(device, non_blocking=True)


def mine(
    embeddings: Tensor, config: RekdConfig, labels: Tensor | None, device: torch.device
) -> ImageRelation:
    """Relates the training images by the settings.

    Args:
        embeddings: unit vectors of all images, shape (N, d).
        config: settings with `relation`.
        labels: labels of the images, shape (N,); None: not known. The relation is made of them
            for `relation=labels` alone.
        device: device for the computation.
    """
    embeddings = embeddings.to(device).float()
    number = len(embeddings)
    groups = config.num_prototypes
    if isinstance(groups, str):
        groups = image_prototypes(number)
    if config.relation == "similarity":
        found = by_similarity(embeddings, config.relation_temperature)
    elif config.relation == "random":
        ids = random_groups(torch.arange(number, device=device), groups)
        found = by_groups(embeddings, ids, groups)
    elif config.relation == "labels":
        assert labels is not None  # given for this relation
        ids = labels.to(device)
        found = by_groups(embeddings, ids, int(ids.max()) + 1)
    else:
        found = by_prototypes(embeddings, groups, config.prototype_levels)
    return ImageRelation(found, labels)


def random_groups(indexes: Tensor, groups: int) -> Tensor:
    """Returns a fixed random group for every image, (B,) to (B,).

    It is Knuth's multiplicative hash of the image's index in the training set.
    """
    return (indexes.long() * 2654435761 % 2**32) * groups >> 32


def read_labels(images: DataLoader) -> Tensor:
    """Returns the labels of the whole training set, in order, shape (N,); it reads what it must."""
    known = labels_of(images.dataset)
    if known is not None:
        return known
    labels = torch.full((len(images.dataset),), UNKNOWN)  # type: ignore[arg-type]
    for places, _, some in bar(images, "labels of the images", "batch"):
        labels[places] = some
    return labels


@torch.no_grad()
def embed_online(teacher: OnlineTeacher, images: DataLoader) -> Tensor:
    """Computes the embeddings of all images by an online teacher's momentum twin, (N, d).

    Each process embeds its share, and all of them get the same bits. BatchNorm layers use their
    running statistics and do not update them.

    Args:
        teacher: see `OnlineTeacher`.
        images: the whole training set, in batches of (indexes, images, anything).
    """
    some = next(teacher.momentum_backbone.parameters())
    number = len(images.dataset)  # type: ignore[arg-type]
    found = torch.zeros(number, teacher.embedding_dim, device=some.device)
    share = DataLoader(
        Subset(images.dataset, range(rank(), number, world_size())),
        batch_size=images.batch_size,
        num_workers=images.num_workers,
        generator=torch.Generator(),  # the training's random numbers are untouched
    )
    modes = {module: module.training for module in teacher.modules()}
    teacher.eval()
    try:
        for places, batch, *_ in bar(share, "teacher's embeddings", "batch"):
            units = teacher.key(batch.to(some.device, some.dtype))[1]
            found[places.to(some.device)] = units.to(found.dtype)
    finally:
        for module, mode in modes.items():
            module.training = mode
    return sum_over_processes(found)
