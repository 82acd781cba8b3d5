import logging
import os
from pathlib import Path

import pytest
import torch

from solo_rekd.hosts.shared.saved import epoch_of, newest_first, newest_whole


def save(folder: Path, name: str) -> Path:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    torch.save({"state_dict": {"weight": torch.zeros(2)}}, path)
    return path


def test_the_epoch_stands_in_the_name() -> None:
    assert epoch_of(Path("rekd-offline-1ab2-ep=12.ckpt")) == 12
    assert epoch_of(Path("mine.ckpt")) == -1


@pytest.mark.parametrize("order", [1, -1], ids=["as saved", "reversed"])
def test_the_newest_is_of_the_highest_epoch_however_a_folder_lists_it(
    order: int, tmp_path: Path
) -> None:
    paths = [save(tmp_path, f"rekd-{number}-ep={epoch}.ckpt") for number, epoch in
             enumerate((9, 10, 2))]  # fmt: skip
    os.utime(paths[2])  # the last to be touched, as by a copy
    assert [epoch_of(path) for path in newest_first(paths[::order])] == [10, 9, 2]
    assert newest_whole(paths[::order]) == paths[1]


def test_without_epochs_the_latest_counts(tmp_path: Path) -> None:
    old, new = save(tmp_path, "a.ckpt"), save(tmp_path, "b.ckpt")
    os.utime(old, (1, 1))
    assert newest_whole([old, new]) == newest_whole([new, old]) == new


def test_a_torn_one_is_passed_over_and_named(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    whole, torn = save(tmp_path, "x-ep=0.ckpt"), save(tmp_path, "x-ep=1.ckpt")
    torn.write_bytes(torn.read_bytes()[:100])
    with caplog.at_level(logging.WARNING, "solo_rekd"):
        assert newest_whole([torn, whole]) == whole
    assert str(torn) in caplog.text
    assert newest_whole([torn]) is None
    assert newest_whole([]) is None
