"""DisCo, Distilled Contrastive Learning (arXiv 2104.09124).

InfoNCE of MoCo v2 on the student's queue, plus the distance of the student's embedding of a view
to the teacher's of the same view. The student's wide projector, which avoids the paper's distilling
bottleneck, is the default of `proj_hidden_dim`.
"""

from torch import Tensor

from solo_rekd.config import DiscoConfig
from solo_rekd.losses import consistency_loss, symmetric_info_nce_loss
from solo_rekd.modules.queue import random_keys
from solo_rekd.objectives.distillation import Batch, DistillationObjective, HostRun


class DisCo(DistillationObjective):
    """Contrasts the student's query with its own key, and regresses the teacher's embedding."""

    config_class = DiscoConfig
    config: DiscoConfig

    def __init__(self, config: DiscoConfig, run: HostRun) -> None:
        super().__init__(config, run)
        config = self.config
        width = config.proj_output_dim
        self.queues = self.view_queues(student=random_keys(config.queue_size, width))

    def forward(self, batch: Batch, epoch: int) -> tuple[Tensor, dict[str, Tensor]]:
        """See `DistillationObjective.forward`."""
        queries, keys = self.query(batch), self.key(batch)
        taught, losses, metrics = self.teach(batch)
        loss = sum(losses.values(), start=queries[0].new_zeros(()))

        entries = self.entries("student")
        losses["nce_loss"] = symmetric_info_nce_loss(
            queries, keys, entries, self.config.temperature
        )
        # both terms use the online student, each with the teacher on its own view
        losses["consistency_loss"] = consistency_loss(
            queries[0], taught.embeddings[0]
        ) + consistency_loss(queries[1], taught.embeddings[1])
        loss = loss + losses["nce_loss"]
        loss = loss + self.config.consistency_weight * losses["consistency_loss"]

        self.push(student=keys, teacher=taught.embeddings)
        return loss, losses | metrics
