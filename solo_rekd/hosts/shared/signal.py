"""Evaluates an epoch without labels, by how student and teacher see held-out photos.

It holds hooks of a callback for both Lightnings. The training is bit-identical with and without it:
networks run in eval mode and are put back, and none of the run's random numbers are drawn.
"""

import functools
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from solo_rekd.evaluation.agreement import (
    chance,
    effective_rank,
    feature_deviation,
    nearest,
    shared_neighbours,
)
from solo_rekd.hosts.jobs import Signal
from solo_rekd.hosts.shared.progress import peak_memory
from solo_rekd.hosts.shared.speed import networks_of
from solo_rekd.images.held_out import HeldOut, normalised, read_held_out, spread
from solo_rekd.images.photos.given import find_photos
from solo_rekd.objectives.distillation import FLOOR, STUDENT_LOSS
from solo_rekd.teachers import FrozenTeacher, OnlineTeacher
from solo_rekd.teachers.sight import Sight
from solo_rekd.utils.errors import refuse
from solo_rekd.utils.files import write_json_lines
from solo_rekd.utils.in_turn import first_process_first

UNTRAINED = -1  # epoch of the line that describes the student before its first step

_Host: Any = object  # mypy: Lightning's class, which stands behind this one in every adapter

# images (B, 3, S, S) to features (B, F)
Network = Callable[[Tensor], Tensor]


