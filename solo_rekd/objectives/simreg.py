"""SimReg, regression on the teacher's features (arXiv 2201.05131).

Student and teacher see the same view. A deep head, discarded after the training, predicts the
teacher's pooled features from the student's. The paper uses one view per image; here each of the
host's two views is a sample of its own.
"""

import torch
from torch import Tensor, nn

from solo_rekd.config import SimregConfig
from solo_rekd.losses import regression_loss
from solo_rekd.objectives.distillation import FLOOR, Batch
from solo_rekd.objectives.feature_regression import FeatureRegression


class SimReg(FeatureRegression):
    """Trains the student's prediction to have the direction of the teacher's features."""

    config_class = SimregConfig
    config: SimregConfig

    def make_head(self, in_dim: int, out_dim: int) -> nn.Module:
        """Builds the paper's four layers, in two pairs without an activation between them."""
        wide = 2 * in_dim
        return nn.Sequential(
            *(nn.Linear(in_dim, wide), nn.BatchNorm1d(wide), nn.ReLU(), nn.Linear(wide, in_dim)),
            *(nn.Linear(in_dim, wide), nn.BatchNorm1d(wide), nn.ReLU(), nn.Linear(wide, out_dim)),
        )

    def forward(self, batch: Batch, epoch: int) -> tuple[Tensor, dict[str, Tensor]]:
        """See `DistillationObjective.forward`."""
        predictions = self.predict(batch)
        taught, losses, metrics = self.teach(batch)
        parts = map(regression_loss, predictions, taught.features)
        losses["regression_loss"] = torch.stack(list(parts)).mean()
        # 0, because the prediction can have the feature's direction
        metrics[FLOOR] = torch.zeros_like(losses["regression_loss"])
        self.push(teacher=taught.embeddings)
        return torch.stack(list(losses.values())).sum(), losses | metrics
