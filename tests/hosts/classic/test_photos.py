"""Photos without labels in the classic host, in every form that a run may be given."""

import logging
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from messy_photos import BROKEN, NUMBER, write_photos

from solo_rekd.hosts.classic.run import expected_training
from solo_rekd.images.photos import data_set
from solo_rekd.utils.errors import UserError

Flags = Callable[..., list[str]]
FORMS = ("folder", "index", "list", "part")


@pytest.fixture
def photos(data: Path, tmp_path: Path) -> dict[str, Path]:
    return write_photos(data / "train", tmp_path)


def unlabelled(given: Path) -> dict[str, Any]:
    return {
        "data_dir": given.parent,
        "train_dir": given.name,
        "val_dir": None,
        "no_labels": True,
        "encoder": "shufflenet_v2_x1_0",
    }


@pytest.mark.parametrize("form", FORMS)
def test_every_form_is_read_as_one_set_of_photos(
    form: str, host: ModuleType, flags: Flags, photos: dict[str, Path], tmp_path: Path
) -> None:
    from solo_rekd.hosts.classic.loaders import pretrain_loader
    from solo_rekd.hosts.classic.run import KEY

    changes = unlabelled(photos[form]) | {"save_checkpoint": True, "checkpoint_dir": tmp_path}
    args = host.parse_pretrain(flags("pretrain", method="rekd", **changes))
    dataset = pretrain_loader(args).dataset
    number = NUMBER - (form == "part")
    assert (len(dataset), expected_training(args).images, args.num_classes) == (number, number, 1)
    place, crops, label = dataset[3]
    assert (place, label, [crop.shape for crop in crops]) == (3, -1, [(3, 32, 32)] * 2)
    assert len(vars(args)[KEY]["images"]) == 64  # by which a resumed run knows them


def test_an_index_has_no_classes(host: ModuleType, flags: Flags, photos: dict[str, Path]) -> None:
    changes = unlabelled(photos["index"]) | {"no_labels": None}
    with pytest.raises(UserError, match="index of photos without labels"):
        host.parse_pretrain(flags("pretrain", method="rekd", **changes))


@pytest.mark.slow
@pytest.mark.parametrize("form", ["folder", "list"])
def test_a_broken_photo_does_not_end_a_training(
    form: str,
    host: ModuleType,
    flags: Flags,
    photos: dict[str, Path],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr(data_set, "_named", set())
    caplog.set_level(logging.WARNING, "solo_rekd")
    changes = unlabelled(photos[form]) | {"batch_size": 5, "num_workers": 1, "max_epochs": 2}
    result = host.pretrain(flags("pretrain", method="rekd", **changes))
    assert torch.tensor(list(result["metrics"].values())).isfinite().any()
    lines = [line for line in caplog.messages if line.startswith("epoch ")]
    assert [line.partition(":")[0] for line in lines] == ["epoch 1", "epoch 2"]
    assert all(f"1 of {NUMBER} photos" in line and BROKEN in line for line in lines)


@pytest.mark.slow
def test_a_cache_of_the_teacher_holds_another_photo_in_its_place(
    host: ModuleType,
    flags: Flags,
    photos: dict[str, Path],
    asked: list[int],
    frozen_teacher: dict[str, Any],
    tmp_path: Path,
) -> None:
    changes = unlabelled(photos["index"]) | frozen_teacher | {"batch_size": 5}
    changes |= {"teacher_view": "image", "teacher_cache": tmp_path / "cache"}
    for _ in range(2):
        host.pretrain(flags("pretrain", method="rekd", **changes))
    assert sum(asked) == NUMBER  # once for both runs
