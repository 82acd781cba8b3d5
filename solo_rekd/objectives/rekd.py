"""ReKD, Relation Knowledge Distillation (arXiv 2112.04174).

From the paper: a heterogeneous, jointly trained teacher, a relation miner with a dynamic bank of
semantic prototypes, and the mined relation in place of labels in a contrastive loss. The paper's
code was never released, so these are ours: the bank's update rule, all constants, the choice of
dictionary, the share kept for the image's own key, the warm-up, and a relation of whole images.
"""

import logging
import math
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import normalize
from torch.utils.data import DataLoader

from solo_rekd.config import IMAGE, RekdConfig
from solo_rekd.images.labels import labels_of
from solo_rekd.lengths import Training
from solo_rekd.losses import (
    contrast_floor,
    info_nce_loss,
    relation_target,
    symmetric_info_nce_loss,
    target_contrast_loss,
)
from solo_rekd.losses.contrast import count_members
from solo_rekd.modules.prototypes import PrototypeBank, soft_assign
from solo_rekd.modules.queue import KeyQueue, random_keys
from solo_rekd.objectives.distillation import FLOOR, Batch, DistillationObjective, HostRun
from solo_rekd.objectives.image_relation import (
    ImageRelation,
    Known,
    embed_online,
    mine,
    random_groups,
    read_labels,
)
from solo_rekd.objectives.taught_images import find_taught
from solo_rekd.objectives.teacher_cache import cache_folder
from solo_rekd.teachers import FrozenTeacher, OnlineTeacher
from solo_rekd.utils.heartbeat import watched

_log = logging.getLogger("solo_rekd")


class Related(NamedTuple):
    """The relatives of a batch.

    Attributes:
        ids: prototypes of the images, shape (B,).
        shares: soft assignments, shape (B, C); None where they are hard.
        means: mean of the relatives' teacher embeddings, shape (B, d), 0 for images without
            relatives; None for a relation among views.
        found: 1 for images with relatives, else 0, shape (B, 1); with `mixup` also between.
        share: share of the relatives' target weight that the schedule leaves, in [0, 1].
    """

    ids: Tensor
    shares: Tensor | None
    means: Tensor | None
    found: Tensor | None
    share: float


