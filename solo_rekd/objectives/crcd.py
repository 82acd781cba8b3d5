"""CRCD, Complementary Relation Contrastive Distillation (arXiv 2103.16367).

From the paper: relations to anchors, contrasted between student and teacher, and the gradients of
the task as a second element. Because the paper learns from labels, InfoNCE as the task of both
networks and a queue as their memory are ours. Student and teacher see the same view.
"""

from typing import Any

import torch
from torch import Tensor, nn

from solo_rekd.config import CrcdConfig
from solo_rekd.losses import (
    cross_entropy_gradient,
    gradient_relation_loss,
    info_nce_gradient,
    known_cross_entropy,
    relation_difference_loss,
    symmetric_info_nce_loss,
)
from solo_rekd.modules.queue import KeyQueue, random_keys
from solo_rekd.objectives.distillation import (
    Batch,
    DistillationObjective,
    HostRun,
    classifier_group,
)
from solo_rekd.utils.processes import count_over_processes


class CRCD(DistillationObjective):
    """Trains the student's relations to the teacher's embeddings, and its gradients, to match."""

    config_class = CrcdConfig
    config: CrcdConfig

    def __init__(self, config: CrcdConfig, run: HostRun) -> None:
        super().__init__(config, run)
        config = self.config
        width = config.proj_output_dim
        size = config.queue_size
        self.queues = self.view_queues(
            student=random_keys(size, width), teacher=random_keys(size, width)
        )
        if config.gradient_task == "labels":
            self.task_classifiers = nn.ModuleDict(
                {network: nn.Linear(width, run.num_classes) for network in ("student", "teacher")}
            )
        self.distilled_epochs = run.max_epochs - round(config.finetune_share * run.max_epochs)

    def learnable_params(self, classifier_lr: float, lr: float) -> list[dict[str, Any]]:
        """Adds the task's classifiers, if any, to `DistillationObjective.learnable_params`."""
        groups = super().learnable_params(classifier_lr, lr)
        if self.config.gradient_task == "labels":
            group = classifier_group("task_classifiers", self.task_classifiers, classifier_lr)
            groups.append(group)
        return groups

    def forward(self, batch: Batch, epoch: int) -> tuple[Tensor, dict[str, Tensor]]:
        """See `DistillationObjective.forward`."""
        queries, keys = self.query(batch), self.key(batch)
        (_, taught), losses, metrics = self.teach(batch)
        if self.config.gradient_task == "labels":
            losses["task_class_loss"] = self.task_class_loss(queries, taught, batch.labels)
        # the queries of a view are contrasted with the other view's keys and queue, as in MoCo
        views = ((0, 1), (1, 0))
        entries = self.entries("student")
        losses["nce_loss"] = symmetric_info_nce_loss(
            queries, keys, entries, self.config.temperature
        )
        loss = sum(losses.values(), start=queries[0].new_zeros(()))
        if epoch < self.distilled_epochs:
            has_task = self.has_task(batch.labels)
            losses["relation_loss"] = torch.stack(
                [self.relation_loss(queries[v], taught[v], self.queues[w]) for v, w in views]
            ).mean()
            losses["gradient_loss"] = torch.stack(
                [
                    gradient_relation_loss(
                        self.task_gradient("student", queries[v], keys[w], w, batch.labels),
                        self.task_gradient("teacher", taught[v], taught[w], w, batch.labels),
                        has_task,
                        None if has_task is None else count_over_processes(has_task),
                    )
                    for v, w in views
                ]
            ).mean()
            loss = loss + self.config.relation_weight * losses["relation_loss"]
            loss = loss + self.config.gradient_weight * losses["gradient_loss"]
        self.push(student=keys, teacher=taught)
        return loss, losses | metrics

    def relation_loss(self, query: Tensor, taught: Tensor, queue: KeyQueue) -> Tensor:
        """Computes the relation contrast of one view, on the newest entries of a queue."""
        newest = queue.newest(self.config.relation_negatives)
        temperature = self.config.relation_temperature
        return relation_difference_loss(
            query,
            taught,
            newest["student"],
            newest["teacher"],
            temperature,
            self.gather(taught),  # the anchors are the images of all processes
            self.place(len(taught)),
        )

    def task_gradient(
        self, network: str, embedding: Tensor, key: Tensor, view: int, labels: Tensor
    ) -> Tensor:
        """Computes the gradient of a network's task with respect to its embedding.

        Args:
            network: student or teacher.
            embedding: shape (B, d).
            key: the same network's embedding of the other view, shape (B, d).
            view: index of the other view.
            labels: shape (B,), -1 for images without one; read if the task uses labels.

        Returns:
            Shape (B, d); meaningless for an image without a label.
        """
        if self.config.gradient_task == "labels":
            weight, bias = self.task_classifiers[network].parameters()
            return cross_entropy_gradient(embedding, labels.clamp(min=0), weight, bias)
        of_student = network == "student"
        temperature = self.config.temperature if of_student else self.config.teacher_temperature
        # a copy, because backward needs the current entries of the queue
        entries = self.queues[view][network].clone()
        return info_nce_gradient(embedding, key, entries, temperature)

    def has_task(self, labels: Tensor) -> Tensor | None:
        """Returns whether each image has a task, (B,); None: all have."""
        return labels >= 0 if self.config.gradient_task == "labels" else None

    def task_class_loss(
        self, queries: list[Tensor], taught: list[Tensor], labels: Tensor
    ) -> Tensor:
        """Trains only the task's classifiers, on both networks' embeddings."""
        twice = labels.repeat(2)
        embeddings = {"student": torch.cat(queries).detach(), "teacher": torch.cat(taught)}
        # a unit embedding is float32 where all weights are bfloat16
        dtype = next(self.task_classifiers.parameters()).dtype
        count = count_over_processes(twice >= 0)
        losses = [
            known_cross_entropy(self.task_classifiers[name](embedding.to(dtype)), twice, count)
            for name, embedding in embeddings.items()
        ]
        return torch.stack(losses).sum()
