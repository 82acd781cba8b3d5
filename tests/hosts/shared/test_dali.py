"""What both hosts' DALI pipelines share: their machine, their images, their errors."""

import gc
import io
import multiprocessing
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision.datasets import ImageFolder

pytest.importorskip("nvidia.dali", reason="NVIDIA DALI is not installed: solo-rekd[dali]")

from nvidia.dali import fn, ops
from nvidia.dali.pipeline import Pipeline
from nvidia.dali.plugin.pytorch import DALIGenericIterator, LastBatchPolicy
from nvidia.dali.types import DALIImageType

from solo_rekd.hosts.shared.dali import (
    IndexedImages,
    ListedImages,
    NamedImages,
    fit_machine,
    list_images,
)
from solo_rekd.images.broken import skip_broken
from solo_rekd.images.read import load_rgb
from solo_rekd.utils.errors import UserError

SIDE = 16


class Host:
    """What the hosts' pipelines and builders have in common."""

    def __init__(self, data_path: Any, batch_size: int, **kwargs: Any) -> None:
        self.decode = ops.decoders.Image(device="cpu", output_type=DALIImageType.RGB)


class Batches(NamedImages, DALIGenericIterator):
    """Batches of whole images and the reader's labels."""


def batches(kind: type, folder: Path, batch_size: int = 4, **kwargs: Any) -> Batches:
    """A loader of either kind of images, as the hosts make one."""
    host = type("Host", (kind, Host), {})(folder, batch_size=batch_size, **kwargs)
    pipeline = Pipeline(batch_size, 1, None)
    with pipeline:
        contents, labels = host.reader(name="Reader")
        pipeline.set_outputs(host.decode(contents), labels)
    pipeline.images = host.images
    policy = LastBatchPolicy.PARTIAL if kwargs.get("validation") else LastBatchPolicy.DROP
    names = ["image", "label"]
    return Batches(
        pipeline, output_map=names, reader_name="Reader", last_batch_policy=policy, auto_reset=True
    )


def epoch(loader: Batches) -> list[int]:
    """The labels of an epoch."""
    return [label for (batch,) in loader for label in batch["label"].flatten().tolist()]


def picture() -> Image.Image:
    """A smooth picture, wider than high."""
    pixels = np.random.default_rng(0).integers(0, 256, (4, 5, 3)).astype("uint8")
    return Image.fromarray(pixels).resize((SIDE + 8, SIDE), Image.Resampling.BICUBIC)


def written(name: str, image: Image.Image | None = None, **options: Any) -> bytes:
    """A picture as a file."""
    file = io.BytesIO()
    (image or picture()).save(file, format=name, **options)
    return file.getvalue()


@pytest.fixture
def folder(tmp_path: Path) -> Callable[..., Path]:
    """Writes files of one size under class folders: folder("a/1.jpg", "b/part/2.jpg")."""

    def write(*names: str) -> Path:
        for name in names:
            path = tmp_path / "train" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(written("JPEG"))
        return tmp_path / "train"

    return write


NAMES = [f"{name}/{index}.jpg" for name in ("9", "10", "ant") for index in range(4)]


def test_the_device_is_torch_s_and_not_the_process_s_place(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "current_device", lambda: 3)  # the second of devices: [2, 3]
    assert fit_machine(4, 0)[:2] == (4, 3)


