"""The base of objectives that predict a teacher's pooled features, without a dictionary."""

from torch import Tensor, nn

from solo_rekd.config import DistillationConfig
from solo_rekd.lengths import Training
from solo_rekd.objectives.distillation import Batch, DistillationObjective, HostRun
from solo_rekd.teachers import OnlineTeacher


class FeatureRegression(DistillationObjective):
    """A head from the student's features to the teacher's; subclasses compare the two.

    An online teacher's own InfoNCE uses the queues and its projector.
    """

    def __init__(self, config: DistillationConfig, run: HostRun) -> None:
        super().__init__(config, run)
        self.set_projector(self.make_head(run.features_dim, self.teacher.num_features))
        online = isinstance(self.teacher, OnlineTeacher)
        self.queues = self.view_queues() if online else []

    def make_head(self, in_dim: int, out_dim: int) -> nn.Module:
        """Builds the student's head, features (B, in_dim) to predictions (B, out_dim)."""
        raise NotImplementedError

    def predict(self, batch: Batch) -> list[Tensor]:
        """Returns the student's prediction of the teacher's features per view, shape (B, F)."""
        predicted = [self.projector(view) for view in batch.features]
        self.embedded = predicted[0].detach()
        return predicted

    def report_queue(self, training: Training) -> None:
        """Reports the queue of an online teacher; a frozen teacher needs none."""
        if self.queues:
            super().report_queue(training)
