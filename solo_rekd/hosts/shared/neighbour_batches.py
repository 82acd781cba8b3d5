"""Batches of anchors and some of their neighbours, from a host's loader.

The anchors of an epoch are the first images in the host's own order, which follows from the seed
and covers a different part of the images in each process. An epoch has as many images as without
neighbours.
"""

from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Sampler

from solo_rekd.hosts.shared.checks import refuse_dali
from solo_rekd.objectives.distillation import Neighbours

SEEDING = 16  # places of an order that decide the draw of its neighbours


class NeighbourSampler(Sampler[int]):
    """Samples batches of anchors, each followed by some of its neighbours.

    Args:
        anchors: the host's sampler, whose order determines anchors and draws.
        batch_size: images per batch.
        neighbours: see `Neighbours`.
    """

    def __init__(self, anchors: Sampler[int], batch_size: int, neighbours: Neighbours) -> None:
        self.anchors, self.batch_size, self.neighbours = anchors, batch_size, neighbours

    def __len__(self) -> int:
        return len(self.anchors)  # type: ignore[arg-type]

    def __iter__(self) -> Iterator[int]:
        """Begins an epoch."""
        order = torch.tensor(list(self.anchors))
        return iter(with_neighbours(order, self.batch_size, self.neighbours).tolist())


def with_neighbours(order: Tensor, batch_size: int, neighbours: Neighbours) -> Tensor:
    """Replaces all but the first images of an epoch by their neighbours.

    A batch of B images has B/(1+k) anchors, rounded up, and is divided among them as evenly as
    possible, so none has more than k neighbours. These are drawn from the anchor's pool without
    repetition, seeded by the order itself: the same order gives the same batches.

    Args:
        order: indexes of the images of an epoch, shape (N,).
        batch_size: B.
        neighbours: k and the pools.

    Returns:
        Indexes, shape (N,).
    """
    sizes = group_sizes(batch_size, neighbours.number)
    width, batches = max(sizes), -(-len(order) // batch_size)
    places = order.repeat(-(-batches * len(sizes) // len(order)))[: batches * len(sizes)]
    seed = np.random.SeedSequence(order[:SEEDING].tolist()).generate_state(1)[0]
    generator = torch.Generator().manual_seed(int(seed))
    pools = neighbours.members[places]
    chosen = torch.rand(pools.shape, generator=generator).argsort(1)[:, : width - 1]
    groups = torch.cat([places[:, None], pools.gather(1, chosen)], dim=1)
    kept = torch.arange(width) < torch.tensor(sizes).repeat(batches)[:, None]
    return groups[kept][: len(order)]


def group_sizes(batch_size: int, number: int) -> list[int]:
    """Images of each anchor's group in a batch, the anchor included, the larger ones first.

    Args:
        batch_size: images of a batch, at least 1.
        number: k, neighbours of an anchor at most.
    """
    groups = -(-batch_size // (1 + number))
    small, larger = divmod(batch_size, groups)
    return [small + 1] * larger + [small] * (groups - larger)


def put_neighbours(loader: Any, neighbours: Neighbours) -> None:
    """Makes a host's loader give such batches from its next epoch on.

    Args:
        loader: of the training, of a Lightning's or torch's kind.
        neighbours: see `Neighbours`.

    Raises:
        UserError: it is DALI's.
    """
    refuse_dali(not isinstance(loader, DataLoader), {"neighbours": neighbours.number})
    batches = loader.batch_sampler
    before = batches.sampler  # of a loader that trains once more, an earlier one of ours
    anchors = before.anchors if isinstance(before, NeighbourSampler) else before
    batches.sampler = NeighbourSampler(anchors, batches.batch_size, neighbours)