def test_without_a_gpu_there_is_no_device(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert fit_machine(0, 0)[:2] == (1, None)


def test_another_run_draws_other_numbers() -> None:
    seeds = set()
    for seed in (0, 0, 1):
        torch.manual_seed(seed)
        seeds.add(fit_machine(1, 12)[2])
    assert len(seeds) == 2


def test_a_worker_leaves_its_parent_s_pipelines_alone() -> None:
    pipeline = Pipeline(batch_size=2, num_threads=1, device_id=None, seed=0)
    with pipeline:
        pipeline.set_outputs(fn.random.uniform())
    pipeline.build()
    pipeline.run()
    worker = multiprocessing.get_context("fork").Process(target=gc.collect)
    gc.disable()
    try:
        pipeline.itself = pipeline  # garbage that only a collection frees
        del pipeline
        worker.start()
        worker.join(timeout=30)
        assert worker.exitcode == 0
    finally:
        gc.enable()
        worker.kill()


def test_images_are_those_of_the_image_folder(folder: Callable[..., Path]) -> None:
    root = folder(*NAMES, "9/part/0.JPG", "ant/\u00fc \u00ef, c.jpg", "10/a.b/5.jpg")
    for stray in ("notes.txt", "9/Thumbs.db", "ant/part/notes"):
        (root / stray).parent.mkdir(exist_ok=True)
        (root / stray).write_bytes(bytes(600))
    samples = ImageFolder(str(root)).samples
    assert batches(IndexedImages, root).images == samples
    loader = batches(ListedImages, root, validation=True)
    assert epoch(loader) == [label for _, label in samples]


def test_images_without_labels_may_lie_in_folders(folder: Callable[..., Path]) -> None:
    root = folder("1.jpg", "2.jpg", "part/3.jpg")
    loader = batches(IndexedImages, root, 1, no_labels=True)
    assert loader.images == [(str(root / name), -1) for name in ("1.jpg", "2.jpg", "part/3.jpg")]
    assert sorted(epoch(loader)) == [0, 1, 2]


def test_too_few_images_for_a_batch_are_refused(folder: Callable[..., Path]) -> None:
    with pytest.raises(UserError, match=r"^batch_size=13 .* at most 12, a process's share"):
        batches(ListedImages, folder(*NAMES), 13)
    with pytest.raises(UserError, match=r"^batch_size=7 .* at most 6, a process's share"):
        batches(IndexedImages, folder(*NAMES), 7, num_shards=2)


@pytest.mark.parametrize("fraction", [1.5, 0.01])
def test_a_part_of_the_images_that_is_none_is_refused(
    fraction: float, folder: Callable[..., Path]
) -> None:
    pytest.importorskip("sklearn", reason="the host takes a share of the data by scikit-learn")
    with pytest.raises(UserError, match=rf"^data.fraction={fraction} is not allowed"):
        batches(IndexedImages, folder(*NAMES), data_fraction=fraction)


@pytest.mark.parametrize("batch_size", [4, 5])  # of 12 images: the last batch is whole, or dropped
def test_every_epoch_has_an_order_of_its_own(batch_size: int, folder: Callable[..., Path]) -> None:
    loader = batches(IndexedImages, folder(*NAMES), batch_size)
    orders = [epoch(loader) for _ in range(5)]
    assert all(len(set(order)) == len(order) == 12 // batch_size * batch_size for order in orders)
    assert len(set(map(tuple, orders))) == 5


def test_the_run_s_seed_decides_the_order(folder: Callable[..., Path]) -> None:
    orders, images = [], folder(*NAMES)
    for seed in (0, 1, 0):
        torch.manual_seed(seed)
        loader = batches(IndexedImages, images)
        orders.append(epoch(loader) + epoch(loader))
    assert orders[0] == orders[2] != orders[1]


@pytest.mark.parametrize("kind", [IndexedImages, ListedImages])
def test_processes_share_the_images(kind: type, folder: Callable[..., Path]) -> None:
    torch.manual_seed(0)
    images = folder(*NAMES)
    shards = [batches(kind, images, 3, shard_id=shard, num_shards=2) for shard in (0, 1)]
    for _ in range(3):
        seen = sorted(label for shard in shards for label in epoch(shard))
        assert seen == (list(range(12)) if kind is IndexedImages else sorted([0, 1, 2] * 4))


@pytest.mark.parametrize("num_shards", [1, 3])
@pytest.mark.parametrize("batch_size", [1, 4, 5, 12, 40])
def test_validation_sees_every_image_once(
    batch_size: int, num_shards: int, folder: Callable[..., Path]
) -> None:
    settings = {"validation": True, "num_shards": num_shards}
    images = folder(*NAMES)  # once: DALI maps the files that it reads ahead into memory
    loaders = [
        batches(IndexedImages, images, batch_size, shard_id=shard, **settings)
        for shard in range(num_shards)
    ]
    for _ in range(3):
        assert sorted(label for loader in loaders for label in epoch(loader)) == list(range(12))


JPEG, PNG = written("JPEG", quality=95), written("PNG")
DAMAGED = {
    "empty.jpg": b"",
    "text.jpg": b"not found\n",
    "zeros.jpg": bytes(600),
    "signature.jpg": JPEG[:2],
    "header.jpg": JPEG[:200],
    "pixels.jpg": JPEG[: len(JPEG) * 3 // 4],
    "header.png": PNG[:50],
    "pixels.png": PNG[: len(PNG) // 2],
    "animation.png": written("GIF"),
}


@pytest.mark.parametrize("name", DAMAGED)
def test_an_image_that_cannot_be_decoded_is_named(name: str, folder: Callable[..., Path]) -> None:
    # many whole ones, whose decoding is under way when DALI meets the damaged one
    root = folder(*(f"{label}/{index}.jpg" for label in "ab" for index in range(60)))
    (root / "b" / name).write_bytes(DAMAGED[name])
    for seed in range(4):  # at another place of the batch
        torch.manual_seed(seed)
        with pytest.raises(UserError, match=rf"b/{name} cannot be decoded by DALI"):
            for _ in range(2):
                epoch(batches(ListedImages, root, 40))


TURNED = Image.Exif()
TURNED[0x0112] = 6
DEEP = np.linspace(0, 65535, SIDE * SIDE).astype("uint16").reshape(SIDE, SIDE)
KINDS = {
    "plain.jpg": JPEG,
    "progressive.jpg": written("JPEG", progressive=True),
    "grey.jpg": written("JPEG", picture().convert("L")),
    "cmyk.jpg": written("JPEG", picture().convert("CMYK")),
    "turned.jpg": written("JPEG", exif=TURNED),
    "turned.png": written("PNG", exif=TURNED),
    "png.jpg": PNG,
    "palette.png": written("PNG", picture().convert("P")),
    "transparent.png": written("PNG", picture().convert("RGBA")),
    "picture.webp": written("WEBP", lossless=True),
    "picture.bmp": written("BMP"),
    "picture.tif": written("TIFF", compression="tiff_lzw"),
    "picture.ppm": written("PPM"),
}


@pytest.mark.parametrize("name", KINDS)
def test_pixels_are_those_of_the_other_loader(name: str, tmp_path: Path) -> None:
    path = tmp_path / "train" / "a" / name
    path.parent.mkdir(parents=True)
    path.write_bytes(KINDS[name])
    ((batch,),) = batches(ListedImages, tmp_path / "train", 1)
    difference = batch["image"][0].numpy().astype(int) - np.asarray(load_rgb(path))
    assert np.abs(difference).max() <= 2


def test_deep_images_are_refused_or_scaled_and_never_white(tmp_path: Path) -> None:
    folder = tmp_path / "train" / "a"
    folder.mkdir(parents=True)
    (folder / "1.png").write_bytes(written("PNG", Image.fromarray(DEEP)))
    with pytest.raises(UserError, match=r"1\.png has .* pixels"):
        batches(ListedImages, tmp_path / "train", 1)
    (folder / "0.png").write_bytes(PNG)  # the first, which alone is looked at
    (_, (batch,)) = batches(ListedImages, tmp_path / "train", 1, validation=True)
    grey = np.asarray(Image.fromarray((DEEP // 257).astype("uint8")).convert("RGB"))
    assert np.abs(batch["image"][0].numpy().astype(int) - grey).max() <= 2


def test_broken_images_are_left_out_where_that_is_asked_for(data: Path, tmp_path: Path) -> None:
    shutil.copytree(data / "train", folder := tmp_path / "train")
    (folder / "b" / "03.png").write_bytes(b"")
    assert len(list_images(folder, False)) == 48
    skip_broken()
    listed = list_images(folder, False)
    assert len(listed) == 47
    assert not [path for path, _ in listed if path.endswith("b/03.png")]
