"""The host's momentum method with one of our objectives: what the adapters of both hosts share."""

import functools
import logging
from collections.abc import Mapping
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from solo_rekd.backbones import TIMM, settle_stem
from solo_rekd.checkpoints.run_record import KEY, record_of
from solo_rekd.config import AUTO
from solo_rekd.hosts.shared.changes import ENTRIES
from solo_rekd.hosts.shared.checks import refuse_no_training
from solo_rekd.hosts.shared.drawn_images import put_drawn_images
from solo_rekd.hosts.shared.lengths import end_after
from solo_rekd.hosts.shared.neighbour_batches import put_neighbours
from solo_rekd.hosts.shared.order import seed_of_step
from solo_rekd.hosts.shared.training_images import host_loader, training_images
from solo_rekd.lengths import Training
from solo_rekd.modules.queue import KeyQueue
from solo_rekd.modules.twin import follow, switch_off_noise
from solo_rekd.objectives import OBJECTIVES, Batch, DistillationObjective, mixup
from solo_rekd.objectives.distillation import STUDENT_LOSS, student_loss
from solo_rekd.teachers.sight import Sight
from solo_rekd.teachers.teacher import SEEN
from solo_rekd.utils.errors import UserError, refuse

_log = logging.getLogger("solo_rekd")

# what an objective keeps of the twin or for it
OBJECTIVES_TWIN = (
    "objective.momentum_projector.",
    *(f"objective.queues.{view}.student" for view in range(2)),
)
MIN_LOSS_SCALE = 1e-4  # of float16, as fairseq's --min-loss-scale; torch starts at 65536


class OnHost:
    """Wraps a tensor that stays in the host's memory when a batch is moved to a device."""

    def __init__(self, tensor: Tensor) -> None:
        self.tensor = tensor


_Host: Any = object  # mypy: the host's base class, which stands behind this one in every adapter


