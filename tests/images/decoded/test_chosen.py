import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch.utils.data import DataLoader
from torchvision import transforms
from torchvision.transforms.functional import pil_to_tensor

from solo_rekd.images.decoded.chosen import chosen, prepare, prepare_folders
from solo_rekd.images.photos.data_set import UnlabelledPhotos
from solo_rekd.images.sets import ClassFolders, with_index
from solo_rekd.utils.errors import UserError

CROP = transforms.Compose([transforms.RandomResizedCrop(16), transforms.ToTensor()])


def write_images(folder: Path, number: int, side: int) -> list[str]:
    folder.mkdir(parents=True)
    rng = np.random.default_rng(number)
    for index in range(number):
        noise = rng.integers(0, 256, (side, side, 3), dtype=np.uint8)
        Image.fromarray(noise).save(folder / f"{index}.png")
    return [str(path) for path in sorted(folder.iterdir())]


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A folder `b/train` of two classes."""
    write_images(tmp_path / "b" / "train" / "one", 3, 40)
    write_images(tmp_path / "b" / "train" / "two", 2, 40)
    return tmp_path / "b" / "train"


@pytest.fixture
def kept(tmp_path: Path) -> str:
    return str(tmp_path / "cache")


def damage(root: Path) -> None:
    """Puts other content into every file, so that only what was decoded before can be read."""
    for path in root.rglob("*.png"):
        path.write_bytes(b"none")


@pytest.mark.parametrize(
    ("start", "transform"),
    [
        ("fork", "host"),
        ("spawn", "v2"),
        pytest.param("spawn", "host", marks=pytest.mark.slow),
        pytest.param("forkserver", "host", marks=pytest.mark.slow),
        pytest.param("forkserver", "v2", marks=pytest.mark.slow),
    ],
)
def test_the_workers_of_a_loader_read_them(start, transform, root, kept):
    torch.manual_seed(0)
    plain = ClassFolders(root, pil_to_tensor if transform == "host" else CROP)
    expected = [image for image, _ in plain]
    prepare_folders([str(root)], True, kept, transform)
    dataset = with_index(ClassFolders)(root, plain.transform)
    damage(root)
    torch.manual_seed(0)
    alone = [image for _, image, _ in dataset]
    loader = DataLoader(dataset, num_workers=1, multiprocessing_context=start)
    batches = list(loader)
    assert [int(index) for index, _, _ in batches] == list(range(5))
    for image, own, (_, read, _) in zip(expected, alone, batches, strict=True):
        assert read[0].shape == image.shape
        if transform == "host":
            assert torch.equal(read[0], image)
        torch.testing.assert_close(own, image, rtol=0, atol=0 if transform == "host" else 2 / 255)


def test_a_flat_folder_is_read_so_too(tmp_path, kept):
    write_images(tmp_path / "flat", 3, 20)
    expected = [image for image, _ in UnlabelledPhotos(tmp_path / "flat", pil_to_tensor)]
    prepare_folders([str(tmp_path / "flat")], False, kept, "auto")
    read = UnlabelledPhotos(tmp_path / "flat", pil_to_tensor)
    damage(tmp_path / "flat")
    assert all(torch.equal(image, own) for (image, _), own in zip(read, expected, strict=True))


def test_a_folder_is_known_however_it_is_written(root, kept, tmp_path, monkeypatch):
    (tmp_path / "link").symlink_to(tmp_path / "b")
    monkeypatch.chdir(root)
    ways = (root, f"{root}/", ".", root / ".." / "train", tmp_path / "link" / "train")
    prepare_folders([str(root)], True, kept, "auto")
    damage(root)
    for way in ways:
        assert chosen(way) is not None
        assert len([*ClassFolders(way, pil_to_tensor)]) == 5
    assert chosen(root.parent) is None


@pytest.mark.parametrize(
    ("side", "asked", "tensors"),
    [(40, "auto", False), (330, "auto", True), (330, "host", False), (40, "v2", True)],
)
def test_large_images_are_resized_as_tensors(side, asked, tensors, tmp_path, kept):
    paths = write_images(tmp_path / "images", 2, side)
    (found,) = prepare({str(tmp_path / "images"): paths}, kept, asked).values()
    assert found.tensors is tensors


def test_off_decodes_nothing(root):
    prepare_folders([str(root), None], True, "off", "auto")
    assert chosen(root) is None


@pytest.mark.parametrize(
    ("where", "asked", "message"),
    [
        ("off", "v2", "transforms='v2' needs decoded images: give decoded_images"),
        ("auto", "v1", "transforms='v1' is not allowed: expected auto, host, v2"),
    ],
)
def test_what_cannot_be_is_refused(where, asked, message, root):
    with pytest.raises(UserError, match=message):
        prepare_folders([str(root)], True, where, asked)


@pytest.mark.slow
def test_a_process_that_is_started_reads_them_too(root, kept):
    prepare_folders([str(root)], True, kept, "auto")
    damage(root)
    code = (
        "import sys; from solo_rekd.images.sets import ClassFolders; "
        "print(sum(image.size[0] for image, _ in ClassFolders(sys.argv[1])))"
    )
    ran = subprocess.run(
        [sys.executable, "-c", code, str(root)], capture_output=True, text=True, env=os.environ
    )
    assert ran.stdout == "200\n", ran.stderr
