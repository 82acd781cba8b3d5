"""ReKD, Relation Knowledge Distillation (arXiv 2112.04174).

From the paper: a heterogeneous teacher that trains along, a relation miner with a dynamic bank of
semantic prototypes, and the mined relation in the part of labels in a contrastive loss. Ours, for
the paper's code was never released: the bank's update rule, all constants, the choice of
dictionary, the share kept for the image's own key, and the warm-up.
"""

import logging
from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn.functional import normalize
from torch.utils.data import DataLoader

from solo_rekd.config import RekdConfig
from solo_rekd.lengths import Training
from solo_rekd.losses import relation_contrast_loss, symmetric_info_nce_loss
from solo_rekd.losses.contrast import count_members
from solo_rekd.modules.prototypes import PrototypeBank, soft_assign
from solo_rekd.modules.queue import KeyQueue, gather, random_keys
from solo_rekd.objectives.distillation import Batch, DistillationObjective, HostRun

_log = logging.getLogger("solo_rekd")


class ReKD(DistillationObjective):
    """The student's query meets its own key and the queue's entries of its teacher's prototype."""

    config_class = RekdConfig
    config: RekdConfig

    def __init__(self, config: RekdConfig, run: HostRun) -> None:
        super().__init__(config, run)
        config = self.config
        teacher_dim = self.teacher.embedding_dim
        size = config.queue_size
        # One queue a view: the keys of view 2 meet the queries of view 1.
        self.queues = self.view_queues(
            student=random_keys(size, config.proj_output_dim),
            teacher=random_keys(size, teacher_dim),
            ids=torch.full((size,), -1),
            labels=torch.full((size,), -1),
        )
        self.groups = run.num_classes if config.relation == "labels" else config.num_prototypes
        if config.relation == "labels":
            self.needs_labels = "relation=labels"
        self.warmup_epochs = 0 if self.teacher.pretrained else config.teacher_warmup_epochs
        # A prototype is seeded anew once the queues have turned over without it: none of their
        # entries can then carry its id.
        self.bank = PrototypeBank(
            config.num_prototypes, teacher_dim, config.prototype_momentum, patience=size
        )

    def before_training(
        self, training_images: Callable[..., DataLoader], training: Training
    ) -> None:
        """Warns of a run that ends before its relation counts."""
        super().before_training(training_images, training)
        filling = self.config.queue_size // max(1, training.batch * training.steps)
        idle = max(self.warmup_epochs, filling)
        if idle >= self.run.max_epochs:
            _log.warning(
                "the relation will not count in this run of rekd: it has %d epochs, and queues and "
                "teacher are ready after %d (queue_size, teacher_warmup_epochs: less, or auto)",
                self.run.max_epochs,
                idle,
            )

    def forward(self, batch: Batch, epoch: int) -> tuple[Tensor, dict[str, Tensor]]:
        """See `DistillationObjective.forward`."""
        queries, keys = self.query(batch), self.key(batch)
        (_, taught), losses, metrics = self.teach(batch)
        mined = self.config.relation == "prototypes"
        ready = mined and self.bank.ready
        if not ready and epoch >= self.warmup_epochs and all(queue.full for queue in self.queues):
            ready = True
            if mined:
                self.start_bank()
        images = merge_views(taught)
        ids = self.relatives(images, batch)

        loss = sum(losses.values(), start=queries[0].new_zeros(()))
        share = self.config.relation_weight if ready else 0
        if share < 1:
            entries = self.entries("student")
            losses["nce_loss"] = symmetric_info_nce_loss(
                queries, keys, entries, self.config.temperature
            )
            loss = loss + (1 - share) * losses["nce_loss"]
        if share > 0:
            shares = self.soft_relatives(images)
            teacher_keys = taught[::-1] if self.config.teacher_view == "other" else taught
            losses["relation_loss"] = (
                self.relation_loss(
                    queries[0], keys[1], teacher_keys[0], ids, shares, self.queues[1]
                )
                + self.relation_loss(
                    queries[1], keys[0], teacher_keys[1], ids, shares, self.queues[0]
                )
            ) / 2
            loss = loss + share * losses["relation_loss"]
            metrics |= relation_metrics(
                ids, batch.labels, self.queues[1], self.groups, self.run.num_classes
            )
        self.remember(keys, taught, ids, batch.labels)
        return loss, losses | metrics

    def relatives(self, images: Tensor, batch: Batch) -> Tensor:
        """The group of each image: its prototype, or in a control its label or chance."""
        if self.config.relation == "labels":
            return batch.labels
        if self.config.relation == "random":
            return random_groups(batch.indexes, self.groups)
        return self.bank.assign(images)

    def soft_relatives(self, images: Tensor) -> Tensor | None:
        """The share of each prototype in each image, (B, C); None where assignment is hard."""
        temperature = self.config.assignment_temperature
        return soft_assign(self.bank.prototypes, images, temperature) if temperature else None

    def relation_loss(
        self,
        query: Tensor,
        key: Tensor,
        teacher_key: Tensor,
        ids: Tensor,
        shares: Tensor | None,
        queue: KeyQueue,
    ) -> Tensor:
        """The relation contrast on the chosen dictionary.

        With both, the mean of that on the student's and of plain InfoNCE on the teacher's: who is
        near whom is seen there already, and a relation adds nothing (docs/benchmarks.md).
        """
        own_weight = self.config.own_weight
        terms = {
            "student": [(key, queue["student"], own_weight)],
            "teacher": [(teacher_key, queue["teacher"], own_weight)],
            "both": [(key, queue["student"], own_weight), (teacher_key, queue["teacher"], 1.0)],
        }
        parts = [
            relation_contrast_loss(
                query,
                positive,
                entries,
                ids,
                queue["ids"],
                num_prototypes=self.groups,
                temperature=self.config.temperature,
                own_weight=weight,
                shares=shares,
            )
            for positive, entries, weight in terms[self.config.dictionary]
        ]
        return torch.stack(parts).mean()

    def start_bank(self) -> None:
        """Starts the bank on the first full queues, whose entries it assigns."""
        images = merge_views([queue["teacher"] for queue in self.queues])
        self.bank.start(images)
        for queue in self.queues:
            queue["ids"].copy_(self.bank.assign(images))
        _log.info(
            "the bank of %d prototypes is started: relations count from here on",
            len(self.bank.prototypes),
        )

    @torch.no_grad()
    def remember(
        self, keys: list[Tensor], taught: list[Tensor], ids: Tensor, labels: Tensor
    ) -> None:
        """Pushes the global batch into the queues and moves the prototypes towards it."""
        all_ids, all_labels = gather(ids), gather(labels)
        all_taught = [gather(embeddings) for embeddings in taught]
        for view, queue in enumerate(self.queues):
            queue.push(
                student=gather(keys[view]),
                teacher=all_taught[view],
                ids=all_ids,
                labels=all_labels,
            )
        if self.bank.ready:
            self.bank.update(merge_views(all_taught), all_ids)


