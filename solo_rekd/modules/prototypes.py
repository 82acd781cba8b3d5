"""The relation miner: a dynamic bank of prototypes in the teacher's space (arXiv 2112.04174).

The paper gives the idea, semantic prototypes that are mined online at a cost linear in batch and
bank. The update rule, the start and the re-seeding are ours.
"""

import torch
from torch import Tensor
from torch.nn.functional import normalize, one_hot

from solo_rekd.modules.counters import Counters
from solo_rekd.utils.precision import full_precision

NOT_STARTED = -1  # steps of a bank
CHUNK = 4096  # embeddings assigned at a time, to bound the similarity matrix


@full_precision
def assign(prototypes: Tensor, embeddings: Tensor) -> tuple[Tensor, Tensor]:
    """Finds every embedding's nearest prototype, `a_i = argmax_c C_c.t_i`.

    Args:
        prototypes: unit vectors C, shape (C, d).
        embeddings: unit vectors t, shape (N, d).

    Returns:
        Similarity to the nearest prototype, shape (N,), and its index, shape (N,).
    """
    parts = [(chunk @ prototypes.T).max(1) for chunk in embeddings.split(CHUNK)]
    return torch.cat([part.values for part in parts]), torch.cat([part.indices for part in parts])


@full_precision
def soft_assign(prototypes: Tensor, embeddings: Tensor, temperature: float) -> Tensor:
    """Shares every embedding out among the prototypes, `s_ic = softmax_c(C_c.t_i / tau)`.

    Args:
        prototypes: unit vectors C, shape (C, d).
        embeddings: unit vectors t, shape (N, d).
        temperature: tau, above 0.

    Returns:
        Shape (N, C), each row with sum 1.
    """
    return (embeddings @ prototypes.T / temperature).softmax(1)


@full_precision
def member_means(embeddings: Tensor, ids: Tensor, num_prototypes: int) -> tuple[Tensor, Tensor]:
    """Averages the members of each prototype.

    A matrix product rather than a scatter: on a GPU it adds in a fixed order, so that every rank
    gets the same bits.

    Args:
        embeddings: shape (N, d).
        ids: the prototype of each embedding, shape (N,), from 0 to num_prototypes - 1.
        num_prototypes: size C of the bank.

    Returns:
        Means, shape (C, d), zero where a prototype has no member, and counts, shape (C,).
    """
    sums = embeddings.new_zeros(num_prototypes, embeddings.shape[1])
    counts = embeddings.new_zeros(num_prototypes)
    for chunk, chunk_ids in zip(embeddings.split(CHUNK), ids.split(CHUNK), strict=True):
        membership = one_hot(chunk_ids, num_prototypes).to(embeddings.dtype)
        sums.addmm_(membership.T, chunk)
        counts += membership.sum(0)
    return sums / counts.clamp(min=1)[:, None], counts


def candidate_weights(similarity: Tensor) -> Tensor:
    """How likely each embedding is to seed a prototype: by its distance from the nearest one."""
    # nan: the training diverged, which its host says at the end of the epoch
    return (1 - similarity).nan_to_num(nan=0).clamp(min=1e-6)


def seed_from(embeddings: Tensor, similarity: Tensor, number: int, seed: int) -> Tensor:
    """Draws embeddings to start prototypes from, the worse explained the likelier (k-means++).

    Args:
        embeddings: candidates, shape (N, d).
        similarity: each candidate's similarity to its nearest prototype, shape (N,), at most 1.
        number: how many to draw; more than N draws some twice.
        seed: seed of the draw, the same on every rank.

    Returns:
        Shape (number, d).
    """
    generator = torch.Generator().manual_seed(seed)
    weights = candidate_weights(similarity).float().cpu()
    drawn = torch.multinomial(weights, number, number > len(weights), generator=generator)
    return embeddings[drawn.to(embeddings.device)]


@full_precision
def spherical_kmeans(embeddings: Tensor, num_prototypes: int, iterations: int = 20) -> Tensor:
    """Clusters unit vectors by cosine similarity, from a k-means++ start.

    A cluster that runs empty is seeded anew.

    Args:
        embeddings: unit vectors, shape (N, d), N at least num_prototypes.
        num_prototypes: number of clusters C.
        iterations: rounds of assignment and mean.

    Returns:
        Unit vectors, shape (C, d).
    """
    prototypes = embeddings.new_empty(num_prototypes, embeddings.shape[1])
    similarity = -embeddings.new_ones(len(embeddings))
    for c in range(num_prototypes):
        prototypes[c] = seed_from(embeddings, similarity, 1, seed=c)[0]
        similarity = torch.maximum(similarity, embeddings @ prototypes[c])
    for iteration in range(iterations):
        similarity, ids = assign(prototypes, embeddings)
        means, counts = member_means(embeddings, ids, num_prototypes)
        empty = counts == 0
        if empty.any():
            means[empty] = seed_from(embeddings, similarity, int(empty.sum()), seed=iteration)
        prototypes = normalize(means, dim=1)
    return prototypes


