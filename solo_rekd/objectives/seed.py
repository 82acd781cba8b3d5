"""SEED, Self-supervised Distillation (arXiv 2101.04731).

Student and teacher see the same view. The student's similarities to the teacher's embedding of the
image and to a queue of teacher embeddings match the teacher's own. The paper takes one view an
image; here each of the host's two is a sample of its own.
"""

import torch
from torch import Tensor

from solo_rekd.config import SeedConfig
from solo_rekd.errors import refuse
from solo_rekd.losses import similarity_distillation_loss
from solo_rekd.objectives.distillation import Batch, DistillationObjective
from solo_rekd.queue import KeyQueue, gather, random_keys


class SEED(DistillationObjective):
    """The student's query finds in the teacher's dictionary what the teacher finds there."""

    config_class = SeedConfig
    config: SeedConfig
    queues: "list[KeyQueue]"

    def __init__(
        self,
        config: SeedConfig,
        features_dim: int,
        num_classes: int,
        img_size: int,
        max_epochs: int,
    ) -> None:
        super().__init__(config, features_dim, num_classes, img_size, max_epochs)
        width = self.teacher.embedding_dim
        if width != config.proj_output_dim:
            raise refuse(
                "proj_output_dim", config.proj_output_dim, f"{width}, the teacher's embedding"
            )
        self.queues = self.view_queues(teacher=random_keys(config.queue_size, width))

    def forward(self, batch: Batch, epoch: int) -> tuple[Tensor, dict[str, Tensor]]:
        """See `DistillationObjective.forward`."""
        queries, _ = self.embed(batch.features, batch.momentum_features)
        taught, losses, metrics = self.teach(batch, self.queues)
        parts = [
            similarity_distillation_loss(
                query,
                queue["teacher"],
                embeddings,
                queue["teacher"],
                temperature=self.config.temperature,
                teacher_temperature=self.config.target_temperature,
                own=embeddings,
            )
            for query, embeddings, queue in zip(
                queries, taught.embeddings, self.queues, strict=True
            )
        ]
        losses["similarity_loss"] = torch.stack(parts).mean()
        loss = sum(losses.values(), start=queries[0].new_zeros(()))
        for embeddings, queue in zip(taught.embeddings, self.queues, strict=True):
            queue.push(teacher=gather(embeddings))
        return loss, losses | metrics