class Distilled(_Host):
    """Mix-in for a host's `BaseMomentumMethod`; the adapter builds `objective`."""

    name: ClassVar[str]
    objective_class: ClassVar[type[DistillationObjective]]
    replaces: ClassVar[type | None]  # solo-learn's own method of that name, if it has one
    twin: ClassVar[str]  # the host's name of the student's momentum twin
    objective: DistillationObjective
    _saw_labels = False

    def set_objective(self, objective: DistillationObjective) -> None:
        """Sets the objective, and removes the momentum twin if it does not need one."""
        self.objective = objective
        if not self._has_twin:
            delattr(self, self.twin)
        # of this one updater; the host's own writes every weight three times
        self.momentum_updater.update = functools.partial(move_twin, self.momentum_updater)

    @property
    def _has_twin(self) -> bool:
        return self.objective.config.reads_momentum or self.momentum_classifier is not None

    @property
    def learnable_params(self) -> list[dict[str, Any]]:
        """Returns the host's parameter groups and the objective's."""
        ours = self.objective.learnable_params(self.classifier_lr, self.lr)
        return super().learnable_params + ours

    @property
    def momentum_pairs(self) -> list[tuple[Any, Any]]:
        """Returns the host's momentum pairs and the objective's."""
        students = super().momentum_pairs if self._has_twin else []
        return students + self.objective.momentum_pairs

    def train(self, mode: bool = True) -> Any:
        """Sets the mode; momentum twins never use dropout or stochastic depth."""
        super().train(mode)
        self._switch_off_noise()
        return self

    def _switch_off_noise(self) -> None:
        for _, twin in self.momentum_pairs:
            switch_off_noise(twin)

    @property
    def _ddp_params_and_buffers_to_ignore(self) -> list[str]:
        """Returns the queues, equal on all ranks, which DDP would otherwise broadcast each step."""
        return [
            f"{module_name}.{name}"
            for module_name, module in self.named_modules()
            if isinstance(module, KeyQueue)
            for name, _ in module.named_buffers()
        ]

    def _shared_step_momentum(self, *args: Any) -> dict[str, Any]:
        """Runs the host's forward pass of the momentum twin, if its output is used.

        Its own classifier uses it; otherwise the loss may in training, and nothing in validation.
        """
        read = self.training and self.objective.config.reads_momentum
        if read or self.momentum_classifier is not None:
            return super()._shared_step_momentum(*args)
        return {}

    def transfer_batch_to_device(self, batch: Any, device: Any, dataloader_idx: int) -> Any:
        """Moves a batch, except for the images' indexes, which look up tables in host memory.

        Reading them back from the device would make every step wait.
        """
        moved = super().transfer_batch_to_device(batch, device, dataloader_idx)
        if self.training and batch[0].device.type == "cpu" != device.type:
            return [OnHost(batch[0]), *moved[1:]]
        return moved

    def training_step(self, batch: list[Any], batch_idx: int) -> Tensor:
        """Runs the host's step (online classifier, momentum features), then the objective's loss.

        Args:
            batch: indexes of shape (B,), two views of shape (B, 3, H, W), labels of shape (B,).
            batch_idx: index of the batch.

        Returns:
            The loss, a scalar.

        Raises:
            UserError: the objective needs labels, and the first batch has none.
        """
        places, images, labels = batch
        mixed = self._draw_mix(len(labels), batch_idx, images[0].device)
        if mixed is not None:
            images = [mixed.rows(view) for view in images]
        out = super().training_step([places, images, labels], batch_idx)
        indexes = places.tensor if isinstance(places, OnHost) else places
        if self.objective.needs_labels and not self._saw_labels:
            self._saw_labels = bool((labels >= 0).any())
            if not self._saw_labels:
                raise UserError(f"{self.objective.needs_labels}: the images have no labels")
        loss, logs = self.objective(
            Batch(images, out["feats"], out.get("momentum_feats", []), labels, indexes, mixed),
            self.current_epoch,
        )
        logs = logs | {STUDENT_LOSS: student_loss(loss, logs)}
        self.log_dict(
            {f"train_{name}": value.detach() for name, value in logs.items()},
            on_epoch=True,
            sync_dist=True,
        )
        # the host's own is NaN, the mean of nothing, for a batch without labels
        for logits in (out["logits"], out.get("momentum_logits", [])):
            for view in logits:
                loss = loss + mixup.class_loss(view, labels, mixed) / len(logits)
        return loss

    def _draw_mix(self, batch: int, step: int, device: torch.device) -> mixup.Mixed | None:
        """Draws the mix of a step's images, separately in each process; None: no mixing."""
        alpha = self.objective.config.mixup
        if not alpha:
            return None
        seed = seed_of_step(torch.initial_seed(), self.current_epoch, self.global_rank, step)
        return mixup.draw(alpha, batch, seed, device)

    def on_fit_start(self) -> None:
        """Logs which method this is, if the host has one of the same name."""
        super().on_fit_start()
        if self.trainer.is_global_zero and self.replaces is not None:
            _log.warning(
                "this is solo-rekd's %s, not solo-learn's own (set SOLO_REKD_AUTOLOAD=0 for that)",
                self.name,
            )

    def on_train_start(self) -> None:
        """Runs the host's hook, and lets the objective read the training set."""
        super().on_train_start()
        self._switch_off_noise()  # newer Lightnings leave the modes as they are built
        batch, steps = self.batch_size * self.trainer.world_size, self.trainer.num_training_batches
        training = Training(batch * steps, batch, steps, self.max_epochs)
        accumulated = self.trainer.accumulate_grad_batches
        training = end_after(training, self.trainer.max_steps, accumulated)
        # Lightning 1.9 has no loader before this hook
        self.objective.watch.step = self.current_epoch * steps
        self.objective.before_training(functools.partial(training_images, self), training)
        neighbours, drawn = self.objective.neighbours, self.objective.drawn_views
        if neighbours is not None:
            put_neighbours(host_loader(self), neighbours)
        if drawn is not None:
            drawn.images.begin(self.current_epoch)
            put_drawn_images(host_loader(self), drawn.images)
        if neighbours is not None or drawn is not None:
            self.begin_epoch_anew()  # it drew images or views by chance

    def begin_epoch_anew(self) -> None:
        """Restarts the first epoch, if the host's Lightning began it before this hook."""

    def on_train_epoch_start(self) -> None:
        """Lets the objective read the training set again."""
        super().on_train_epoch_start()
        if self.objective.drawn_views is not None:
            self.objective.drawn_views.images.begin(self.current_epoch)
        images = functools.partial(training_images, self)
        self.objective.before_epoch(images, self.current_epoch)

    def on_fit_end(self) -> None:
        """Refuses a training without batches: see `refuse_empty_epoch`."""
        refuse_empty_epoch(self)

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Records which method and teacher the weights belong to."""
        checkpoint[KEY] = record_of(checkpoint) | {
            "method": self.name,
            "teacher": self.objective.teacher.identity,
            "teacher_facts": self.objective.teacher.facts,
        }

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Refuses to resume a run with another method or teacher, or with other sizes.

        Raises:
            UserError: the checkpoint belongs to another method or teacher, or a tensor of it has
                another shape.
        """
        refuse_other_method(checkpoint, self.name)
        theirs = record_of(checkpoint).get("teacher")
        theirs = theirs if isinstance(theirs, dict) else {}
        refuse_other_teacher(theirs, self.objective)
        own = self.state_dict()
        drop_twin(checkpoint["state_dict"], own, (f"{self.twin}.", *OBJECTIVES_TWIN))
        for name, held in checkpoint["state_dict"].items():
            if name in own and held.shape != own[name].shape:
                raise UserError(
                    f"{name} has shape {tuple(held.shape)} in the checkpoint to resume, and "
                    f"{tuple(own[name].shape)} in this run: give the settings it was trained with"
                )


def move_twin(updater: Any, network: nn.Module, twin: nn.Module) -> None:
    """Runs the host's momentum update, with the current momentum of its updater."""
    follow(network, twin, updater.cur_tau)


