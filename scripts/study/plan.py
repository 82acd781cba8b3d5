"""What the study runs, read from a file such as plan.yaml, whose comments explain its keys."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

PLAN = Path(__file__).with_name("plan.yaml")
RATES = "rates"  # the phase that sweeps learning rates


@dataclass(frozen=True)
class Arm:
    """A line of the tables.

    Attributes:
        name: in the tables.
        text: as solo-rekd compare reads it, with `{teacher}` for the teacher's file.
        rates: its sweep; none: it takes that of `rates_as`, or the comparison's.
        rates_as: the arm whose learning rate it takes; itself, where it has a sweep or needs none.
    """

    name: str
    text: str
    rates: tuple[float, ...]
    rates_as: str

    @property
    def is_swept(self) -> bool:
        """Whether it takes the learning rate of no other arm."""
        return self.rates_as == self.name


@dataclass(frozen=True)
class Plan:
    """The study.

    Attributes:
        content: the file's, where data sets, students, teachers and phases are read as they are.
        arms: by name.
        tables: groups of names of arms, by name of the table.
    """

    content: Mapping[str, Any]
    arms: Mapping[str, Arm]
    tables: Mapping[str, Sequence[Sequence[str]]]

    def names(self, kind: str) -> list[str]:
        """Those of `datasets`, `students`, `teachers`, `phases` or `arms`, in their order."""
        return list(self.content[kind])

    def places(self) -> list[tuple[str, str, list[str]]]:
        """Data sets and teachers that belong together, with their students, in the file's order.

        A data set may name its `students` and `teachers`; else it has all.
        """
        found = []
        for dataset, settings in self.content["datasets"].items():
            students = settings.get("students", self.names("students"))
            for teacher in settings.get("teachers", self.names("teachers")):
                found.append((dataset, teacher, list(students)))
        return found

    def options(self, dataset: str, student: str, teacher: str, phase: str) -> dict[str, Any]:
        """The options of solo-rekd compare, the more special ones over the others."""
        special = (
            self.content,
            self.content["datasets"][dataset],
            self.content["students"][student],
            self.content["teachers"][teacher],
            self.content["phases"][phase],
        )
        found: dict[str, Any] = {}
        for part in special:
            found |= part.get("compare", {})
        return found

    def rates_of(self, kind: str, name: str) -> str:
        """The data set or student whose learning rates this one takes."""
        return self.content[kind][name].get("rates_as", name)


def read_plan(path: Path = PLAN) -> Plan:
    """Reads a plan.

    Raises:
        SystemExit: it names an arm that it does not have.
    """
    content = yaml.safe_load(path.read_text(encoding="utf-8"))
    arms = {name: _arm(name, each) for name, each in content["arms"].items()}
    tables = content.get("tables", {})
    named = [arm.rates_as for arm in arms.values()]
    named += [name for groups in tables.values() for group in groups for name in group]
    if unknown := sorted(set(named) - set(arms)):
        raise SystemExit(f"{path}: there is no arm {', '.join(unknown)}")
    return Plan(content, arms, tables)


def _arm(name: str, settings: Mapping[str, Any]) -> Arm:
    rates = tuple(settings.get("rates", ()))
    return Arm(name, settings.get("arm", name), rates, settings.get("rates_as", name))
