"""Relations: for each image of a batch a mean of dictionary entries, and how sure it is."""

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import normalize

from search.forms import Form
from solo_rekd.modules.prototypes import PrototypeBank, assign, spherical_kmeans
from solo_rekd.objectives.image_relation import random_groups

PAIRS = 500  # images whose neighbours the estimate of purity looks at


class Related(NamedTuple):
    """A relation of a batch to a dictionary.

    Attributes:
        weights: of each entry for each image, (B, K), rows that sum to 1, or to 0 without any.
        sure: how much of the relation counts, in [0, 1], (B,).
    """

    weights: Tensor
    sure: Tensor


class Miner:
    """Finds relations by what is known of the whole images.

    Args:
        form: see `Form`.
        whole: unit embedding of each training image, (N, d).
        labels: of each, (N,).
        mates: unit embeddings of two views of each image, (N, 2, d), for the estimate of purity.
    """

    def __init__(self, form: Form, whole: Tensor, labels: Tensor, mates: Tensor) -> None:
        self.form, self.whole, self.labels = form, whole, labels
        self.ids: list[Tensor] = []
        self.trust: list[Tensor] = []
        if form.relation == "groups":
            for level in range(form.levels):
                number = min(form.groups * 3**level, len(whole) // 4)
                bank = spherical_kmeans(whole, number)
                _, ids = assign(bank, whole)
                self.ids.append(ids)
                # by its margin over the second nearest, in units of the mean margin
                best = (whole @ bank.T).topk(2, dim=1).values
                margin = best[:, 0] - best[:, 1]
                self.trust.append((margin / margin.mean()).clamp(max=1))
        elif form.relation == "labels":
            self.ids = [labels]
        elif form.relation == "random":
            self.ids = [random_groups(torch.arange(len(whole)), form.groups)]
        self.near = form.near or estimate_neighbours(whole, mates)
        everything = torch.arange(len(whole))
        self.table: Related | None = None
        if form.reach == "data":  # relatives among all images, once: no entry of the queue
            self.table = self.relate(everything, everything)
        self.bank: PrototypeBank | None = None

    def relate(self, places: Tensor, entries: Tensor) -> Related:
        """Relates images to entries of the dictionary, both by their places, (B,) and (K,)."""
        form = self.form
        sure = torch.ones(len(places))
        if self.ids:
            levels = []
            for ids in self.ids:
                same = (ids[places][:, None] == ids[entries]).float()
                levels.append(same / same.sum(1, keepdim=True).clamp(min=1))
            weights = torch.stack(levels).mean(0)
            weights = weights / weights.sum(1, keepdim=True).clamp(min=1e-9)
            if form.sure and self.trust:
                sure = torch.stack([trust[places] for trust in self.trust]).mean(0)
        else:
            close = self.whole[places] @ self.whole[entries].T
            close.masked_fill_(places[:, None] == entries, -torch.inf)
            if form.relation == "soft":
                weights = (close / form.blur).softmax(1)
                if form.sure:
                    best = close.amax(1)
                    sure = (best / best.mean()).clamp(max=1)
            else:
                weights = self._mutual(places, entries, close)
        return Related(weights, sure * (weights.sum(1) > 0))

    def _mutual(self, places: Tensor, entries: Tensor, close: Tensor) -> Tensor:
        """Entries among an image's nearest that are as near to it as their own nearest are."""
        near = close.topk(self.near, dim=1)
        # an entry's own reach: its similarity to the nearest of the other entries, of that rank
        mine = self.whole[entries]
        reach = torch.empty(len(entries))
        for rows in torch.arange(len(entries)).split(4096):
            some = mine[rows] @ mine.T
            reach[rows] = some.topk(self.near + 1, dim=1).values[:, -1]
        mutual = near.values >= reach[near.indices]
        weights = torch.zeros_like(close).scatter_(1, near.indices, mutual.float())
        return weights / weights.sum(1, keepdim=True).clamp(min=1)


def estimate_neighbours(whole: Tensor, mates: Tensor) -> int:
    """How many neighbours to trust, without labels: where two views still agree on one in two.

    Args:
        whole: unit embedding of each image, (N, d).
        mates: of two views of each, (N, 2, d).

    Returns:
        The largest k of 2, 5, 10, 20, 50 at which half of the k nearest images of one view are
        among those of the other; at least 2.
    """
    some = torch.arange(min(PAIRS, len(whole)))
    orders = []
    for view in (0, 1):
        close = normalize(mates[some, view], dim=1) @ whole.T
        close[some, some] = -1
        orders.append(close.argsort(dim=1, descending=True))
    chosen = 2
    for k in (2, 5, 10, 20, 50):
        first, second = (order[:, :k] for order in orders)
        shared = (first[:, :, None] == second[:, None]).any(2).float().mean()
        if shared >= 0.5:
            chosen = k
    return chosen