@full_precision
def group_means(embeddings: Tensor, ids: Tensor) -> Tensor:
    """Averages each embedding's group, at a cost that does not grow with the number of groups.

    Every member of a group gets the very same bits, those of the row of its first member, and
    every rank too: a matrix product adds in a fixed order.

    Args:
        embeddings: shape (N, d).
        ids: the group of each, shape (N,).

    Returns:
        The mean of the group of each embedding, shape (N, d).
    """
    means, first = [], []
    for chunk in ids.split(CHUNK):
        same = chunk[:, None] == ids
        first.append(same.to(torch.uint8).argmax(1))
        means.append(same.to(embeddings.dtype) @ embeddings / same.sum(1, keepdim=True))
    return torch.cat(means)[torch.cat(first)]


@full_precision
def draw_order(similarity: Tensor, seed: int) -> Tensor:
    """Orders embeddings by a draw without replacement: the worse explained, the likelier first.

    The largest `log(weight) + Gumbel noise` come first, which is that draw (arXiv 1903.06059); the
    noise is the CPU's, the same on every rank, and nothing waits for the device.

    Args:
        similarity: each embedding's similarity to its nearest prototype, shape (N,), at most 1.
        seed: of the draw, the same on every rank.

    Returns:
        Places, shape (N,).
    """
    generator = torch.Generator().manual_seed(seed)
    noise = -torch.empty(len(similarity), device="cpu").exponential_(generator=generator).log()
    noise = noise.to(similarity.device, non_blocking=True)
    return (noise + candidate_weights(similarity).log()).argsort(descending=True, stable=True)


class PrototypeBank(Counters):
    """Prototypes that follow the teacher, the same on every rank.

    Args:
        num_prototypes: size C of the bank.
        dim: dimensions d of the teacher's embeddings.
        momentum: m in `C_c <- normalize(m C_c + (1 - m) mean{t_i : a_i = c})`, in [0, 1].
        patience: a prototype that none of so many embeddings in a row chose is seeded anew.
    """

    prototypes: Tensor
    idle: Tensor

    def __init__(self, num_prototypes: int, dim: int, momentum: float, patience: int) -> None:
        super().__init__(steps=NOT_STARTED)
        self.momentum = momentum
        self.patience = patience
        self.register_buffer("prototypes", torch.zeros(num_prototypes, dim))
        self.register_buffer("idle", torch.zeros(num_prototypes, dtype=torch.long))

    @property
    def ready(self) -> bool:
        """Whether the bank has been started."""
        return self.number("steps") > NOT_STARTED

    @torch.no_grad()
    def start(self, embeddings: Tensor) -> None:
        """Starts the bank by spherical k-means on `embeddings`, shape (N, d), N >= C."""
        self.prototypes.copy_(spherical_kmeans(embeddings, len(self.prototypes)))
        self.idle.zero_()
        self.set_number("steps", 0)

    @torch.no_grad()
    def assign(self, embeddings: Tensor) -> Tensor:
        """Returns the prototype of each embedding: (N, d) to (N,); all -1 before the start."""
        if not self.ready:
            return torch.full((len(embeddings),), -1, device=embeddings.device)
        return assign(self.prototypes, embeddings)[1]

    @torch.no_grad()
    @full_precision
    def update(self, embeddings: Tensor, ids: Tensor) -> None:
        """Moves the prototypes towards their new members and re-seeds those idle for long.

        Time is linear in the bank only where one number per prototype is looked at: no prototype
        but those of the batch, and as many that are seeded anew, is touched. Of more idle ones
        than there are embeddings, the others wait for the next batch.

        Args:
            embeddings: the global batch of teacher embeddings, shape (N, d).
            ids: their prototypes, as `assign` gives them, shape (N,).
        """
        before = self.prototypes[ids]
        moved = self.momentum * before + (1 - self.momentum) * group_means(embeddings, ids)
        dtype = self.prototypes.dtype  # half where all of a method's weights are
        self.prototypes[ids] = normalize(moved, dim=1).to(dtype)

        step = self.number("steps") + 1
        self.set_number("steps", step)
        self.idle += len(embeddings)
        self.idle[ids] = 0
        order = draw_order((embeddings * before).sum(1), seed=step)[: len(self.idle)]
        # among equally idle ones the first: which one is no matter of chance on any device
        rank = self.idle * len(self.idle) - torch.arange(len(self.idle), device=self.idle.device)
        longest = rank.topk(len(order)).indices
        stale = self.idle[longest] >= self.patience
        fresh = embeddings[order].to(dtype)
        self.prototypes[longest] = torch.where(stale[:, None], fresh, self.prototypes[longest])
        self.idle[longest] = self.idle[longest].masked_fill(stale, 0)
