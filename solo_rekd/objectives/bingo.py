"""BINGO, Bag of Instances Aggregation (arXiv 2107.01691).

A frozen teacher finds each training image's bag, the k images most similar to it, once. The
student's query is then contrasted with the teacher's embeddings of its own image (intra-sample) and
of its bag's members (inter-sample), against a queue of teacher embeddings.

The paper's code draws one member per step, augments it, and runs both networks on it; a host's
loader gives views of one image only. Here the members' embeddings are those of the images without
augmentation, computed along with the bags, and the mean over the whole bag replaces the draw.
"""

from collections.abc import Callable

import torch
from torch import Tensor
from torch.utils.data import DataLoader

from solo_rekd.config import BingoConfig
from solo_rekd.lengths import Training
from solo_rekd.losses import bag_contrast_loss, bag_floor
from solo_rekd.modules.queue import random_keys
from solo_rekd.objectives.bags import Bags, find_bags
from solo_rekd.objectives.distillation import FLOOR, Batch, DistillationObjective, HostRun
from solo_rekd.objectives.teacher_cache import cache_folder
from solo_rekd.teachers import FrozenTeacher


class BINGO(DistillationObjective):
    """Contrasts the student's query with the teacher's embeddings of the image and its bag."""

    config_class = BingoConfig
    config: BingoConfig
    teacher: FrozenTeacher
    bags: Bags  # not a buffer, which DDP would broadcast and checkpoints would hold

    def __init__(self, config: BingoConfig, run: HostRun) -> None:
        super().__init__(config, run)
        config = self.config
        width = config.proj_output_dim
        self.queues = self.view_queues(teacher=random_keys(config.queue_size, width))

    def before_training(
        self, training_images: Callable[..., DataLoader], training: Training
    ) -> None:
        """Finds the bags, or reads them from the cache."""
        super().before_training(training_images, training)
        self.bags = find_bags(
            self.teacher,
            self.config.teacher_stem,
            training_images(),
            size=self.config.bag_size,
            folder=cache_folder(self.config.teacher_cache),
            device=self.queues[0]["teacher"].device,
        )

    def forward(self, batch: Batch, epoch: int) -> tuple[Tensor, dict[str, Tensor]]:
        """See `DistillationObjective.forward`."""
        queries = self.query(batch)
        taught, losses, metrics = self.teach(batch)
        places = batch.indexes.to(self.bags.members.device, non_blocking=True)
        own = self.mix(batch, self.bags.embeddings[places])
        # the members of the same rank in both bags
        members = self.mix(batch, self.bags.embeddings[self.bags.members[places]])

        parts, floors = [], []
        for query, embeddings, queue in (
            (queries[0], taught.embeddings[1], self.queues[1]),
            (queries[1], taught.embeddings[0], self.queues[0]),
        ):
            positives = torch.cat([embeddings[:, None], members], dim=1)
            entries, temperature = queue["teacher"], self.config.temperature
            parts.append(bag_contrast_loss(query, positives, entries, temperature))
            # the image itself counts as much as its whole bag; the loss is their sum
            middle = (embeddings + members.mean(1)) / 2
            floors.append(2 * bag_floor(middle, entries, temperature).mean())
        by_positive = torch.stack(parts)
        losses["intra_loss"] = by_positive[:, 0].mean()
        losses["inter_loss"] = by_positive[:, 1:].mean()
        loss = sum(losses.values(), start=queries[0].new_zeros(()))

        metrics[FLOOR] = torch.stack(floors).mean()
        views = torch.stack(taught.embeddings)
        metrics["own_similarity"] = (views * own).sum(-1).mean()
        metrics["bag_similarity"] = (views[:, :, None] * members).sum(-1).mean()
        self.push(teacher=taught.embeddings)
        return loss, losses | metrics
