"""What runs were made with, and where they differ in it."""

import json
from pathlib import Path
from typing import Any

import pytest

from solo_rekd.compare.conditions import FILE, begin, differences
from solo_rekd.utils.errors import UserError

SETTINGS = {"lr": 0.1, "crop_size": [32, 32]}
PART = {"torch": "2.11", "CPU": "A"}


def start(folder: Path, settings: Any = SETTINGS, *, resumes: bool = False, **part: str) -> Any:
    return begin(folder, settings, 0, resumes, PART | part)


def test_a_run_keeps_what_each_part_was_made_with(tmp_path: Path) -> None:
    first = start(tmp_path)
    assert first == {"settings": SETTINGS, "parts": [PART | {"num_workers": "0"}]}
    assert start(tmp_path, resumes=True) == first
    assert start(tmp_path, SETTINGS | {"crop_size": (32, 32)}, resumes=True) == first
    parts = start(tmp_path, resumes=True, torch="0.1")["parts"]
    assert parts[0] == first["parts"][0]
    assert parts[1]["torch"] == "0.1"
    assert json.loads((tmp_path / FILE).read_text())["parts"] == parts
    # what begins anew has no earlier part
    assert start(tmp_path, torch="0.1")["parts"] == parts[1:]


def test_a_checkpoint_that_is_only_judged_has_no_loader(tmp_path: Path) -> None:
    assert start(tmp_path, None) == {"settings": {}, "parts": [PART]}


@pytest.mark.parametrize(
    ("now", "message"),
    [
        (SETTINGS | {"lr": 0.2}, "lr=0.2 differs from 0.1"),
        (SETTINGS | {"crop_size": [64, 64]}, r"crop_size=\[64, 64\] differs from \[32, 32\]"),
        (SETTINGS | {"new": 1}, "new=1 differs from None"),
        ({"crop_size": [32, 32]}, "lr=None differs from 0.1"),
    ],
)
def test_other_settings_are_refused(now: dict[str, Any], message: str, tmp_path: Path) -> None:
    start(tmp_path)
    before = (tmp_path / FILE).read_text()
    with pytest.raises(UserError, match=message):
        start(tmp_path, now, resumes=True)
    assert (tmp_path / FILE).read_text() == before


def test_a_run_from_before_a_setting_had_what_it_is_by_default(tmp_path: Path) -> None:
    start(tmp_path)
    start(tmp_path, SETTINGS | {"mixup": 0.0}, resumes=True)
    with pytest.raises(UserError, match=r"^method_kwargs.mixup=1.0 differs from 0.0, which"):
        start(tmp_path, SETTINGS | {"method_kwargs.mixup": 1.0}, resumes=True)


@pytest.mark.parametrize("content", [None, "", "{", "[]", '{"settings": {}}'])
def test_settings_that_are_unknown_are_refused(content: str | None, tmp_path: Path) -> None:
    if content is not None:
        (tmp_path / FILE).write_text(content)
    with pytest.raises(UserError, match=r"holds checkpoints, but .* does not record"):
        start(tmp_path, resumes=True)


def run(arm: str, seed: int, *parts: dict[str, str], **facts: Any) -> dict[str, Any]:
    settings = {"seed": seed, "lr": 0.1} | facts.pop("settings", {})
    made = {"parts": parts or [{"torch": "2.11"}], "settings": settings}
    return {"arm": arm, "seed": seed, "conditions": made} | facts


def test_runs_that_were_made_alike_do_not_differ() -> None:
    runs = [run("simclr", 0), run("simclr", 1), run("rekd", 0, settings={"lr": 0.2})]
    assert differences(runs) == differences([]) == []


def test_another_version_or_machine_is_told() -> None:
    runs = [run("rekd", seed) for seed in range(4)]
    (line,) = differences([*runs, run("simclr", 0, {"torch": "2.11"}, {"torch": "2.12"})])
    assert line == (
        "torch differs between runs: 2.11 (rekd seed 0, rekd seed 1, rekd seed 2 and 1 more); "
        "2.11, then 2.12 (simclr seed 0)"
    )
    (line,) = differences([run("rekd", 0, {"GPU": "A"}), run("rekd", 1, {"GPU": "B"})])
    assert line.startswith("GPU differs between runs: A (rekd seed 0); B")
    assert not differences([run("rekd", 0, {"memory": "1"}), run("rekd", 1, {"memory": "2"})])


def test_what_an_older_version_left_unsaid_is_told() -> None:
    (line,) = differences([run("rekd", 0), {"arm": "simclr", "seed": 0}])
    assert line == "torch differs between runs: 2.11 (rekd seed 0); not recorded (simclr seed 0)"


def test_runs_of_one_arm_with_other_settings_or_teachers_are_told() -> None:
    runs = [run("rekd", 0, teacher_sha256="1"), run("rekd", 1, teacher_sha256="2")]
    (line,) = differences([*runs, run("simclr", 0)])
    assert line == "rekd: SHA-256 of the teacher differs between runs: 1 (seed 0); 2 (seed 1)"
    (line,) = differences([run("rekd", 0), run("rekd", 1, settings={"lr": 0.2})])
    assert line == "rekd: lr differs between runs: 0.1 (seed 0); 0.2 (seed 1)"


def test_a_teacher_that_is_only_evaluated_has_no_loader_of_crops() -> None:
    part = {"torch": "2.11"}
    students = [run("rekd", seed, part | {"num_workers": "1"}) for seed in range(2)]
    given = {"arm": "teacher", "seed": 0, "conditions": {"parts": [part], "settings": {}}}
    assert differences([given, *students]) == []
    (line,) = differences([given, *students, run("rekd", 2, part | {"num_workers": "2"})])
    assert line == "num_workers differs between runs: 1 (rekd seed 0, rekd seed 1); 2 (rekd seed 2)"
