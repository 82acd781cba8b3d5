"""The recipes as Hydra finds them: files of `scripts/`, and the settings of every objective."""

import dataclasses
from pathlib import Path

from hydra.core.config_store import ConfigStore
from omegaconf import OmegaConf

from solo_rekd.objectives import OBJECTIVES

PACKAGE = Path(__file__).parent
PROVIDER = "solo-rekd"


def folders() -> list[Path]:
    """The folders in which `--config-name` of the current host's scripts looks for recipes.

    `rekd` or `linear` finds those for an image folder, `pretrain/cifar/rekd` any other. An install
    copies `scripts/` into the package; in a checkout it stands beside it.
    """
    root = PACKAGE / "scripts"
    root = root if root.is_dir() else PACKAGE.parent / "scripts"
    return [root / "pretrain" / "custom", root / "linear" / "custom", root]


def store_defaults() -> None:
    """Makes `- method_kwargs: NAME` in a recipe stand for every setting with its default."""
    for name, objective in OBJECTIVES.items():
        # not an instance: one that needs a checkpoint has none by default
        options = dataclasses.fields(objective.config_class)
        # not closed: an unknown key shall reach the check that names the known ones
        node = OmegaConf.create(
            {option.name: option.default for option in options}, flags={"struct": False}
        )
        ConfigStore.instance().store(group="method_kwargs", name=name, node=node, provider=PROVIDER)
