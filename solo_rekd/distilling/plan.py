"""What a run is, as its folder keeps it: what was asked for, what was chosen, which photos."""

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
SHOWN = 3  # differences in a message


@dataclass(frozen=True)
class Plan:
    """The settings of a run.

    Attributes:
        asked: `Request.decisive`.
        choices: name, value and reason of each setting.
        photos: `training`, `held_out` and `left_out`, the last by kind.
        teacher: `sha256`, `line`, `width` and `side` of its file.
        host: name of the solo-learn that trains, and its versions.
        command: the line that was typed first.
        version: of this form.
    """

    asked: Mapping[str, Any]
    choices: list[Choice]
    photos: Mapping[str, Any]
    teacher: Mapping[str, Any]
    host: Mapping[str, str]
    command: str
    version: int = field(default=VERSION)

    def write(self, out: Path) -> None:
        """Writes it into the folder of the run."""
        write_json(out / PLAN, asdict(self))

    def resumed(self, now: list[Choice]) -> list[Choice]:
        """The choices of the run; those that decide nothing of it are made anew."""
        kept = {choice.name: choice for choice in self.choices if choice.name not in MAY_CHANGE}
        return [kept.get(choice.name, choice) for choice in now]


def read_plan(out: Path) -> Plan | None:
    """Reads the plan of a folder; None where there is none.

    Raises:
        UserError: the file is no plan of this version.
    """
    if not (out / PLAN).exists():
        return None
    stored = read_json(out / PLAN)
    if not isinstance(stored, dict) or stored.get("version") != VERSION:
        raise UserError(f"{out / PLAN} is no plan of this version: give another --out")
    try:
        return Plan(**stored | {"choices": [Choice(*each) for each in stored["choices"]]})
    except (TypeError, KeyError) as error:
        raise UserError(f"{out / PLAN} is damaged: give another --out") from error


def refuse_other(plan: Plan, asked: Mapping[str, Any], sha256: str, host: str, out: Path) -> None:
    """Refuses to resume a run with another request.

    Args:
        plan: of the run.
        asked: `Request.decisive` now.
        sha256: of the teacher's file now.
        host: name of the host now.
        out: folder of the run.

    Raises:
        UserError: something that decides the run differs; the line names it.
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
        found = ["teacher_checkpoint is another file (by SHA-256)"]
    if found:
        more = f" and {len(found) - SHOWN} more" if len(found) > SHOWN else ""
        raise UserError(
            f"{out} holds a run with other settings: {', '.join(found[:SHOWN])}{more}: give those "
            "of the run, or another --out"
        )


def _say(value: Any) -> str:
    return "not given" if value is None else repr(value)
