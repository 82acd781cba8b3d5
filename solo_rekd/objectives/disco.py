"""DisCo, Distilled Contrastive Learning (arXiv 2104.09124).

InfoNCE of MoCo v2 on the student's queue, and the student's embedding of a view drawn to the
teacher's of the same view. The wide head of the student, against the paper's distilling bottleneck,
is the default of `proj_hidden_dim`.
"""

from torch import Tensor

from solo_rekd.config import DiscoConfig
from solo_rekd.errors import refuse
from solo_rekd.losses import consistency_loss, info_nce_loss
from solo_rekd.objectives.distillation import Batch, DistillationObjective
from solo_rekd.queue import KeyQueue, gather, random_keys


class DisCo(DistillationObjective):
    """The student's query meets its own key, and its teacher's embedding."""

    config_class = DiscoConfig
    config: DiscoConfig
    queues: "list[KeyQueue]"

    def __init__(
        self,
        config: DiscoConfig,
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
        self.queues = self.view_queues(student=random_keys(config.queue_size, width))

    def forward(self, batch: Batch, epoch: int) -> tuple[Tensor, dict[str, Tensor]]:
        """See `DistillationObjective.forward`."""
        queries, keys = self.embed(batch.features, batch.momentum_features)
        taught, losses, metrics = self.teach(batch, self.queues)
        loss = sum(losses.values(), start=queries[0].new_zeros(()))

        entries = [queue["student"] for queue in self.queues]
        temperature = self.config.temperature
        losses["nce_loss"] = (
            info_nce_loss(queries[0], keys[1], entries[1], temperature)
            + info_nce_loss(queries[1], keys[0], entries[0], temperature)
        ) / 2
        # the online student in both terms, each with the teacher on its own view
        losses["consistency_loss"] = consistency_loss(
            queries[0], taught.embeddings[0]
        ) + consistency_loss(queries[1], taught.embeddings[1])
        loss = loss + losses["nce_loss"]
        loss = loss + self.config.consistency_weight * losses["consistency_loss"]

        for view, queue in enumerate(self.queues):
            fields = {"student": keys[view], "teacher": taught.embeddings[view]}
            queue.push(**{name: gather(fields[name]) for name in queue.names})
        return loss, losses | metrics
