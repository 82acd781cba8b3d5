"""Memory format and compilation of the networks of a run, the same way for both hosts.

A run notes its settings where they are read; the callback of its trainer finds them here, for
the models of a host's linear evaluation keep no settings.
"""

import logging
import os
import shutil
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import nn

from solo_rekd.config import AUTO, MEMORY_FORMATS
from solo_rekd.memory_format import choose, lay_out
from solo_rekd.utils.errors import UserError, refuse
from solo_rekd.utils.memory import keep_freed_memory

_log = logging.getLogger("solo_rekd")

MEMORY_FORMAT, COMPILE = "memory_format", "compile"  # names of the settings, in both hosts
BACKBONES = ("encoder", "backbone")  # what either host calls the network of a model
# of torch.compile: within a step alone, for evaluation has other shapes and few batches
Stance = Literal["default", "force_eager"]
WITHIN: Stance = "default"
OUTSIDE: Stance = "force_eager"

_Host: Any = object  # mypy: Lightning's class, which stands behind this one in every adapter


@dataclass(frozen=True)
class Speed:
    """What decides how fast a run is, and nothing that it computes beyond rounding.

    Attributes:
        memory_format: one of `MEMORY_FORMATS`.
        compiles: whether student and teacher are compiled.
    """

    memory_format: str = AUTO
    compiles: bool = False


_noted = Speed()


def note(settings: Mapping[str, Any]) -> None:
    """Notes the settings of the run that begins in this process.

    Args:
        settings: of the run, by name; one that is missing has its default.

    Raises:
        UserError: a value is not allowed, or torch has no compiler.
    """
    global _noted
    asked, compiles = settings.get(MEMORY_FORMAT, AUTO), settings.get(COMPILE, False)
    if asked not in MEMORY_FORMATS:
        raise refuse(MEMORY_FORMAT, asked, MEMORY_FORMATS)
    if not isinstance(compiles, bool):
        raise refuse(COMPILE, compiles, "true or false")
    if compiles:
        refuse_no_compiler()
    _noted = Speed(asked, compiles)


def noted() -> Speed:
    """The settings of the run that is under way in this process."""
    return _noted


def refuse_no_compiler() -> None:
    """Raises a UserError where torch.compile would find no C++ compiler, minutes later."""
    # torch's own choice
    name = os.environ.get("CXX", "clang++" if sys.platform == "darwin" else "g++")
    if shutil.which(name) is None:
        raise UserError(
            f"compile=True needs a C++ compiler, and there is no {name}: install one (g++), name "
            "it in the environment variable CXX, or leave compile out"
        )


def networks_of(model: Any) -> dict[str, list[nn.Module]]:
    """The networks of a model that take images: each with its momentum twin, by role.

    Args:
        model: a method of a host or of ours, or a linear evaluation.
    """
    found: dict[str, list[Any]] = {}
    for name in BACKBONES:
        if isinstance(network := getattr(model, name, None), nn.Module):
            found["student"] = [network, getattr(model, f"momentum_{name}", None)]
    if teacher := getattr(getattr(model, "objective", None), "teacher", None):
        found["teacher"] = teacher.backbones
    return {
        role: [each for each in networks if isinstance(each, nn.Module)]
        for role, networks in found.items()
    }


class SpeedHooks(_Host):
    """Lays out and compiles the networks of a run.

    It acts before the strategy wraps the model and before there is an optimizer. It stands in front
    of a Lightning's `Callback`.

    Attributes:
        speed: what was noted when the trainer was made.
    """

    def __init__(self) -> None:
        super().__init__()
        self.speed = noted()

    def setup(self, trainer: Any, pl_module: Any, stage: str) -> None:
        """Puts each network into its memory format, and has it compiled at its first step.

        On a CPU the process keeps the memory that it frees, see `keep_freed_memory`.
        """
        if stage != "fit":
            return
        half = str(trainer.precision).startswith(("16", "bf16"))
        gpu = trainer.strategy.root_device.type == "cuda"
        if not gpu:
            keep_freed_memory()
        said = []
        for role, networks in networks_of(pl_module).items():
            choice = choose(networks[0], self.speed.memory_format, gpu=gpu, half=half)
            said.append(f"{role} {choice.name} ({choice.reason})")
            for network in networks:
                lay_out(network, choice.name)
                if self.speed.compiles:
                    network.compile(dynamic=False)
        if said:
            compiled = "; compiled" if self.speed.compiles else ""
            _log.info("memory format: %s%s", ", ".join(said), compiled)
        self._compile_from(OUTSIDE)

    def on_train_batch_start(self, *args: Any, **kwargs: Any) -> None:
        """Lets the compiled networks run in a step."""
        self._compile_from(WITHIN)

    def on_train_batch_end(self, *args: Any, **kwargs: Any) -> None:
        """Ends that: what is evaluated is not compiled for its own shapes."""
        self._compile_from(OUTSIDE)

    def teardown(self, trainer: Any, pl_module: Any, stage: str) -> None:
        """Leaves torch as it was."""
        self._compile_from(WITHIN)

    def on_exception(self, trainer: Any, pl_module: Any, exception: BaseException) -> None:
        """Leaves torch as it was."""
        self._compile_from(WITHIN)

    def _compile_from(self, stance: Stance) -> None:
        if self.speed.compiles:
            torch.compiler.set_stance(stance)
