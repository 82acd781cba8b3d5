"""CoSS, Cosine and Space Similarity (arXiv 2409.13939).

Student and teacher see the same view. The student's prediction of the teacher's pooled features is
trained to have the teacher's direction, for each image and for each dimension over a batch. A
batch holds images and some of their nearest neighbours, which a frozen teacher finds once.
"""

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader

from solo_rekd.checkpoints import two_layer_projector
from solo_rekd.config import CossConfig
from solo_rekd.lengths import Training
from solo_rekd.losses import cosine_loss, space_similarity_loss
from solo_rekd.objectives.bags import find_bags
from solo_rekd.objectives.distillation import FLOOR, Batch, Neighbours
from solo_rekd.objectives.feature_regression import FeatureRegression
from solo_rekd.objectives.teacher_cache import cache_folder
from solo_rekd.teachers import FrozenTeacher
from solo_rekd.utils.processes import add_over_processes


class CoSS(FeatureRegression):
    """Trains the student's prediction to have the teacher's direction per image and dimension."""

    config_class = CossConfig
    config: CossConfig

    def make_head(self, in_dim: int, out_dim: int) -> nn.Module:
        """Builds two layers, as for every method here."""
        return two_layer_projector(in_dim, self.config.proj_hidden_dim, out_dim)

    def before_training(
        self, training_images: Callable[..., DataLoader], training: Training
    ) -> None:
        """Finds each image's neighbours, or reads them from the cache."""
        super().before_training(training_images, training)
        config = self.config
        if config.neighbours and isinstance(self.teacher, FrozenTeacher):
            bags = find_bags(
                self.teacher,
                config.teacher_stem,
                training_images(),
                size=config.neighbour_pool,
                folder=cache_folder(config.teacher_cache),
                device=self.teacher.device,
                key="neighbour_pool",
            )
            self.neighbours = Neighbours(bags.members.cpu(), config.neighbours)

    def forward(self, batch: Batch, epoch: int) -> tuple[Tensor, dict[str, Tensor]]:
        """See `DistillationObjective.forward`."""
        predictions = self.predict(batch)
        taught, losses, metrics = self.teach(batch)
        loss = sum(losses.values(), start=predictions[0].new_zeros(()))
        rows = map(cosine_loss, predictions, taught.features)
        columns = [
            space_similarity_loss(prediction, features, add_over_processes)
            for prediction, features in zip(predictions, taught.features, strict=True)
        ]
        losses["cosine_loss"] = torch.stack(list(rows)).mean()
        losses["space_loss"] = torch.stack(columns).mean()
        both = losses["cosine_loss"] + self.config.space_weight * losses["space_loss"]
        # both cosines are 1 where the prediction equals the feature
        least = -self.config.loss_weight * (1 + self.config.space_weight)
        metrics[FLOOR] = torch.full_like(losses["cosine_loss"], least)
        self.push(teacher=taught.embeddings)
        return loss + self.config.loss_weight * both, losses | metrics
