import dataclasses
from pathlib import Path
from typing import Any

import pytest

from solo_rekd.distilling.choices import Choice
from solo_rekd.distilling.plan import PLAN, Plan, read_plan, refuse_other
from solo_rekd.utils.errors import UserError

ASKED = {"epochs": 2, "lr": None, "photos": ["/a"], "host": None}
CHOICES = [Choice("batch_size", 64, "usual"), Choice("workers", 2, "2 cores")]


def plan(**changes: Any) -> Plan:
    given: dict[str, Any] = {"asked": ASKED, "choices": CHOICES, "photos": {}, "command": "x"}
    given |= {"teacher": {"sha256": "aa"}, "host": {"name": "classic"}}
    return Plan(**given | changes)


def test_it_comes_back_from_its_file(tmp_path: Path) -> None:
    assert read_plan(tmp_path) is None
    plan().write(tmp_path)
    assert read_plan(tmp_path) == plan()


@pytest.mark.parametrize("text", ["", "[]", '{"version": 0}', '{"version": 1, "choices": []}'])
def test_a_damaged_one_is_refused(text: str, tmp_path: Path) -> None:
    (tmp_path / PLAN).write_text(text)
    with pytest.raises(UserError, match=r"plan\.json.*another --out"):
        read_plan(tmp_path)


@pytest.mark.parametrize(
    ("asked", "sha256", "host", "message"),
    [
        ({"epochs": 3}, "aa", "classic", "epochs=3 was 2"),
        ({"epochs": None}, "aa", "classic", "epochs=not given was 2"),
        ({"lr": 0.1, "photos": ["/b"]}, "aa", "classic", r"lr=0.1 was not given, photos=\['/b'\]"),
        ({}, "bb", "classic", "a different file"),
        ({}, "aa", "main", "host='main' was 'classic'"),
    ],
)
def test_another_request_is_refused_by_name(
    asked: dict[str, Any], sha256: str, host: str, message: str, tmp_path: Path
) -> None:
    refuse_other(plan(), ASKED | {"host": "/somewhere"}, "aa", "classic", tmp_path)
    with pytest.raises(UserError, match=message):
        refuse_other(plan(), ASKED | asked, sha256, host, tmp_path)


def test_a_resumed_run_keeps_what_decides_it_and_chooses_the_rest_anew() -> None:
    now = [Choice("batch_size", 256, "usual"), Choice("workers", 16, "32 cores")]
    assert plan().resumed(now) == [CHOICES[0], now[1]]
    assert dataclasses.asdict(plan())["version"] == 1