class SignalHooks(_Host):
    """Adds a label-free evaluation on held-out photos to every epoch's metrics, and to its line.

    `agreement` is the share of the teacher's k nearest photos that are among the student's k
    nearest, with `agreement_error`, its standard error over the photos, `agreement_chance` as floor
    and `agreement_ceiling`, the teacher's own agreement between two views of each photo;
    `effective_rank` and `feature_deviation` measure how many directions the student's features fill
    and how far they are spread; `signal_seconds` is the time for all this. `loss` is the mean of
    the student's loss over the epoch, and `loss_floor` its lower bound, where it is defined; for a
    host's own method, which has no teacher and no agreement, the loss is its step's, in this
    process. A line of epoch -1 describes the untrained student.

    Only the first process of a training does this, with its own BatchNorm statistics, which are
    those in a checkpoint. It is mixed with Lightning's `Callback`, and runs before the history's.

    Args:
        signal: see `Signal`.
        history: file for the line of the untrained student; None: it is not written.
    """

    def __init__(self, signal: Signal, history: Path | None) -> None:
        super().__init__()
        self.signal, self.history = signal, history

    def sight(self, module: Any) -> Sight:
        """Returns how a model's student sees images in evaluation."""
        raise NotImplementedError

    def on_train_start(self, trainer: Any, pl_module: Any) -> None:
        """Reads the photos, runs a frozen teacher, and evaluates the untrained student.

        Raises:
            UserError: the photos cannot be read, or there are not more than k.
        """
        with first_process_first():
            if not trainer.is_global_zero:
                return
            started = time.perf_counter()
            self._read(pl_module)
            if trainer.current_epoch == 0 and self.history is not None:
                figures = self._look(pl_module)
                took = {"epoch": UNTRAINED, "seconds": time.perf_counter() - started, "images": 0}
                write_json_lines(self.history, [took | peak_memory() | figures])

    def on_train_epoch_start(self, trainer: Any, pl_module: Any) -> None:
        """Resets the mean of the loss."""
        self._losses, self._steps = torch.zeros((), device=pl_module.device), 0

    def on_train_batch_end(self, trainer: Any, pl_module: Any, outputs: Any, *args: Any) -> None:
        """Adds a step's loss, without waiting for the device."""
        if isinstance(outputs, dict) and "loss" in outputs:
            self._losses = self._losses + outputs["loss"].detach()
            self._steps += 1

    def on_train_epoch_end(self, trainer: Any, pl_module: Any) -> None:
        """Evaluates the student, and logs the results."""
        metrics = trainer.callback_metrics  # which every process asks for
        if not trainer.is_global_zero:
            return
        figures = self._look(pl_module)
        for name, metric in (("loss", STUDENT_LOSS), ("loss_floor", FLOOR)):
            value = metrics.get(f"train_{metric}_epoch")
            if value is not None:
                figures[name] = float(value)
        if "loss" not in figures and self._steps:
            figures["loss"] = float(self._losses) / self._steps
        for name, figure in figures.items():
            pl_module.log(name, figure, rank_zero_only=True)

    def _read(self, module: Any) -> None:
        sight, signal = self.sight(module), self.signal
        found = find_photos(signal.images).paths()
        photos = read_held_out(spread(found, signal.number), sight.size)
        if len(photos.pixels) <= signal.k:
            allowed = f"more than k={signal.k} photos that can be read, not {len(photos.pixels)}"
            raise refuse("signal.images", signal.images, allowed)
        self._sight, self._photos = sight, photos
        self._teacher = teacher_of(module)
        if isinstance(self._teacher, FrozenTeacher):
            self._taught, self._ceiling = self._ask_teacher(module)
            self._photos = HeldOut(photos.pixels, photos.views[:0])  # they were for the ceiling

    def _look(self, module: Any) -> dict[str, float]:
        """Returns all figures except the losses."""
        started = time.perf_counter()
        student = networks_of(module)["student"][0]
        like = _weight(student, module)
        features = self._embed(module, student, self._photos.pixels, like)
        figures: dict[str, float] = {}
        if self._teacher is not None:
            if isinstance(self._teacher, OnlineTeacher):
                self._taught, self._ceiling = self._ask_teacher(module)
            shares = torch.full((len(features),), torch.nan)
            if features.isfinite().all():
                shares = shared_neighbours(nearest(features, self.signal.k), self._taught)
            figures = {
                "agreement": float(shares.mean()),
                "agreement_error": float(shares.std() / len(shares) ** 0.5),
                "agreement_chance": chance(len(shares), self.signal.k),
                "agreement_ceiling": self._ceiling,
            }
        figures["effective_rank"] = effective_rank(features)
        figures["feature_deviation"] = feature_deviation(features)
        return figures | {"signal_seconds": time.perf_counter() - started}

    def _ask_teacher(self, module: Any) -> tuple[Tensor, float]:
        """Returns the indexes of each photo's neighbours by the teacher, and its ceiling."""
        teacher = self._teacher
        assert teacher is not None  # who has none does not ask
        if isinstance(teacher, FrozenTeacher):
            like = torch.empty((), dtype=teacher.dtype, device=teacher.device)
        else:
            like = _weight(teacher.momentum_backbone, module)
        ask = functools.partial(_say, teacher)
        own, other = (self._embed(module, ask, pixels, like) for pixels in self._photos)
        places = nearest(own.nan_to_num(), self.signal.k)
        ceiling = shared_neighbours(nearest(other.nan_to_num(), self.signal.k), places)
        return places, float(ceiling.mean())

    def _embed(self, module: Any, network: Network, pixels: Tensor, like: Tensor) -> Tensor:
        """Computes features of photos, shape (N, F), float32, on the CPU.

        Args:
            module: the whole model, which is in eval mode meanwhile.
            network: network that computes the features.
            pixels: shape (N, 3, S, S), uint8.
            like: tensor with the type and device of the network's input.
        """
        sight = self._sight
        mean, std = sight.mean or (0.0,) * 3, sight.std or (1.0,) * 3
        with _evaluating(module, like.device):
            batches = normalised(pixels, mean, std, module.batch_size, like)
            return torch.cat([network(batch).float().cpu() for batch in batches])


def teacher_of(module: Any) -> FrozenTeacher | OnlineTeacher | None:
    """Returns the teacher of one of our models; None for a host's own method."""
    return getattr(getattr(module, "objective", None), "teacher", None)


def _say(teacher: FrozenTeacher | OnlineTeacher, images: Tensor) -> Tensor:
    """Returns the teacher's pooled features; for an online teacher, its momentum twin's."""
    return (teacher(images) if isinstance(teacher, FrozenTeacher) else teacher.key(images))[0]


def _weight(network: nn.Module, module: Any) -> Tensor:
    """Returns a tensor with the type and device of a network."""
    return next(network.parameters(), torch.empty((), device=module.device))


@contextmanager
def _evaluating(module: nn.Module, device: torch.device) -> Iterator[None]:
    """Puts a model into eval mode; restores its modes and all random numbers afterwards."""
    modes = {each: each.training for each in module.modules()}
    gpus = [device] if device.type == "cuda" else []
    with (
        torch.random.fork_rng(devices=gpus),
        torch.no_grad(),
        torch.autocast(device.type, enabled=False),
    ):
        try:
            for each in modes:
                each.training = False
            yield
        finally:
            for each, mode in modes.items():
                each.training = mode
