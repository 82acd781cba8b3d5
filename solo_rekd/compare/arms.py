"""Arms of a comparison: a method with the settings that differ from its defaults.

`NAME:PRESET` is a method with the settings of a preset.
"""

import math
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

from solo_rekd.config import CONFIGS, preset
from solo_rekd.utils.errors import UserError, nearest_first, refuse

UNTRAINED = "untrained"  # the student before any training, which every method has to beat
STARTING = "starting weights"  # its name in a report, where the student starts from a file
LR = "lr"


@dataclass(frozen=True)
class Arm:
    """A method with settings.

    Attributes:
        name: the arm as the user wrote it, which also names its folder.
        method: `untrained`, or a method of the host or ours.
        settings: values by name of the setting, as written, including those of its preset.
    """

    name: str
    method: str
    settings: dict[str, str]

    @property
    def lr(self) -> float | None:
        """Its own learning rate for a batch of 256; None: the comparison's."""
        return float(self.settings[LR]) if LR in self.settings else None

    @property
    def distils(self) -> bool:
        """Whether it has a teacher."""
        return self.method in CONFIGS

    @property
    def online(self) -> bool:
        """Whether its teacher is jointly trained; else it is frozen."""
        return self.settings.get("teacher_mode") == "online"

    @property
    def shares_teacher(self) -> bool:
        """Whether its teacher is the comparison's frozen one."""
        return self.distils and not self.online and "teacher_checkpoint" not in self.settings


def parse_arm(text: str) -> Arm:
    """Reads an arm, `rekd`, `seed:lightly` or `rekd+teacher_mode=online+dictionary=teacher`.

    Raises:
        UserError: the method has no such preset, a setting is not NAME=VALUE or is given twice,
            the learning rate is invalid, or a frozen teacher of its own lacks a checkpoint.
    """
    of, *parts = text.split("+")
    method, colon, named = of.partition(":")
    bundle = preset(method, named if colon else None, f"methods: preset of {method}")
    settings: dict[str, str] = {}
    for part in parts:
        name, equals, value = part.partition("=")
        if not (name and equals and value):
            raise refuse("methods", text, f"NAME=VALUE after a plus, not {part!r}")
        if name in settings:
            raise UserError(f"{text}: {name} is given twice")
        settings[name] = value
    if LR in settings and not _is_rate(settings[LR]):
        raise refuse(f"{method}+{LR}", settings[LR], "a number above 0")
    arm = Arm(text, method, {name: str(value) for name, value in bundle.items()} | settings)
    if "teacher" in settings and arm.shares_teacher:
        raise UserError(
            f"{text}: a frozen teacher other than the comparison's needs +teacher_checkpoint=FILE"
        )
    return arm


def parse_arms(text: str) -> tuple[Arm, ...]:
    """Reads a comma-separated list of arms.

    Raises:
        UserError: see `parse_arm`; or an arm is given twice, or none is given.
    """
    arms = tuple(parse_arm(part.strip()) for part in text.split(",") if part.strip())
    names = [arm.name for arm in arms]
    if not arms or len(set(names)) < len(names):
        raise refuse(
            "methods", text, "a comma-separated list of different arms, such as mocov2plus,rekd"
        )
    return arms


def refuse_arm(arm: Arm, methods: Mapping[str, Collection[str]]) -> None:
    """Refuses an arm that the host cannot run.

    Args:
        arm: the arm.
        methods: the host's methods, each with the settings that it takes.

    Raises:
        UserError: the method or the name of a setting is unknown.
    """
    if arm.method not in (UNTRAINED, *methods):
        raise refuse("methods", arm.method, nearest_first(arm.method, [UNTRAINED, *methods]))
    names = [LR, *methods[arm.method]] if arm.method != UNTRAINED else []
    for name, value in arm.settings.items():
        if name not in names:
            allowed = nearest_first(name, names) or "no setting"
            raise refuse(f"{arm.method}+{name}", value, allowed)


@contextmanager
def about(arm: Arm) -> Iterator[None]:
    """Adds the name of the arm to a UserError."""
    try:
        yield
    except UserError as error:
        raise UserError(f"{arm.name}: {error}") from error


def _is_rate(text: str) -> bool:
    try:
        return 0 < float(text) < math.inf
    except ValueError:
        return False
