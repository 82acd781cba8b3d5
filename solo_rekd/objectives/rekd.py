"""ReKD, Relation Knowledge Distillation (arXiv 2112.04174).

From the paper: a heterogeneous teacher that trains along, a relation miner with a dynamic bank of
semantic prototypes, and the mined relation in the part of labels in a contrastive loss. Ours, for
the paper's code was never released: the bank's update rule, all constants, the choice of
dictionary, the share kept for the image's own key, and the warm-up.
"""

import logging

import torch
from torch import Tensor

from solo_rekd.config import RekdConfig
from solo_rekd.losses import relation_contrast_loss, symmetric_info_nce_loss
from solo_rekd.losses.contrast import count_members
from solo_rekd.objectives.distillation import Batch, DistillationObjective, HostRun
from solo_rekd.queue import KeyQueue, gather, random_keys
from solo_rekd.relation import PrototypeBank
from solo_rekd.teachers import OnlineTeacher

_log = logging.getLogger("solo_rekd")


class ReKD(DistillationObjective):
    """The student's query meets its own key and the queue's entries of its teacher's prototype."""

    config_class = RekdConfig
    config: RekdConfig

    def __init__(self, config: RekdConfig, run: HostRun) -> None:
        super().__init__(config, run)
        if config.dictionary != "student":
            self.common_width(unless=", or dictionary=student")
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
        online = isinstance(self.teacher, OnlineTeacher)
        self.warmup_epochs = config.teacher_warmup_epochs if online else 0
        # A prototype is seeded anew once both queues have turned over without it: none of their
        # entries can then carry its id.
        self.bank = PrototypeBank(
            config.num_prototypes, teacher_dim, config.prototype_momentum, patience=2 * size
        )

    def forward(self, batch: Batch, epoch: int) -> tuple[Tensor, dict[str, Tensor]]:
        """See `DistillationObjective.forward`."""
        queries, keys = self.embed(batch.features, batch.momentum_features)
        (_, taught), losses, metrics = self.teach(batch)
        mined = self.config.relation == "prototypes"
        ready = mined and self.bank.ready
        if not ready and epoch >= self.warmup_epochs and all(queue.full for queue in self.queues):
            ready = True
            if mined:
                self.start_bank()
        ids = self.relatives(taught, batch)

        loss = sum(losses.values(), start=queries[0].new_zeros(()))
        share = self.config.relation_weight if ready else 0
        if share < 1:
            entries = self.entries("student")
            losses["nce_loss"] = symmetric_info_nce_loss(
                queries, keys, entries, self.config.temperature
            )
            loss = loss + (1 - share) * losses["nce_loss"]
        if share > 0:
            losses["relation_loss"] = (
                self.relation_loss(queries[0], keys[1], taught[1], ids[1], self.queues[1])
                + self.relation_loss(queries[1], keys[0], taught[0], ids[0], self.queues[0])
            ) / 2
            loss = loss + share * losses["relation_loss"]
            metrics |= relation_metrics(
                ids[1],
                batch.labels,
                self.queues[1],
                self.groups,
                self.run.num_classes,
            )
        self.remember(keys, taught, ids, batch.labels)
        return loss, losses | metrics

    def relatives(self, taught: list[Tensor], batch: Batch) -> list[Tensor]:
        """The group of each image, by view: its prototype, or in a control its label or chance."""
        if self.config.relation == "labels":
            return [batch.labels] * 2
        if self.config.relation == "random":
            return [random_groups(batch.indexes, self.groups)] * 2
        return [self.bank.assign(embeddings) for embeddings in taught]

    def relation_loss(
        self, query: Tensor, key: Tensor, taught: Tensor, ids: Tensor, queue: KeyQueue
    ) -> Tensor:
        """The relation contrast on the chosen dictionary, or the mean over both."""
        sharpness = self.config.assignment_temperature
        shares = (taught @ self.bank.prototypes.T / sharpness).softmax(1) if sharpness else None
        dictionaries = {"student": (key, queue["student"]), "teacher": (taught, queue["teacher"])}
        if self.config.dictionary != "both":
            dictionaries = {self.config.dictionary: dictionaries[self.config.dictionary]}
        parts = [
            relation_contrast_loss(
                query,
                positive,
                entries,
                ids,
                queue["ids"],
                num_prototypes=self.groups,
                temperature=self.config.temperature,
                own_weight=self.config.own_weight,
                shares=shares,
            )
            for positive, entries in dictionaries.values()
        ]
        return torch.stack(parts).mean()

    def start_bank(self) -> None:
        """Starts the bank on the first full queue of teacher embeddings and assigns both queues."""
        self.bank.start(self.queues[0]["teacher"])
        for queue in self.queues:
            queue["ids"].copy_(self.bank.assign(queue["teacher"]))
        _log.info(
            "the bank of %d prototypes is started: relations count from here on",
            len(self.bank.prototypes),
        )

    @torch.no_grad()
    def remember(
        self, keys: list[Tensor], taught: list[Tensor], ids: list[Tensor], labels: Tensor
    ) -> None:
        """Pushes the global batch into the queues and moves the prototypes towards it."""
        all_labels = gather(labels)
        all_taught = [gather(embeddings) for embeddings in taught]
        all_ids = [gather(view_ids) for view_ids in ids]
        for view, queue in enumerate(self.queues):
            queue.push(
                student=gather(keys[view]),
                teacher=all_taught[view],
                ids=all_ids[view],
                labels=all_labels,
            )
        if self.bank.ready:
            self.bank.update(torch.cat(all_taught), torch.cat(all_ids))


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
