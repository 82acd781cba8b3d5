"""The record of a run in its folder: what was asked for, what was chosen, and which photos."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from solo_rekd.distilling.choices import Choice
from solo_rekd.distilling.request import MAY_CHANGE
from solo_rekd.utils.errors import UserError
from solo_rekd.utils.files import read_json, write_json

PLAN = "plan.json"
VERSION = 1
SHOWN = 3  # differences in a message, at most


@dataclass(frozen=True)
class Plan:
    """The settings of a run.

    Attributes:
        asked: value of `Request.decisive`.
        choices: name, value and reason of each setting.
        photos: `training`, `held_out` and `left_out`, the last by kind.
        teacher: `sha256`, `line`, `width` and `side` of the teacher's file.
        host: name of the solo-learn that trains, and its versions.
        command: command line that began the run.
        version: version of this format.
    """

    asked: Mapping[str, Any]
    choices: list[Choice]
    photos: Mapping[str, Any]
    teacher: Mapping[str, Any]
    host: Mapping[str, str]
    command: str
    version: int = field(default=VERSION)

    def write(self, out: Path) -> None:
        """Writes the plan into the folder of the run."""
        write_json(out / PLAN, asdict(self))

    def resumed(self, now: list[Choice]) -> list[Choice]:
        """Returns the choices of the run; those that do not affect its result are made again."""
        kept = {choice.name: choice for choice in self.choices if choice.name not in MAY_CHANGE}
        return [kept.get(choice.name, choice) for choice in now]


def read_plan(out: Path) -> Plan | None:
    """Reads the plan of a folder; None where there is none.

    Raises:
        UserError: the file is not a plan of this version.
    """
    if not (out / PLAN).exists():
        return None
    stored = read_json(out / PLAN)
    if not isinstance(stored, dict) or stored.get("version") != VERSION:
        raise UserError(f"{out / PLAN} is not a plan of this version: give another --out")
    try:
        return Plan(**stored | {"choices": [Choice(*each) for each in stored["choices"]]})
    except (TypeError, KeyError) as error:
        raise UserError(f"{out / PLAN} is damaged: give another --out") from error


def refuse_other(plan: Plan, asked: Mapping[str, Any], sha256: str, host: str, out: Path) -> None:
    """Refuses to resume a run with a different request.

    Args:
        plan: plan of the run.
        asked: value of `Request.decisive` now.
        sha256: SHA-256 of the teacher's file now.
        host: name of the host now.
        out: folder of the run.

    Raises:
        UserError: something that affects the run's result differs; the message names it.
    """
    names = list(dict.fromkeys((*plan.asked, *asked)))
    found = [
        f"{name}={_say(asked.get(name))} was {_say(plan.asked.get(name))}"
        for name in names
        if name != "host" and asked.get(name) != plan.asked.get(name)
    ]
    if host != plan.host["name"]:
        found.append(f"host={host!r} was {plan.host['name']!r}")
    if not found and sha256 != plan.teacher["sha256"]:
        found = ["teacher_checkpoint is a different file (by SHA-256)"]
    if found:
        more = f" and {len(found) - SHOWN} more" if len(found) > SHOWN else ""
        raise UserError(
            f"{out} holds a run with other settings: {', '.join(found[:SHOWN])}{more}: give the "
            "run's settings, or another --out"
        )


def _say(value: Any) -> str:
    return "not given" if value is None else repr(value)