class ReKD(DistillationObjective):
    """Contrasts the student's query with its own key and with its relatives by the teacher."""

    config_class = RekdConfig
    config: RekdConfig
    # not a buffer, like `taught_images`; None until it is mined, and for `relation_view=views`
    relation: ImageRelation | None = None

    def __init__(self, config: RekdConfig, run: HostRun) -> None:
        super().__init__(config, run)
        config = self.config
        teacher_dim = self.teacher.embedding_dim
        size = config.queue_size
        # One queue per view: the keys of view 2 are compared with the queries of view 1.
        keys = {}
        if config.reads_momentum:
            keys["student"] = random_keys(size, config.proj_output_dim)
        self.queues = self.view_queues(
            **keys,
            teacher=random_keys(size, teacher_dim),
            ids=torch.full((size,), -1),
            labels=torch.full((size,), -1),
        )
        # with a relation of whole images, the number follows from mining
        number = 1 if config.of_images else config.num_prototypes
        self.groups = run.num_classes if config.relation == "labels" else number
        self.warmup_epochs = 0 if self.teacher.pretrained else config.teacher_warmup_epochs
        self.labelled: bool | None = (
            None  # whether the queues have labels; unknown until the relation counts
        )
        # A prototype is re-seeded once the queues have been renewed without it, so that none of
        # their entries can carry its id.
        self.bank = PrototypeBank(number, teacher_dim, config.prototype_momentum, patience=size)

    def before_training(
        self, training_images: Callable[..., DataLoader], training: Training
    ) -> None:
        """Relates the images, and warns of a run that ends before its relation counts."""
        super().before_training(training_images, training)
        if self.config.of_images and isinstance(self.teacher, FrozenTeacher):
            images = training_images()
            self.relate_images(images, self.embed_images(images))
        filling = self.config.queue_size // max(1, training.batch * training.steps)
        if self.config.of_images and self.config.dictionary == "teacher":
            filling = 0  # relatives need not be in the queue
        idle = max(self.warmup_epochs, filling)
        if idle >= self.run.max_epochs:
            _log.warning(
                "the relation will not count in this run of rekd: it has %d epochs, and queues and "
                "teacher are ready after %d (lower queue_size or teacher_warmup_epochs, or auto)",
                self.run.max_epochs,
                idle,
            )

    def forward(self, batch: Batch, epoch: int) -> tuple[Tensor, dict[str, Tensor]]:
        """See `DistillationObjective.forward`."""
        queries = self.query(batch)
        (_, taught), losses, metrics = self.teach(batch)
        teacher_keys = taught[::-1] if self.config.teacher_view == "other" else taught
        # without a twin, the teacher's embeddings are the only keys, from the first step on
        own = "student" if self.config.reads_momentum else "teacher"
        keys = self.key(batch) if own == "student" else teacher_keys[::-1]
        images = merge_views(taught)
        ready = self.is_ready(epoch)
        known = None if self.relation is None else self.relation.look_up(batch.indexes, images)
        ids = self.relatives(images, batch, known)

        loss = sum(losses.values(), start=queries[0].new_zeros(()))
        share = self.config.relation_weight if ready else 0
        floors = []
        if share < 1:
            losses["nce_loss"] = symmetric_info_nce_loss(
                queries, keys, self.entries(own), self.config.temperature
            )
            loss = loss + (1 - share) * losses["nce_loss"]
            if own == "teacher":
                of_nce = [self.floor(view, keys[view], keys[view]) for view in (0, 1)]
                floors += [(1 - share) * floor for floor in of_nce]
        if share > 0:
            related = self.related(images, ids, batch, known, epoch)
            first, floor = self.relation_loss(queries[0], keys[1], teacher_keys[0], related, 1)
            second, other = self.relation_loss(queries[1], keys[0], teacher_keys[1], related, 0)
            losses["relation_loss"] = (first + second) / 2
            floors += [share * floor, share * other]
            loss = loss + share * losses["relation_loss"]
            metrics |= self.relation_metrics(ids, batch)
        if own == "teacher":
            metrics[FLOOR] = torch.stack(floors).sum() / 2
        self.remember(keys, taught, ids, batch.labels)
        return loss, losses | metrics

    @property
    def possible_prototypes(self) -> int:
        """See `DistillationObjective`; the groups of a control are given, not found."""
        found = self.config.relation == "prototypes"
        return min(self.groups, self.config.queue_size) if found else 0

    def is_ready(self, epoch: int) -> bool:
        """Returns whether the relation counts; a bank of views is started when it first does."""
        warm = epoch >= self.warmup_epochs
        if self.config.of_images:
            full = self.config.dictionary == "teacher" or all(q.full for q in self.queues)
            return warm and full and self.relation is not None
        mined = self.config.relation == "prototypes"
        if mined and self.bank.ready:
            return True
        ready = warm and all(queue.full for queue in self.queues)
        if ready and mined:
            self.start_bank()
        return ready

    def embed_images(self, images: DataLoader) -> Tensor:
        """Returns a frozen teacher's embedding of each whole image, (N, d), cached if possible."""
        if self.config.teacher_view == IMAGE and self.config.teacher_image_views < 2:
            return self.taught_images.embeddings
        folder = cache_folder(self.config.teacher_cache)
        stem = self.config.teacher_stem
        return find_taught(self.teacher, stem, images, 0, 0, folder).embeddings  # type: ignore[arg-type]

    def relate_images(self, images: DataLoader, embeddings: Tensor) -> None:
        """Relates the whole images, by their embeddings, shape (N, d)."""
        asks = self.config.relation == "labels"
        labels = read_labels(images) if asks else labels_of(images.dataset)
        device = self.queues[0]["teacher"].device
        self.relation = mine(embeddings, self.config, labels, device)
        self.groups = max(1, self.relation.groups)
        self.watch.judge({"related_images": float(self.relation.relatives.found.float().mean())})

    def before_epoch(self, training_images: Callable[..., DataLoader], epoch: int) -> None:
        """Relates the images again where the teacher has changed."""
        config = self.config
        if not config.of_images or not isinstance(self.teacher, OnlineTeacher):
            return
        due = self.relation is None or epoch % config.relation_refresh == 0
        if epoch >= self.warmup_epochs and due:
            with watched():  # each process waits for the others' embeddings
                images = training_images()
                found = embed_online(self.teacher, images)
            self.relate_images(images, found)

    def relatives(self, images: Tensor, batch: Batch, known: Known | None) -> Tensor:
        """Returns the group of each image: its prototype, or for the controls a label or random."""
        if self.config.relation == "labels":
            return batch.labels
        if known is not None:
            return known.ids
        if self.config.relation == "random":
            places = batch.indexes.to(images.device, non_blocking=True)
            return random_groups(places, self.groups)
        return self.bank.assign(images)

    def related(
        self, images: Tensor, ids: Tensor, batch: Batch, known: Known | None, epoch: int
    ) -> "Related":
        """Returns the images' relatives, for the loss."""
        falls = self.config.relation_schedule == "falling"
        share = (1 + math.cos(math.pi * epoch / self.run.max_epochs)) / 2 if falls else 1.0
        means = found = None
        if known is not None:
            means = self.mix(batch, known.means, unit=False)
            found = self.mix(batch, known.found, unit=False)
        return Related(ids, self.soft_relatives(images), means, found, share)

    def relation_metrics(self, ids: Tensor, batch: Batch) -> dict[str, Tensor]:
        """Measures the relation: see the function of that name."""
        if self.labelled is None:  # checked once per run: the queue is the same on every rank
            seen = (self.queues[1]["labels"] >= 0).any() | (batch.labels >= 0).any()
            self.labelled = bool(seen)
        if self.relation is not None and self.config.dictionary == "teacher":
            device = batch.labels.device
            purity = self.relation.purity(batch.indexes, device) if self.labelled else None
            return {} if purity is None else {"relation_purity": purity}
        labels = batch.labels if self.labelled else None
        return relation_metrics(ids, labels, self.queues[1], self.groups, self.run.num_classes)

    def soft_relatives(self, images: Tensor) -> Tensor | None:
        """Returns the soft assignment of each image, (B, C); None where assignment is hard."""
        temperature = self.config.assignment_temperature
        return soft_assign(self.bank.prototypes, images, temperature) if temperature else None

    def floor(self, view: int, key: Tensor, target: Tensor) -> Tensor:
        """Returns a lower bound of the contrast with the teacher's keys of a view, a scalar.

        Args:
            view: view of the queue.
            key: the teacher's key of each query, shape (B, d).
            target: mean of the keys under the target's weights, shape (B, d).
        """
        entries = self.queues[view]["teacher"]
        return contrast_floor(key, entries, target, self.config.temperature).mean()

    def relation_loss(
        self, query: Tensor, key: Tensor, teacher_key: Tensor, related: "Related", view: int
    ) -> tuple[Tensor, Tensor]:
        """Computes the relation contrast on the chosen dictionary of a view, and its floor.

        The floor is the mean entropy of the target's weights, or `contrast_floor` if that is
        higher. Relatives of whole images need not be in the dictionary: then it is
        `contrast_floor` alone. With the student's dictionary it is 0, and not used.

        With both dictionaries, the loss is the mean of that on the student's and of plain InfoNCE
        on the teacher's, which shows already who is near whom: there, a relation among views adds
        nothing (docs/benchmarks-earlier.md).
        """
        temperature, own_weight = self.config.temperature, self.config.own_weight
        queue = self.queues[view]
        on_teacher = self.config.dictionary == "teacher"
        if on_teacher and related.means is not None and related.found is not None:
            weight = related.share * (1 - float(own_weight))
            target = teacher_key * (1 - weight * related.found) + weight * related.means
            loss = target_contrast_loss(query, teacher_key, queue["teacher"], target, temperature)
            return loss, self.floor(view, teacher_key, target)
        if related.share < 1:
            own_weight = 1 - related.share * (1 - float(own_weight))
        own, entries = (teacher_key, queue["teacher"]) if on_teacher else (key, queue["student"])
        target, entropy = relation_target(
            own, entries, related.ids, queue["ids"], self.groups, own_weight, related.shares
        )
        loss = target_contrast_loss(query, own, entries, target, temperature)
        if on_teacher:
            bound = contrast_floor(own, entries, target, temperature)
            return loss, torch.maximum(entropy, bound).mean()
        if self.config.dictionary == "both":
            plain = info_nce_loss(query, teacher_key, queue["teacher"], temperature)
            loss = (loss + plain) / 2
        return loss, entropy.new_zeros(())

    def start_bank(self) -> None:
        """Starts the bank on the first full queues, whose entries it assigns."""
        images = merge_views([queue["teacher"] for queue in self.queues])
        self.bank.start(images)
        for queue in self.queues:
            queue["ids"].copy_(self.bank.assign(images))
        _log.info(
            "the bank of %d prototypes is started: relations count from now on",
            len(self.bank.prototypes),
        )

    @torch.no_grad()
    def remember(
        self, keys: list[Tensor], taught: list[Tensor], ids: Tensor, labels: Tensor
    ) -> None:
        """Pushes the global batch into the queues and moves the prototypes towards it."""
        all_ids, all_labels = self.gather(ids), self.gather(labels)
        all_taught = [self.gather(embeddings) for embeddings in taught]
        for view, queue in enumerate(self.queues):
            own = {"student": self.gather(keys[view])} if self.config.reads_momentum else {}
            queue.push(**own, teacher=all_taught[view], ids=all_ids, labels=all_labels)
        if self.bank.ready:
            self.bank.update(merge_views(all_taught), all_ids)