def merge_views(embeddings: list[Tensor]) -> Tensor:
    """One unit vector an image from its views', 2 of (B, d) to (B, d): the relation is mined there.

    Two crops tell more of an image than one: the groups of their sum are purer.
    """
    return normalize(embeddings[0] + embeddings[1], dim=1)


def random_groups(indexes: Tensor, groups: int) -> Tensor:
    """A group for every image by chance, the same whenever it comes: (B,) to (B,).

    Knuth's multiplicative hash of the image's place in the training set.
    """
    return (indexes.long() * 2654435761 % 2**32) * groups >> 32


@torch.no_grad()
def relation_metrics(
    ids: Tensor, labels: Tensor, queue: KeyQueue, num_prototypes: int, num_classes: int
) -> dict[str, Tensor]:
    """Says what the relation is worth.

    Args:
        ids: the queries' prototypes, shape (B,).
        labels: the queries' classes, shape (B,), -1 where unknown.
        queue: with the fields `ids` and `labels`, shape (K,).
        num_prototypes: size of the bank.
        num_classes: number of classes.

    Returns:
        positives_per_query: mean entries of the queue that share a query's prototype.
        active_prototypes: prototypes with an entry in the queue.
        assignment_entropy: entropy of the queue's assignments in nats, at most log(bank size).
        relation_purity: share of the positives that have their query's class; only with labels.
    """
    counts = count_members(queue["ids"], num_prototypes)
    members = counts[ids + 1]
    shares = counts / counts.sum().clamp(min=1)
    metrics = {
        "positives_per_query": members.float().mean(),
        "active_prototypes": (counts > 0).sum().float(),
        "assignment_entropy": torch.special.entr(shares).sum(),
    }
    known, known_entries = (labels >= 0) & (ids >= 0), (queue["labels"] >= 0) & (queue["ids"] >= 0)
    cells = queue["ids"][known_entries] * num_classes + queue["labels"][known_entries]
    table = torch.bincount(cells, minlength=num_prototypes * num_classes).view(-1, num_classes)
    positives = table[ids[known]]
    # The queue is the same on every rank, so either all ranks log this or none does.
    if known_entries.any():
        same = positives.gather(1, labels[known][:, None]).sum()
        metrics["relation_purity"] = same / positives.sum().clamp(min=1)
    return metrics