def drop_twin(state: dict[str, Tensor], own: Mapping[str, Any], prefixes: tuple[str, ...]) -> None:
    """Removes an unused momentum twin from an earlier version's checkpoint.

    Args:
        state: state dict of the checkpoint, changed in place.
        own: state dict of this run.
        prefixes: prefixes of the twin's entries.
    """
    for name in [name for name in state if name.startswith(prefixes) and name not in own]:
        del state[name]


def refuse_other_teacher(theirs: Mapping[str, Any], objective: DistillationObjective) -> None:
    """Refuses to resume with another teacher, or with one that preprocesses images differently.

    An older checkpoint does not record its teacher's preprocessing, which was the student's: unless
    a setting says otherwise, the resumed run's teacher uses that too.

    Args:
        theirs: the checkpoint's record of its teacher.
        objective: objective of this run.

    Raises:
        UserError: the teacher, or its mean, std, size or stem, differs.
    """
    teacher, run, config = objective.teacher, objective.run, objective.config
    before: dict[str, Any] = {key: theirs.get(key) for key in ("name", "mode", "sha256")}
    before |= {key: theirs[key] for key in SEEN if key in theirs}
    if theirs and not theirs.keys() & {*SEEN}:
        seen = Sight(run.img_size, run.mean, run.std).record()
        if AUTO == config.teacher_mean == config.teacher_std == config.teacher_size:
            if any(teacher.identity.get(key) != value for key, value in seen.items()):
                _log.warning(
                    "teacher %s sees the student's mean, std and size, as in the run to resume, "
                    "which an earlier version began",
                    config.teacher,
                )
            teacher.see_as_student(**seen)
        if not config.teacher.startswith((TIMM, "resnet")):  # a ResNet's file decides
            seen["stem"] = settle_stem(config.teacher, run.img_size, config.teacher_stem)
        before |= seen
    for key, stored in before.items():
        given = teacher.identity.get(key)
        if stored != given and key in SEEN:
            raise UserError(
                f"teacher_{key}={given!r} differs from the run to resume, which had "
                f"teacher_{key}={stored!r}: give that value"
            )
        if stored != given:
            raise UserError(
                f"teacher {key}={given!r} differs from that of the checkpoint to resume, "
                f"which had {key}={stored!r}"
            )


def refuse_other_method(
    checkpoint: Mapping[str, Any], method: str, purpose: str = "resume"
) -> None:
    """Refuses another method's checkpoint; one without a record is from a method of the host.

    Args:
        checkpoint: content of the file.
        method: method of the run, ours or the host's.
        purpose: use of the checkpoint, for the message.

    Raises:
        UserError: the checkpoint is from another method.
    """
    theirs = record_of(checkpoint).get("method")
    if theirs != method and (theirs or method in OBJECTIVES):
        owner = theirs or "a method of the host"
        raise UserError(f"the checkpoint to {purpose} is from {owner}, but this run is {method}")


def refuse_empty_epoch(model: Any) -> None:
    """Raises a UserError if the images did not fill one batch, which neither host reports.

    Args:
        model: the host's model at the end of its training, with `batch_size` and `trainer`.
    """
    trainer = model.trainer
    refuse_no_training("limit_train_batches", trainer.limit_train_batches)
    if trainer.num_training_batches > 0:
        return
    if trainer.limit_train_batches != 1:
        limit = "1 or more batches, or a larger share"
        raise refuse("limit_train_batches", trainer.limit_train_batches, limit)
    loader = host_loader(model)
    images = len(loader.dataset) if hasattr(loader, "dataset") else None
    limit = "at most the number of training images"
    if images is not None:
        share = "" if trainer.world_size == 1 else f" in each of {trainer.world_size} processes"
        limit += f", {images // trainer.world_size}{share}"
    raise refuse("batch_size", model.batch_size, limit)


def refuse_divergence(model: Any) -> None:
    """Raises a UserError if the training has reached a state that it cannot recover from.

    Args:
        model: the host's model at the end of an epoch, before its checkpoint is written.
    """
    if lost := _lost(model):
        raise UserError(
            f"the training diverged in epoch {model.current_epoch + 1} ({lost}): "
            "try a lower learning rate"
        )


def _lost(model: Any) -> str | None:
    for name, parameter in model.named_parameters():
        if not parameter.isfinite().all():
            return f"{name} is not finite"
    for name, buffer in model.named_buffers():  # BatchNorm's statistics; a mask may have infinities
        if buffer.isnan().any():
            return f"{name} is not finite"
    # float16 skips the steps that would spoil a weight
    scaler = getattr(model.trainer.precision_plugin, "scaler", None)
    if scaler is not None and scaler.get_scale() < MIN_LOSS_SCALE:
        return f"hardly any step has finite gradients: the loss scale is {scaler.get_scale():.0e}"
    return None


def register(methods: dict[str, type], base: type[Distilled]) -> None:
    """Adds one method class per objective, built from an adapter's `base`, to `METHODS`."""
    for name, objective_class in OBJECTIVES.items():
        body = {
            "name": name,
            "objective_class": objective_class,
            "replaces": methods.get(name),
            "__doc__": objective_class.__doc__,
        }
        ENTRIES.set(methods, name, type(objective_class.__name__, (base,), body))
