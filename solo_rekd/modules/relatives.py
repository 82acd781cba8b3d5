"""Relatives among all training images: for each image, a mean of the others' embeddings.

A contrast is linear in its target (`losses.target_contrast_loss`), so one vector per image
represents all its relatives, whether or not they are in the queue; a step only looks it up. The
relation is that of the paper (arXiv 2112.04174); mining it once from whole images is ours.
"""

from typing import NamedTuple

import torch
from torch import Tensor

from solo_rekd.modules.prototypes import CHUNK, assign, member_means, spherical_kmeans
from solo_rekd.utils.precision import full_precision

SHOWN = 10  # relatives per image that purity is measured on
LEVEL = 3  # each further bank has three times the prototypes of the one before
MEMBERS = 4  # images per prototype, at least
SAMPLE = 256  # images per prototype that k-means uses, at most


class Relatives(NamedTuple):
    """The relatives of each of N images.

    Attributes:
        means: mean of the relatives' embeddings, shape (N, d); 0 for images without relatives.
        found: whether an image has relatives, shape (N,).
        nearest: indexes of some relatives, shape (N, k), -1 where there are fewer.
        ids: the image's prototype in the first bank, shape (N,); all -1 without a bank.
    """

    means: Tensor
    found: Tensor
    nearest: Tensor
    ids: Tensor


@full_precision
def by_prototypes(embeddings: Tensor, number: int, levels: int = 1) -> Relatives:
    """Relates images with the same prototype of spherical k-means, averaged over several banks.

    An image is not its own relative: in a small group it would dominate the mean.

    Args:
        embeddings: unit vectors of all images, shape (N, d).
        number: prototypes of the first bank; at most N / 4 are made.
        levels: number of banks, each with three times the prototypes of the one before (several
            granularities at once, as in PCL, arXiv 2005.04966).
    """
    generator = torch.Generator().manual_seed(0)
    # drawn on the CPU, so that every device has the same
    order = torch.randperm(len(embeddings), generator=generator, device="cpu").to(embeddings.device)
    sums, counts, first = torch.zeros_like(embeddings), embeddings.new_zeros(len(embeddings)), None
    for level in range(levels):
        wanted = max(1, min(number * LEVEL**level, len(embeddings) // MEMBERS))
        bank = spherical_kmeans(embeddings[order[: wanted * SAMPLE]], wanted)
        ids = assign(bank, embeddings)[1]
        means, alone = others_mean(embeddings, ids, wanted)
        sums, counts = sums + means, counts + ~alone
        first = ids if first is None else first
    assert first is not None  # levels is at least 1
    found = counts > 0
    means = sums / counts.clamp(min=1)[:, None]
    return Relatives(means, found, group_mates(first, order), first)


@full_precision
def by_similarity(embeddings: Tensor, temperature: float) -> Relatives:
    """Relates each image to all others by a softmax of their similarities.

    Time is quadratic in N, and memory linear.

    Args:
        embeddings: unit vectors of all images, shape (N, d).
        temperature: temperature of the softmax, above 0.
    """
    if len(embeddings) < 2:
        none = torch.full((len(embeddings),), -1, device=embeddings.device)
        return by_groups(embeddings, none, 1)
    means, nearest = [], []
    for places in torch.arange(len(embeddings), device=embeddings.device).split(CHUNK // 4):
        close = embeddings[places] @ embeddings.T
        close[torch.arange(len(places)), places] = -torch.inf
        nearest.append(close.topk(min(SHOWN, len(embeddings) - 1), dim=1).indices)
        means.append((close / temperature).softmax(1) @ embeddings)
    found = torch.ones(len(embeddings), dtype=torch.bool, device=embeddings.device)
    ids = torch.full_like(found, -1, dtype=torch.long)
    return Relatives(torch.cat(means), found, torch.cat(nearest), ids)


@full_precision
def by_groups(embeddings: Tensor, ids: Tensor, number: int) -> Relatives:
    """Relates the images of given groups, such as those of a control.

    Args:
        embeddings: unit vectors of all images, shape (N, d).
        ids: group of each image, shape (N,), from -1 (none) to number - 1.
        number: number of groups.
    """
    means, alone = others_mean(embeddings, ids + 1, number + 1)
    found = ~alone & (ids >= 0)
    order = torch.arange(len(ids), device=ids.device)
    return Relatives(means * found[:, None], found, group_mates(ids, order), ids)


def others_mean(embeddings: Tensor, ids: Tensor, number: int) -> tuple[Tensor, Tensor]:
    """Averages the other members of each image's group.

    Args:
        embeddings: shape (N, d).
        ids: group of each image, shape (N,), from 0 to number - 1.
        number: number of groups.

    Returns:
        Means, shape (N, d), and whether an image is alone, shape (N,).
    """
    means, counts = member_means(embeddings, ids, number)
    others = counts[ids] - 1
    sums = means[ids] * counts[ids][:, None] - embeddings
    return sums / others.clamp(min=1)[:, None] * (others > 0)[:, None], others == 0


def group_mates(ids: Tensor, order: Tensor) -> Tensor:
    """Lists up to `SHOWN` other members of each image's group, those that follow it in `order`.

    Args:
        ids: group of each image, shape (N,), -1 for none.
        order: order of the members, shape (N,).

    Returns:
        Indexes, shape (N, SHOWN), -1 where there are fewer.
    """
    # after sorting by group, an image's group is in the rows around it
    ranked = order[ids[order].argsort(stable=True)]
    sorted_ids = ids[ranked]
    places = torch.full((len(ids), SHOWN), -1, device=ids.device)
    for step in range(1, SHOWN + 1):
        same = (sorted_ids[step:] == sorted_ids[:-step]) & (sorted_ids[step:] >= 0)
        places[ranked[:-step][same], step - 1] = ranked[step:][same]
    return places
