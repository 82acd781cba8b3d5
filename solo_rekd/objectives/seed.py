"""SEED, Self-supervised Distillation (arXiv 2101.04731).

Student and teacher see the same view. The student's similarities to the teacher's embedding of the
image and to a queue of teacher embeddings are trained to match the teacher's. The paper uses one
view per image; here each of the host's two views is a sample of its own.
"""

import torch
from torch import Tensor

from solo_rekd.config import SeedConfig
from solo_rekd.losses import similarity_distillation
from solo_rekd.modules.queue import random_keys
from solo_rekd.objectives.distillation import FLOOR, Batch, DistillationObjective, HostRun


class SEED(DistillationObjective):
    """Trains the student's similarities to the teacher's dictionary to match the teacher's."""

    config_class = SeedConfig
    config: SeedConfig

    def __init__(self, config: SeedConfig, run: HostRun) -> None:
        super().__init__(config, run)
        config = self.config
        width = config.proj_output_dim
        self.queues = self.view_queues(teacher=random_keys(config.queue_size, width))

    def forward(self, batch: Batch, epoch: int) -> tuple[Tensor, dict[str, Tensor]]:
        """See `DistillationObjective.forward`."""
        queries = self.query(batch)
        taught, losses, metrics = self.teach(batch)
        first = self.config.queue_first == "on"
        if first:
            self.push(teacher=taught.embeddings)
        parts = []
        for view, (query, embeddings) in enumerate(zip(queries, taught.embeddings, strict=True)):
            dictionary = self.dictionary(view, embeddings)
            part = similarity_distillation(
                query,
                dictionary,
                embeddings,
                dictionary,
                temperature=self.config.temperature,
                teacher_temperature=self.config.target_temperature,
                own=None if first else embeddings,  # already in the dictionary
            )
            parts.append(part)
        values, floors = zip(*parts, strict=True)
        losses["similarity_loss"] = torch.stack(values).mean()
        metrics[FLOOR] = torch.stack(floors).mean()
        loss = sum(losses.values(), start=queries[0].new_zeros(()))
        if not first:
            self.push(teacher=taught.embeddings)
        return loss, losses | metrics

    def dictionary(self, view: int, embeddings: Tensor) -> Tensor:
        """Returns the teacher's embeddings that a view is compared with, (K, d).

        Args:
            view: 0 or 1.
            embeddings: the teacher's embeddings of the batch, shape (B, d).
        """
        queue = self.queues[view]
        if self.config.queue_first == "on" and self.whole_batch(len(embeddings)) > queue.size:
            # the queue keeps only a part, but each query needs its own
            return self.gather(embeddings)
        return queue["teacher"]
