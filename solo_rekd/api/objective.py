"""An objective for a user's own training loop."""

import copy
import functools
import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, Sampler

from solo_rekd.api.images import TrainingImages
from solo_rekd.api.needs import needs_of
from solo_rekd.hosts.shared.neighbour_batches import NeighbourSampler
from solo_rekd.lengths import Training
from solo_rekd.modules.twin import follow, switch_off_noise
from solo_rekd.objectives import Batch, DistillationObjective
from solo_rekd.objectives.mixup import Mixed, draw
from solo_rekd.utils.errors import UserError, refuse
from solo_rekd.utils.processes import numbers_of_processes, world_size

VIEWS = 2
NO_CLASSES = 1  # number of classes where labels are not read


class Objective(nn.Module):
    """The training objective of a student: its projector, a teacher, and a loss.

    A step of a training loop:

        features = [student(view) for view in views]
        loss, logs = objective(images=views, features=features)
        optimizer.zero_grad(); loss.backward(); optimizer.step()
        objective.update_momentum(step / steps)

    Give the optimiser the student's parameters and `param_groups(lr)`. `state_dict()` holds
    everything of the objective that a resumed training needs: projector, queues, prototypes,
    momentum twins, and an online teacher; a frozen teacher stays in its file.

    **Several processes** (`torch.distributed`): every process makes the same objective and has
    images in each step, though perhaps fewer than another: the mean over the processes of loss and
    gradients, which DDP takes, is the mean over all images. Put student and objective into one
    module whose `forward` returns the loss, and wrap that module once:
    `DistributedDataParallel(model, broadcast_buffers=False)`; the queues are already the same in
    every process. Call `update_momentum` on the objective itself, in every process. All processes
    must reach the first step together: before it, an objective may read the training images, which
    the first process does for all.

    Args:
        name: name of the method.
        distillation: the objective that the hosts train with.
        momentum: momentum of the twins at the first and at the last step, in [0, 1].
        images: training images; None: the method does not read them.
        num_images: number of training images; None: not known.

    Attributes:
        needs: arguments that `forward` needs besides images and features, each with the setting
            that needs it, as NAME=VALUE.
        config: the settings, with a number for each `auto`.
    """

    def __init__(
        self,
        name: str,
        distillation: DistillationObjective,
        momentum: tuple[float, float],
        images: TrainingImages | None = None,
        num_images: int | None = None,
    ) -> None:
        super().__init__()
        self.name, self.distillation = name, distillation
        self.needs = needs_of(name, distillation)
        self.config = distillation.config
        self.student_twin: nn.Module | None = None
        self._student: tuple[nn.Module, ...] = ()  # not a submodule: its owner trains and saves it
        self._momentum, self._images, self._num_images = momentum, images, num_images
        self._begun = self._has_sampler = False
        self._epoch: int | None = None
        self._training_images = functools.partial(_load, images, 1)
        self.train()

    def momentum_twin(self, student: nn.Module) -> nn.Module | None:
        """Makes the student's momentum twin, which `update_momentum` updates from then on.

        Call it before the optimiser is made and after the student has its initial weights:

            twin = objective.momentum_twin(student)
            ...
            with torch.no_grad():
                momentum_features = [twin(view) for view in views]

        Args:
            student: images (B, 3, H, W) to features (B, f).

        Returns:
            The twin, a part of this module; None where the settings do not need one.
        """
        if "momentum_features" not in self.needs:
            return None
        self._student = (student,)
        self.student_twin = copy.deepcopy(student).requires_grad_(False)
        self.train(self.training)
        return self.student_twin

    def forward(
        self,
        *,
        images: Sequence[Tensor],
        features: Sequence[Tensor],
        momentum_features: Sequence[Tensor] | None = None,
        labels: Tensor | None = None,
        indexes: Tensor | None = None,
        epoch: int | None = None,
        mixed: Mixed | None = None,
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Computes the loss of a step, and fills the queues.

        Arguments that are None by default are only required where a setting needs them, see
        `needs`.

        Args:
            images: two views, each of shape (B, 3, H, H), normalised; H is `img_size`.
            features: the student's pooled features of each view, shape (B, f), with gradients.
            momentum_features: its momentum twin's features, without gradient.
            labels: shape (B,), -1 for images without one; read if `num_classes` was given.
            indexes: indexes of the images in `training_images`, shape (B,), best on the CPU.
            epoch: epochs completed so far.
            mixed: how the images were mixed, from `mix`.

        Returns:
            The loss, a scalar; and the loss parts and metrics to log by name, without gradient.

        Raises:
            UserError: a ValueError in one line: an argument that a setting needs is missing, or has
                the wrong shape.
        """
        given = {
            "momentum_features": momentum_features,
            "labels": labels,
            "indexes": indexes,
            "epoch": epoch,
            "mixed": mixed,
        }
        for argument, setting in self.needs.items():
            if given[argument] is None:
                raise UserError(f"{argument} is missing: {setting} needs {argument}=...")
        neighbours = getattr(self.config, "neighbours", 0)
        if neighbours and not self._has_sampler:
            raise UserError(
                f"neighbours={neighbours} needs batches in the order of "
                "objective.sampler(...), or neighbours=0"
            )
        number = self._refuse_shapes(images, features, momentum_features)
        if not self._begun:
            self.begin_training(number)
        if epoch is not None and epoch != self._epoch:
            self._epoch = epoch
            self.distillation.before_epoch(self._training_images, epoch)
        batch = Batch(
            [*images],
            [*features],
            [*(momentum_features or [])],
            self._labels(labels, number, images[0].device),
            torch.full((number,), -1) if indexes is None else indexes,
            mixed,
        )
        numbers = numbers_of_processes(number)
        self.distillation.numbers = numbers
        loss, logs = self.distillation(batch, epoch or 0)
        if len({*numbers}) > 1:  # the mean over the processes is to be that over the images
            loss = loss * (number * len(numbers) / sum(numbers))
        return loss, {key: value.detach() for key, value in logs.items()}

    def begin_training(self, batch_size: int) -> None:
        """Reads the training images if the settings need them; otherwise the first step does.

        The teacher runs on its current device, so move the objective there first. Its outputs are
        kept in `teacher_cache` for the next training.

        Args:
            batch_size: images per step of this process.
        """
        self._begun = True
        if self._num_images is None:
            return
        self._training_images = functools.partial(_load, self._images, batch_size)
        batch = batch_size * world_size()
        steps = self._num_images // batch
        training = Training(self._num_images, batch, steps, self.distillation.run.max_epochs)
        self.distillation.before_training(self._training_images, training)

    def sampler(self, sampler: Sampler[int], batch_size: int) -> Sampler[int]:
        """Makes a sampler for batches of images and their nearest neighbours, as `coss` uses them.

        Use it as `DataLoader(..., sampler=objective.sampler(sampler, B), batch_size=B)`.

        Args:
            sampler: the loop's sampler, which chooses the images whose neighbours are drawn; with
                several processes, each process's part.
            batch_size: B, images per step of this process.

        Returns:
            A sampler of the same length; the given one where the settings use no neighbours.
        """
        self._has_sampler = True
        if not self._begun:
            self.begin_training(batch_size)
        neighbours = self.distillation.neighbours
        return sampler if neighbours is None else NeighbourSampler(sampler, batch_size, neighbours)

    def mix(self, images: Sequence[Tensor]) -> tuple[list[Tensor], Mixed | None]:
        """Mixes the views by the setting `mixup`; both networks have to see the result.

        It draws from torch's random numbers on the CPU.

        Args:
            images: views, each of shape (B, 3, H, H).

        Returns:
            The views to train on, and the argument `mixed` of `forward`; without `mixup` the given
            views and None.
        """
        if not self.config.mixup:
            return [*images], None
        seed = int(torch.randint(2**62, ()))
        mixed = draw(self.config.mixup, len(images[0]), seed, images[0].device)
        return [mixed.rows(view) for view in images], mixed

    def update_momentum(self, share: float) -> None:
        """Updates every momentum twin; call it once after each step of the optimiser.

        The momentum rises from its first value to its last along half a cosine, as in both
        versions of solo-learn. Without a twin, nothing is done.

        Args:
            share: share of all steps done before this one, in [0, 1]: step / steps, with step
                counted from 0.

        Raises:
            UserError: the share is not in [0, 1].
        """
        if not 0 <= share <= 1:
            raise refuse("share", share, "a number from 0 to 1: step / steps")
        first, last = self._momentum
        momentum = last - (last - first) * (math.cos(math.pi * share) + 1) / 2
        for network, twin in self.momentum_pairs:
            follow(network, twin, momentum)

    @property
    def momentum_pairs(self) -> list[tuple[nn.Module, nn.Module]]:
        """Returns every pair of a network and its momentum twin."""
        twin = self.student_twin
        students = [] if twin is None else [(self._student[0], twin)]
        return students + self.distillation.momentum_pairs

    def param_groups(self, lr: float, classifier_lr: float | None = None) -> list[dict[str, Any]]:
        """Returns parameter groups for the optimiser: projector, online teacher, and classifiers.

        Args:
            lr: learning rate of the student; `teacher_lr` is a multiple of it.
            classifier_lr: learning rate of classifiers on the teacher's features; None: `lr`.
        """
        rate = lr if classifier_lr is None else classifier_lr
        return self.distillation.learnable_params(rate, lr)

    def train(self, mode: bool = True) -> "Objective":
        """Sets the mode; momentum twins never use dropout or stochastic depth."""
        super().train(mode)
        for _, twin in self.momentum_pairs:
            switch_off_noise(twin)
        return self

    def _labels(self, labels: Tensor | None, number: int, device: torch.device) -> Tensor:
        # without the number of classes, labels mean nothing
        if labels is None or self.distillation.run.num_classes == NO_CLASSES:
            return torch.full((number,), -1, device=device)
        return labels

    def _refuse_shapes(
        self,
        images: Sequence[Tensor],
        features: Sequence[Tensor],
        momentum_features: Sequence[Tensor] | None,
    ) -> int:
        """Raises a UserError for views that do not match; returns their number of images."""
        run, number = self.distillation.run, len(images[0]) if len(images) else 0
        wanted = {
            "images": (images, (number, 3, run.img_size, run.img_size)),
            "features": (features, (number, run.features_dim)),
        }
        if "momentum_features" in self.needs:
            momentum = momentum_features or ()
            wanted["momentum_features"] = (momentum, (number, run.features_dim))
        for argument, (views, shape) in wanted.items():
            shapes = [tuple(view.shape) for view in views]
            if shapes != [shape] * VIEWS:
                raise UserError(f"{argument} of shapes {shapes}: expected two views of {shape}")
        return number


def _load(
    images: TrainingImages | None, batch_size: int, views: int = 0, seed: int = 0
) -> DataLoader:
    """Loads the training images in order; `make_objective` has refused `views`."""
    assert images is not None and not views
    return images.loader(batch_size)
