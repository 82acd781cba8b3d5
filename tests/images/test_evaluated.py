from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision import datasets

from solo_rekd.images import evaluated
from solo_rekd.images.data_sets import FIXED_SIDES, MEAN, STD
from solo_rekd.images.evaluated import evaluation_sets
from solo_rekd.images.transforms import plain_transform
from solo_rekd.utils.errors import UserError


@pytest.mark.parametrize("dataset", FIXED_SIDES)
def test_an_image_is_seen_as_the_classic_host_shows_it(dataset: str) -> None:
    from solo.utils.classification_dataloader import prepare_transforms

    side = FIXED_SIDES.get(dataset, 300)
    pixels = np.random.default_rng(0).integers(0, 256, (side, side, 3)).astype("uint8")
    image = Image.fromarray(pixels)
    expected = prepare_transforms(dataset)[1](image)
    assert torch.equal(plain_transform(dataset, 224, MEAN, STD)(image), expected)


@pytest.mark.parametrize("dataset", ["cifar10", "cifar100", "stl10"])
def test_torchvision_brings_what_is_no_folder(
    dataset: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []

    class Fake:
        def __init__(self, root: str, *split: object, **kwargs: object) -> None:
            kwargs.pop("transform")
            asked.append((root, *split, kwargs))

    monkeypatch.setattr(evaluated.datasets, dataset.upper(), Fake)
    assert set(evaluation_sets(dataset, "a", "b", 1, MEAN, STD)) == {"train", "val"}
    if dataset == "stl10":
        assert asked == [("a", "train", {"download": True}), ("b", "test", {"download": True})]
    else:
        whole = {"train": True, "download": True}
        assert asked == [("a", whole), ("b", whole | {"train": False})]
    assert hasattr(datasets, dataset.upper())


@pytest.mark.parametrize(
    ("val", "message"),
    [(None, "custom needs --val_dir"), ("two/val", "different classes"), ("nowhere", "nowhere")],
)
def test_folders_that_cannot_judge_are_refused(val: str | None, message: str, data: Path) -> None:
    folder = None if val is None else str(data / val)
    with pytest.raises(UserError, match=message):
        evaluation_sets("custom", str(data / "train"), folder, 32, MEAN, STD)
