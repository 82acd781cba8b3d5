"""What every objective has: the student's head, a teacher, and the teacher's own training."""

from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, normalize

from solo_rekd.config import DistillationConfig
from solo_rekd.losses import info_nce_loss
from solo_rekd.teachers import OnlineTeacher, build_teacher, two_layer_projector


class DistillationObjective(nn.Module):
    """A student's head and a teacher; subclasses turn two views into named losses.

    Args:
        config: the settings of the run.
        features_dim: width of the student's pooled features.
        num_classes: classes of the labels, for the teacher's online accuracy.
        img_size: side of the training crops in pixels, which decides the teacher's stem.
    """

    config_class: ClassVar[type[DistillationConfig]]

    def __init__(
        self, config: DistillationConfig, features_dim: int, num_classes: int, img_size: int
    ) -> None:
        super().__init__()
        self.config = config
        self.projector = two_layer_projector(
            features_dim, config.proj_hidden_dim, config.proj_output_dim
        )
        self.momentum_projector = two_layer_projector(
            features_dim, config.proj_hidden_dim, config.proj_output_dim
        )
        self.momentum_projector.load_state_dict(self.projector.state_dict())
        self.momentum_projector.requires_grad_(False)
        self.teacher = build_teacher(config, img_size)
        # the host's probe learning rate suits features of unit variance, not those of any teacher
        self.teacher_classifier = nn.Sequential(
            nn.BatchNorm1d(self.teacher.num_features, affine=False),
            nn.Linear(self.teacher.num_features, num_classes),
        )

    def learnable_params(self, classifier_lr: float) -> list[dict[str, Any]]:
        """Parameter groups for the optimiser; a frozen teacher has none."""
        groups = [{"name": "projector", "params": list(self.projector.parameters())}]
        if isinstance(self.teacher, OnlineTeacher):
            trained = [p for p in self.teacher.parameters() if p.requires_grad]
            groups.append({"name": "teacher", "params": trained})
        probe: dict[str, Any] = {
            "name": "teacher_classifier",
            "params": list(self.teacher_classifier.parameters()),
            "lr": classifier_lr,
            "weight_decay": 0,
        }
        return [*groups, probe]

    @property
    def momentum_pairs(self) -> list[tuple[nn.Module, nn.Module]]:
        """Pairs (network, its momentum twin) which the host averages after each step."""
        pairs: list[tuple[nn.Module, nn.Module]] = [(self.projector, self.momentum_projector)]
        if isinstance(self.teacher, OnlineTeacher):
            pairs += self.teacher.momentum_pairs
        return pairs

    def embed(
        self, features: list[Tensor], momentum_features: list[Tensor]
    ) -> tuple[list[Tensor], list[Tensor]]:
        """Projects the student's features to unit queries and, without gradient, unit keys."""
        queries = [normalize(self.projector(view), dim=1) for view in features]
        with torch.no_grad():
            keys = [normalize(self.momentum_projector(view), dim=1) for view in momentum_features]
        return queries, keys

    def teach(
        self, images: list[Tensor], labels: Tensor, queues: list[Tensor]
    ) -> tuple[list[Tensor], dict[str, Tensor], dict[str, Tensor]]:
        """Runs the teacher on both views; an online one also gets its InfoNCE.

        Args:
            images: two views, each of shape (B, 3, H, W).
            labels: shape (B,), -1 where there is none.
            queues: for each view a queue of teacher embeddings, shape (K, d), which the online
                teacher's queries of the other view are contrasted with.

        Returns:
            The teacher's unit embeddings of each view, shape (B, d) without gradient, its losses,
            and its metrics.
        """
        losses: dict[str, Tensor] = {}
        if isinstance(self.teacher, OnlineTeacher):
            features, queries = zip(*(self.teacher.query(view) for view in images), strict=True)
            embeddings = tuple(self.teacher.key(view) for view in images)
            temperature = self.config.teacher_temperature
            losses["teacher_nce_loss"] = (
                info_nce_loss(queries[0], embeddings[1], queues[1], temperature)
                + info_nce_loss(queries[1], embeddings[0], queues[0], temperature)
            ) / 2
        else:
            features, embeddings = zip(*(self.teacher(view) for view in images), strict=True)
        logits = self.teacher_classifier(torch.cat(features).detach())
        twice = labels.repeat(len(images))
        known = (twice >= 0).sum().clamp(min=1)
        # 0 without labels, so that DDP finds a gradient for every parameter on every rank
        class_loss = cross_entropy(logits, twice, ignore_index=-1, reduction="sum") / known
        losses["teacher_class_loss"] = class_loss
        metrics = {"teacher_acc1": 100 * (logits.argmax(1) == twice).sum() / known}
        return list(embeddings), losses, metrics

    def forward(
        self,
        images: list[Tensor],
        features: list[Tensor],
        momentum_features: list[Tensor],
        labels: Tensor,
        epoch: int,
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Computes the training loss of one batch.

        Args:
            images: two views, each of shape (B, 3, H, W).
            features: the student's features of each view, shape (B, f).
            momentum_features: those of its momentum twin.
            labels: shape (B,), -1 where there is none; they never reach the student.
            epoch: epochs completed so far.

        Returns:
            The loss, a scalar, and what to log: every loss part and metric by name.
        """
        raise NotImplementedError
