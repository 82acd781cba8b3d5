import copy
import pickle
import traceback
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import DataLoader, Dataset
from torchvision.datasets import ImageFolder
from torchvision.transforms.functional import pil_to_tensor

from solo_rekd.images.photos.data_set import UnlabelledPhotos
from solo_rekd.images.sets import ClassFolders, with_index
from solo_rekd.utils.errors import UserError

STARTS = ["fork", "forkserver", pytest.param("spawn", marks=pytest.mark.slow)]


class Halves(Dataset):
    """A data set of neither host: halves of the whole numbers up to its size."""

    def __init__(self, size: int) -> None:
        self.size = size

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        return torch.tensor(index / 2), -1

    def __len__(self) -> int:
        return self.size


def faulty(image: Image.Image) -> Any:
    raise ValueError("a fault of the augmentation")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    rng = np.random.default_rng(0)
    for name in ("train/a/1.png", "train/b/2.png", "train/b/3.png", "flat/2.png", "flat/1.png"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        noise = rng.integers(0, 256, (4, 5, 3), dtype=np.uint8)
        Image.fromarray(noise).save(tmp_path / name)
    return tmp_path


def test_class_folders_are_torchvisions(folder: Path) -> None:
    ours, theirs = ClassFolders(folder / "train"), ImageFolder(str(folder / "train"))
    for name in ("classes", "class_to_idx", "samples", "targets", "imgs"):
        assert getattr(ours, name) == getattr(theirs, name)
    for (image, label), (expected, same) in zip(ours, theirs, strict=True):
        np.testing.assert_array_equal(np.asarray(image), np.asarray(expected))
        assert label == same


def test_a_flat_folder_is_in_order_and_has_no_labels(folder: Path) -> None:
    images = UnlabelledPhotos(str(folder / "flat"), pil_to_tensor)
    assert images.images == ["1.png", "2.png"]
    pixels, label = images[1]
    expected = np.asarray(Image.open(folder / "flat" / "2.png"))
    np.testing.assert_array_equal(pixels.permute(1, 2, 0).numpy(), expected)
    assert (len(images), label) == (2, -1)


@pytest.mark.parametrize("start", STARTS)
@pytest.mark.parametrize(("kind", "name"), [(ClassFolders, "train"), (UnlabelledPhotos, "flat")])
def test_workers_of_every_start_read_them(start: str, kind: Any, name: str, folder: Path) -> None:
    images = with_index(kind)(folder / name, pil_to_tensor)
    loader = DataLoader(images, num_workers=1, multiprocessing_context=start)
    for (index, pixels, label), place in zip(loader, range(len(images)), strict=True):
        assert int(index) == place
        assert torch.equal(pixels[0], images[place][1])
        assert int(label) == images[place][2]


def test_any_data_set_can_have_indexes_and_be_pickled() -> None:
    numbers = with_index(Halves)(3)
    assert with_index(Halves) is with_index(Halves)
    for other in (numbers, pickle.loads(pickle.dumps(numbers)), copy.copy(numbers)):
        assert isinstance(other, Halves)
        assert other[2] == (2, torch.tensor(1.0), -1)
    copied = copy.copy(numbers)
    copied.size = 1
    assert numbers.size == 3


@pytest.mark.parametrize("workers", [0, 1])
@pytest.mark.parametrize(("kind", "name"), [(ClassFolders, "train"), (UnlabelledPhotos, "flat")])
def test_a_fault_of_the_augmentation_stays_one(
    kind: Any, name: str, workers: int, folder: Path
) -> None:
    loader = DataLoader(kind(folder / name, faulty), num_workers=workers)
    with pytest.raises(ValueError, match="a fault of the augmentation") as caught:
        next(iter(loader))
    shown = "".join(traceback.format_exception(caught.value))
    assert "in faulty" in shown
    assert "cannot be decoded" not in shown


@pytest.mark.parametrize(("kind", "name"), [(ClassFolders, "train"), (UnlabelledPhotos, "flat")])
def test_what_is_wrong_with_all_images_is_known_before_anything_runs(
    kind: Any, name: str, folder: Path
) -> None:
    for path in (folder / name).rglob("*.png"):
        Image.fromarray(np.full((4, 4), 30_000, np.uint16)).save(path)
    with pytest.raises(UserError, match="8 bits"):
        kind(folder / name)


def test_the_first_image_of_a_class_is_looked_at(folder: Path) -> None:
    first = min((folder / "train").rglob("*.png"))
    Image.fromarray(np.full((4, 4), 30_000, np.uint16)).save(first)
    with pytest.raises(UserError, match="8 bits"):
        ClassFolders(folder / "train")
