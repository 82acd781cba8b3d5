import logging
import os
import time
from pathlib import Path
from typing import Any

import pytest
import torch

from solo_rekd.checkpoints.run_record import KEY, make_record
from solo_rekd.hosts.shared.resume import (
    IMAGES,
    Rule,
    differences,
    find_resumable,
    flatten,
    refuse_another_run,
)
from solo_rekd.utils.errors import UserError

RULE = Rule(ignored=("places", "num_workers"), defaults={"seed": 5})
RUN: dict[str, Any] = {
    "method": "rekd",
    "lr": 0.1,
    "max_epochs": 2,
    "scheduler": "warmup_cosine",
    "places": {"train": "/a", "val": "/b"},
    "augmentations": [{"crop_size": 32}, {"crop_size": 16}],
    KEY: {"images": "aa", "teacher_checkpoint": "cc"},
}


def save(folder: Path, epoch: int, settings: dict[str, Any] = RUN) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"rekd-ep={epoch}.ckpt"
    torch.save({"state_dict": {}, KEY: make_record(settings)}, path)
    return path


def find(folder: Path, settings: dict[str, Any] = RUN, max_hours: float = 1) -> Path | None:
    return find_resumable(folder, max_hours, settings, RULE)


def test_settings_are_listed_to_their_leaves() -> None:
    assert flatten({"a": {"b": 1, "c": {}}, "d": [{"e": 2}, {"e": 3}], "f": [4, 5]}) == {
        "a.b": 1, "a.c": {}, "d.0.e": 2, "d.1.e": 3, "f": [4, 5],
    }  # fmt: skip


@pytest.mark.parametrize(
    ("change", "found"),
    [
        ({}, {}),
        ({"places": {"train": "/moved"}, "num_workers": 4}, {}),
        ({"lr": 0.5}, {"lr": (0.1, 0.5)}),
        ({"clip": 1.0}, {"clip": (None, 1.0)}),
        ({"augmentations": [{"crop_size": 32}]}, {"augmentations.1.crop_size": (16, None)}),
        ({KEY: {"images": "bb"}}, {IMAGES: ("aa", "bb")}),
        ({KEY: {"images": "aa", "of_a_later_version": 1}}, {}),
        ({"seed": 5}, {}),
        ({"seed": 6}, {"seed": (5, 6)}),
    ],
)
def test_all_that_decides_a_run_is_compared(change: dict[str, Any], found: dict[str, Any]) -> None:
    assert differences(RUN, RUN | change, RULE) == found


def test_the_newest_epoch_of_the_latest_run_is_found(tmp_path: Path) -> None:
    assert find(tmp_path) is None
    ninth, last = (save(tmp_path / "old", epoch) for epoch in (9, 10))
    save(tmp_path / "old", 0)
    assert find(tmp_path) == last
    time.sleep(0.02)
    later = save(tmp_path / "new", 1)
    assert find(tmp_path) == later
    later.write_bytes(later.read_bytes()[:200])  # by a kill
    assert find(tmp_path) == last
    last.unlink()
    assert find(tmp_path) == ninth


def test_a_run_that_is_another_is_passed_over_with_the_reason(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    same = save(tmp_path / "a", 0)
    time.sleep(0.02)
    other = save(tmp_path / "b", 3, RUN | {KEY: {"images": "bb"}, "lr": 0.2})
    with caplog.at_level(logging.INFO, "solo_rekd"):
        assert find(tmp_path) == same
    assert str(other) in caplog.text
    assert "images are different" in caplog.text
    assert "lr=0.1 was 0.2" in caplog.text


def test_what_is_too_old_is_left(tmp_path: Path) -> None:
    save(tmp_path / "a", 0)
    assert find(tmp_path, max_hours=0) is None


def test_of_an_older_checkpoint_the_settings_beside_it_are_compared(tmp_path: Path) -> None:
    path = tmp_path / "rekd-ep=0.ckpt"
    torch.save({"state_dict": {}}, path)
    (path.parent / "args.json").write_text('{"method": "rekd", "lr": 0.1}')
    assert find(tmp_path, {"method": "rekd", "lr": 0.1, "seed": 5}) == path
    assert find(tmp_path, {"method": "rekd", "lr": 0.3, "seed": 5}) is None
    os.remove(path.parent / "args.json")
    assert find(tmp_path, {"method": "rekd", "lr": 0.1}) is None


def test_resuming_with_settings_that_would_go_unheeded_is_refused() -> None:
    refuse_another_run(RUN, RUN, RULE)
    refuse_another_run({}, RUN, RULE)  # of a checkpoint that tells nothing
    refuse_another_run(RUN | {"name": "first"}, RUN | {"name": "second"}, RULE)
    with pytest.raises(UserError, match=r"lr=0\.5 was 0\.1") as caught:
        refuse_another_run(RUN, RUN | {"lr": 0.5}, RULE)
    assert "\n" not in str(caught.value)
    with pytest.raises(UserError, match="training images are different"):
        refuse_another_run(RUN, RUN | {KEY: {"images": "bb"}}, RULE)


@pytest.mark.parametrize("nested", [False, True])
@pytest.mark.parametrize(
    ("scheduler", "refused"), [("warmup_cosine", True), ("cosine", True), ("none", False)]
)
def test_a_longer_training_is_refused_where_its_schedule_has_the_old_length(
    scheduler: str, refused: bool, nested: bool
) -> None:
    run = RUN | {"scheduler": {"name": scheduler} if nested else scheduler}
    if not refused:
        refuse_another_run(run, run | {"max_epochs": 4}, RULE)
        return
    with pytest.raises(UserError, match="max_epochs=4 was 2"):
        refuse_another_run(run, run | {"max_epochs": 4}, RULE)
