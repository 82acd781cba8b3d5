"""CompRess, Compressing Representations (arXiv 2010.14713).

Student and teacher see the same view, and have no projector: they are compared in their normalised
pooled features. The student's similarities to a memory match the teacher's. In variant 2q each has
a memory of its own features, index-aligned, the student's from its momentum twin. In variant 1q
both use the teacher's memory, the student through a linear layer.
"""

import torch
from torch import Tensor, nn
from torch.nn.functional import normalize

from solo_rekd.config import CompressConfig
from solo_rekd.losses import similarity_distillation
from solo_rekd.modules.queue import KeyQueue, random_keys
from solo_rekd.objectives.distillation import FLOOR, Batch, DistillationObjective, HostRun
from solo_rekd.teachers import OnlineTeacher


class CompRess(DistillationObjective):
    """Trains the student's features to have the same neighbours as the teacher's."""

    config_class = CompressConfig
    config: CompressConfig

    def __init__(self, config: CompressConfig, run: HostRun) -> None:
        super().__init__(config, run)
        config = self.config
        teacher_dim = self.teacher.num_features
        fields = {"teacher": random_keys(config.queue_size, teacher_dim)}
        if config.variant == "1q":
            self.set_projector(nn.Linear(run.features_dim, teacher_dim))
        else:
            self.set_projector(nn.Identity())
            fields["student"] = random_keys(config.queue_size, run.features_dim)
        # one memory for both views: at the paper's length and widths it takes 1.3 GB
        self.memory = KeyQueue(**fields)
        # an online teacher is still trained in the space of its projector
        online = isinstance(self.teacher, OnlineTeacher)
        self.queues = self.view_queues() if online else []

    def forward(self, batch: Batch, epoch: int) -> tuple[Tensor, dict[str, Tensor]]:
        """See `DistillationObjective.forward`."""
        queries = self.query(batch)
        taught, losses, metrics = self.teach(batch)
        # half precision would blur the neighbours
        features = torch.cat(taught.features).to(self.memory["teacher"].dtype)
        features = normalize(features, dim=1)
        dictionary = "teacher" if self.config.variant == "1q" else "student"
        losses["similarity_loss"], metrics[FLOOR] = similarity_distillation(
            torch.cat(queries),
            self.memory[dictionary],
            features,
            self.memory["teacher"],
            temperature=self.config.temperature,
            teacher_temperature=self.config.target_temperature,
        )
        loss = sum(losses.values(), start=queries[0].new_zeros(()))
        fields = {"teacher": features.chunk(len(queries))}
        if self.config.variant == "2q":
            fields["student"] = tuple(self.key(batch))
        # view by view: their order is not to depend on the number of processes
        self.memory.push(
            **{name: torch.cat([*map(self.gather, views)]) for name, views in fields.items()}
        )
        self.push(teacher=taught.embeddings)
        return loss, losses | metrics