def merge_views(embeddings: list[Tensor]) -> Tensor:
    """Sums an image's two views to one unit vector, 2 of (B, d) to (B, d), to mine the relation.

    Two crops show more of an image than one, so the groups of their sum are purer.
    """
    return normalize(embeddings[0] + embeddings[1], dim=1)


@torch.no_grad()
def relation_metrics(
    ids: Tensor, labels: Tensor | None, queue: KeyQueue, num_prototypes: int, num_classes: int
) -> dict[str, Tensor]:
    """Measures the relation, without a table of prototypes by classes, which can be large.

    Args:
        ids: the queries' prototypes, shape (B,).
        labels: the queries' classes, shape (B,), -1 where unknown; None: none is known.
        queue: queue with the fields `ids` and `labels`, shape (K,).
        num_prototypes: size of the bank.
        num_classes: number of classes.

    Returns:
        positives_per_query: mean number of queue entries that share a query's prototype.
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
    if labels is None:
        return metrics
    known_entries = (queue["labels"] >= 0) & (queue["ids"] >= 0)
    of_known = count_members(queue["ids"].where(known_entries, -1), num_prototypes)
    positives = of_known[ids + 1].where(labels >= 0, 0).sum()
    # a query and an entry get the same number if prototype and class are the same
    cells = (ids * num_classes + labels).where((labels >= 0) & (ids >= 0), -2)
    entries = (queue["ids"] * num_classes + queue["labels"]).where(known_entries, -1)
    entries = entries.sort().values
    same = torch.searchsorted(entries, cells, right=True) - torch.searchsorted(entries, cells)
    metrics["relation_purity"] = same.sum() / positives.clamp(min=1)
    return metrics
