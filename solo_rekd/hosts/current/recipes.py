"""The recipes as Hydra finds them: files of the package, and the settings of every objective."""

import dataclasses
from pathlib import Path

from hydra.core.config_store import ConfigStore
from omegaconf import OmegaConf

import solo_rekd
from solo_rekd.config import PRESETS
from solo_rekd.objectives import OBJECTIVES

RECIPES = Path(solo_rekd.__file__).parent / "recipes"  # `scripts/` of a checkout, by links
PROVIDER = "solo-rekd"


def folders() -> list[Path]:
    """The folders in which `--config-name` of the current host's scripts looks for recipes.

    `rekd` or `linear` finds those for an image folder, `pretrain/cifar/rekd` any other.
    """
    return [RECIPES / "pretrain" / "custom", RECIPES / "linear" / "custom", RECIPES]


def store_defaults() -> None:
    """Makes `- method_kwargs: NAME` in a recipe stand for every setting with its default.

    `method_kwargs=NAME:PRESET` on the command line takes those of a preset in their place.
    """
    for name, objective in OBJECTIVES.items():
        # not an instance: one that needs a checkpoint has none by default
        options = dataclasses.fields(objective.config_class)
        defaults = {option.name: option.default for option in options}
        entries = {name: defaults}
        for preset, changes in PRESETS.get(name, {}).items():
            entries[f"{name}:{preset}"] = defaults | changes
        for entry, settings in entries.items():
            # not closed: an unknown key shall reach the check that names the known ones
            node = OmegaConf.create(settings, flags={"struct": False})
            ConfigStore.instance().store(
                group="method_kwargs", name=entry, node=node, provider=PROVIDER
            )
