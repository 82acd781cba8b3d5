"""Relatives among all training images: for each image a mean of the others' embeddings.

A contrast is linear in its target (`losses.target_contrast_loss`), so one vector an image stands
for all its relatives, whether or not they are in the queue; a step only looks it up. The relation
is that of the paper (arXiv 2112.04174); mining it from whole images, once, is ours.
"""

from typing import NamedTuple

import torch
from torch import Tensor

from solo_rekd.modules.prototypes import CHUNK, assign, member_means, spherical_kmeans
from solo_rekd.utils.precision import full_precision

SHOWN = 10  # relatives of an image that its purity is measured by
LEVEL = 3  # each further bank has so many times the prototypes of the one before
MEMBERS = 4  # images for each prototype, at least
SAMPLE = 256  # images for each prototype, at most, that k-means looks at


class Relatives(NamedTuple):
    """What is related to each of N images.

    Attributes:
        means: the mean of the relatives' embeddings, shape (N, d); 0 where there is none.
        found: whether there is one, shape (N,).
        nearest: places of some relatives, the same number for all, -1 where there is none, (N, k).
        ids: the image's prototype in the first bank, shape (N,); -1 throughout without a bank.
    """

    means: Tensor
    found: Tensor
    nearest: Tensor
    ids: Tensor


@full_precision
def by_prototypes(embeddings: Tensor, number: int, levels: int = 1) -> Relatives:
    """Relates images of one prototype of spherical k-means, the mean over several banks.

    The image itself is no relative of its own: in a small group it would be most of the mean.

    Args:
        embeddings: unit vectors of all images, shape (N, d).
        number: prototypes of the first bank; at most a quarter of N are made.
        levels: banks, each with three times the prototypes of the one before (as in PCL, arXiv
            2005.04966, several granularities at once).
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
    assert first is not None  # levels is 1 at least
    found = counts > 0
    means = sums / counts.clamp(min=1)[:, None]
    return Relatives(means, found, group_mates(first, order), first)


@full_precision
def by_similarity(embeddings: Tensor, temperature: float) -> Relatives:
    """Relates all images to all others, by a softmax of their similarities.

    Time is that of N^2 similarities; memory is linear in N.

    Args:
        embeddings: unit vectors of all images, shape (N, d).
        temperature: of the softmax, above 0.
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
        ids: the group of each, shape (N,), from -1 (none) to number - 1.
        number: of groups.
    """
    means, alone = others_mean(embeddings, ids + 1, number + 1)
    found = ~alone & (ids >= 0)
    order = torch.arange(len(ids), device=ids.device)
    return Relatives(means * found[:, None], found, group_mates(ids, order), ids)


def others_mean(embeddings: Tensor, ids: Tensor, number: int) -> tuple[Tensor, Tensor]:
    """The mean of the other members of each image's group.

    Args:
        embeddings: shape (N, d).
        ids: the group of each, shape (N,), from 0 to number - 1.
        number: of groups.

    Returns:
        Means, shape (N, d), and whether an image is alone, shape (N,).
    """
    means, counts = member_means(embeddings, ids, number)
    others = counts[ids] - 1
    sums = means[ids] * counts[ids][:, None] - embeddings
    return sums / others.clamp(min=1)[:, None] * (others > 0)[:, None], others == 0


def group_mates(ids: Tensor, order: Tensor) -> Tensor:
    """Places of up to `SHOWN` other members of each image's group: those that follow it there.

    Args:
        ids: the group of each, shape (N,), -1 where there is none.
        order: in which members follow each other, shape (N,).

    Returns:
        Shape (N, SHOWN), -1 where there is none.
    """
    # sorted by group, a member's mates are the rows around it
    ranked = order[ids[order].argsort(stable=True)]
    sorted_ids = ids[ranked]
    places = torch.full((len(ids), SHOWN), -1, device=ids.device)
    for step in range(1, SHOWN + 1):
        same = (sorted_ids[step:] == sorted_ids[:-step]) & (sorted_ids[step:] >= 0)
        places[ranked[:-step][same], step - 1] = ranked[step:][same]
    return places
