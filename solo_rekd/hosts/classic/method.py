"""The classic host's momentum method with one of our objectives."""

from argparse import ArgumentParser, Namespace
from collections.abc import Mapping
from typing import Any

from solo.methods.base import BaseMomentumMethod
from solo.utils.pretrain_dataloader import prepare_transform
from torch import nn
from torch.utils.data import DataLoader

from solo_rekd.config import STUDENT_CHECKPOINT, add_flags, add_speed_flags, from_settings
from solo_rekd.hosts.shared.method import Distilled
from solo_rekd.hosts.shared.training_images import colours_of
from solo_rekd.objectives import HostRun
from solo_rekd.utils.errors import refuse


class ClassicMethod(Distilled, BaseMomentumMethod):
    """The classic host's momentum method with one of our objectives."""

    twin = "momentum_encoder"

    def __init__(self, teacher_module: nn.Module | None = None, **kwargs: Any) -> None:
        """Builds the method; `teacher_module` is a network for `teacher="module"`."""
        config = from_settings(self.objective_class.config_class, kwargs)
        super().__init__(**kwargs)
        if self.num_large_crops != 2 or self.multicrop:
            raise refuse("num_crops_per_aug", kwargs["num_crops_per_aug"], "2 crops of one size")
        img_size = kwargs["crop_size"][0]
        sizes = (self.features_dim, self.num_classes, img_size, self.max_epochs)
        mean, std = view_colours(kwargs) or (None, None)
        run = HostRun(*sizes, mean, std, teacher_module)
        self.set_objective(self.objective_class(config, run))

    def loader_without_dali(self) -> DataLoader:
        """The host's other loader, of the same images; its data set is in DALI's order."""
        from solo_rekd.hosts.classic.loaders import pretrain_loader

        args = Namespace(**self.extra_args, batch_size=self.batch_size)
        return pretrain_loader(args)

    @classmethod
    def add_model_specific_args(cls, parent_parser: ArgumentParser) -> ArgumentParser:
        """Adds the host's flags and the objective's."""
        parser = BaseMomentumMethod.add_model_specific_args(parent_parser)
        add_flags(parser, cls.objective_class.config_class, cls.name)
        # for the host's script: our commands have these flags whatever the method
        parser.add_argument("--student_checkpoint", metavar="FILE", help=STUDENT_CHECKPOINT)
        add_speed_flags(parser.add_argument)
        return parser


def view_colours(settings: Mapping[str, Any]) -> tuple[tuple[float, ...], ...]:
    """The colours of a run's views; nothing where it was built without a data set."""
    if "transform_kwargs" not in settings:
        return ()
    kwargs = settings["transform_kwargs"]
    first = kwargs if isinstance(kwargs, dict) else kwargs[0]
    return colours_of(prepare_transform(settings["dataset"], **first))
