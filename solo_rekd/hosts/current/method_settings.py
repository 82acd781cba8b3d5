"""Which settings each method takes, and what the host's own recipes set of them."""

import dataclasses
import functools
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf
from solo.methods import METHODS
from solo.methods.base import BaseMomentumMethod

from solo_rekd.backbones import SMALL_IMAGE
from solo_rekd.hosts import names
from solo_rekd.objectives import OBJECTIVES

NO_PRETRAINING = ("base", "linear")
SMALL, LARGE = "cifar", "imagenet-100"  # folders of the host's recipes, by the images' size
GROUPS = ("method_kwargs", "momentum")
VIT = "vit"  # networks for which the host has recipes of their own


def takes(root: Path) -> dict[str, list[str]]:
    """The names of all methods, each with the settings that it takes.

    Args:
        root: of the host's checkout.
    """
    return {name: _takes(root, name) for name in sorted(set(METHODS) - set(NO_PRETRAINING))}


def _takes(root: Path, method: str) -> list[str]:
    if method in OBJECTIVES:
        found = [field.name for field in dataclasses.fields(OBJECTIVES[method].config_class)]
    else:
        empty: dict[str, Any] = {
            group: {} for group in (*GROUPS, "backbone", "optimizer", "scheduler")
        }
        written = (_recipe(root, method, folder, "") for folder in (LARGE, SMALL))
        recipe: Any = OmegaConf.merge(empty, *written)
        # what the host has defaults for in its code
        found = list(METHODS[method].add_and_assert_specific_cfg(recipe).method_kwargs)
    momentum = issubclass(METHODS[method], BaseMomentumMethod)
    return list(dict.fromkeys([*found, *(names.MOMENTUM if momentum else ())]))


def of_recipe(root: Path, method: str, backbone: str, side: int) -> dict[str, Any]:
    """What the host's recipe sets of one of its own methods, by dotted key; of ours nothing.

    Args:
        root: of the host's checkout.
        method: of the host.
        backbone: name of the network.
        side: of the images, in px.
    """
    if method in OBJECTIVES:
        return {}
    order = (SMALL, LARGE) if side <= SMALL_IMAGE else (LARGE, SMALL)
    for folder in order:
        if recipe := _recipe(root, method, folder, backbone):
            return {
                f"{group}.{key}": value
                for group, settings in recipe.items()
                for key, value in settings.items()
            }
    return {}


def _recipe(root: Path, method: str, folder: str, backbone: str) -> Mapping[str, Any]:
    """The groups of a recipe that are the method's own; empty without a recipe."""
    found = [
        recipe
        for recipe in _recipes(root / "scripts" / "pretrain" / folder)
        if recipe.get("method") == method
    ]
    like = [recipe for recipe in found if _is_vit(recipe.backbone.name) == _is_vit(backbone)]
    for recipe in [*like, *found][:1]:
        groups = {group: recipe[group] for group in GROUPS if group in recipe}
        return OmegaConf.to_container(OmegaConf.create(groups), resolve=True)  # type: ignore[return-value]
    return {}


@functools.cache
def _recipes(folder: Path) -> list[DictConfig]:
    paths = sorted(path for path in folder.glob("*.y*ml"))
    recipes = [OmegaConf.load(path) for path in paths]
    return [recipe for recipe in recipes if isinstance(recipe, DictConfig)]


def _is_vit(backbone: str) -> bool:
    return backbone.startswith(VIT)
