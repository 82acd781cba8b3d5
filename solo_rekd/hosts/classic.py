"""Adapter to the classic host: solo-learn 1.0.2 from PyPI (argparse, pytorch_lightning 1.x)."""

from argparse import ArgumentParser
from typing import Any, ClassVar

from solo.args import setup
from solo.methods import METHODS
from solo.methods.base import BaseMomentumMethod
from torch import Tensor

from solo_rekd import errors
from solo_rekd.config import add_flags, from_settings
from solo_rekd.errors import UserError, refuse
from solo_rekd.hosts import classic_arguments, classic_backbones, classic_mends
from solo_rekd.objectives import OBJECTIVES, DistillationObjective


class DistilledMethod(BaseMomentumMethod):
    """The host's momentum method with one of our objectives; subclasses name it."""

    name: ClassVar[str]
    objective_class: ClassVar[type[DistillationObjective]]

    def __init__(self, **kwargs: Any) -> None:
        config = from_settings(self.objective_class.config_class, kwargs)
        super().__init__(**kwargs)
        if self.num_large_crops != 2 or self.multicrop:
            raise refuse("num_crops_per_aug", kwargs["num_crops_per_aug"], "2 crops of one size")
        img_size = kwargs["crop_size"][0]
        self.objective = self.objective_class(config, self.features_dim, self.num_classes, img_size)

    @staticmethod
    def add_model_specific_args(parent_parser: ArgumentParser) -> ArgumentParser:
        """Adds the host's flags; subclasses add their objective's."""
        return BaseMomentumMethod.add_model_specific_args(parent_parser)

    @property
    def learnable_params(self) -> list[dict[str, Any]]:
        """The host's parameter groups and the objective's."""
        return super().learnable_params + self.objective.learnable_params(self.classifier_lr)

    @property
    def momentum_pairs(self) -> list[tuple[Any, Any]]:
        """The host's momentum pairs and the objective's."""
        return super().momentum_pairs + self.objective.momentum_pairs

    def training_step(self, batch: list[Any], batch_idx: int) -> Tensor:
        """The host's step (online classifier, momentum features), then the objective's loss.

        Args:
            batch: indexes of shape (B,), two views of shape (B, 3, H, W), labels of shape (B,).
            batch_idx: index of the batch.

        Returns:
            The loss, a scalar.
        """
        out = super().training_step(batch, batch_idx)
        _, images, labels = batch
        loss, logs = self.objective(
            images, out["feats"], out["momentum_feats"], labels, self.current_epoch
        )
        self.log_dict(
            {f"train_{name}": value.detach() for name, value in logs.items()},
            on_epoch=True,
            sync_dist=True,
        )
        if (labels >= 0).any():
            return loss + out["loss"]
        # Without labels the host's class loss is the mean of nothing; DDP still wants a gradient.
        return loss + 0 * sum(parameter.sum() for parameter in self.classifier.parameters())

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Writes down which method and teacher the weights belong to."""
        checkpoint["solo_rekd"] = {"method": self.name, "teacher": self.objective.teacher.identity}

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Refuses to go on from a run with another method or teacher.

        Raises:
            UserError: the checkpoint belongs to another method or teacher.
        """
        theirs = checkpoint.get("solo_rekd")
        if theirs is None or theirs["method"] != self.name:
            method = theirs["method"] if theirs else "a method of the host"
            raise UserError(f"the checkpoint to resume is of {method}, this run is of {self.name}")
        for key in ("name", "mode", "sha256"):
            stored, given = theirs["teacher"][key], self.objective.teacher.identity[key]
            if stored != given:
                raise UserError(
                    f"teacher {key}={given!r} is not the teacher of the checkpoint to resume, "
                    f"which had {key}={stored!r}"
                )


def make_method(name: str, objective_class: type[DistillationObjective]) -> type[DistilledMethod]:
    """Builds the host's method class of one objective."""

    def add_model_specific_args(parent_parser: ArgumentParser) -> ArgumentParser:
        parser = DistilledMethod.add_model_specific_args(parent_parser)
        add_flags(parser, objective_class.config_class, name)
        return parser

    body = {
        "name": name,
        "objective_class": objective_class,
        "add_model_specific_args": staticmethod(add_model_specific_args),
        "__doc__": objective_class.__doc__,
    }
    return type(objective_class.__name__, (DistilledMethod,), body)


def activate() -> None:
    """Mends and extends the host, once."""
    if set(OBJECTIVES) <= set(METHODS):
        return
    errors.install_excepthook()
    classic_mends.apply()
    if classic_arguments.has_dali():
        from solo_rekd.hosts import classic_dali

        classic_dali.apply()
    classic_backbones.register()
    setup.parse_args_pretrain = classic_arguments.finish_pretrain(setup.parse_args_pretrain)
    setup.parse_args_linear = classic_arguments.finish_linear(setup.parse_args_linear)
    METHODS.update({name: make_method(name, cls) for name, cls in OBJECTIVES.items()})
