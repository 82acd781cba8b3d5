"""Bags and their cache, on images in files, in a flat folder and in arrays."""

import logging
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
import torch.multiprocessing as mp
from PIL import Image
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from tiny_bags import SIDE, Flat, fail_in_process, find, find_in_process, loader, make_teacher
from torch.nn.functional import normalize
from torchvision import transforms
from torchvision.datasets import CIFAR10, ImageFolder

from solo_rekd.objectives import bags, teacher_cache
from solo_rekd.objectives.bags import Bags, embed_images, nearest_others
from solo_rekd.objectives.teacher_cache import cache_folder
from solo_rekd.utils.errors import UserError

CPU = torch.device("cpu")
NUMBER = 30


class Folder(ImageFolder):
    """An image folder as a host has it, with the place of every image."""

    def __getitem__(self, index: int) -> Any:
        return (index, *super().__getitem__(index))


class Cifar(CIFAR10):
    """CIFAR-10 without its files."""

    def __init__(self, pixels: np.ndarray, transform: Any) -> None:
        # as torchvision leaves them: not contiguous
        self.data = np.ascontiguousarray(pixels.transpose(0, 3, 1, 2)).transpose(0, 2, 3, 1)
        self.targets, self.transform, self.target_transform = [0] * len(pixels), transform, None

    def __getitem__(self, index: int) -> Any:
        return (index, *super().__getitem__(index))


@pytest.fixture(scope="module")
def pixels() -> np.ndarray:
    rng = np.random.default_rng(0)
    return rng.integers(0, 256, (NUMBER, SIDE, SIDE, 3)).astype("uint8")


@pytest.fixture
def root(pixels: np.ndarray, tmp_path: Path) -> Path:
    """`classes` with two classes, and `flat`."""
    for index, image in enumerate(pixels):
        for folder in (f"classes/{index % 2}", "flat"):
            (tmp_path / folder).mkdir(parents=True, exist_ok=True)
            Image.fromarray(image).save(tmp_path / folder / f"{index:02d}.png")
    return tmp_path


Make = Callable[[str], Any]


@pytest.fixture
def make(root: Path, pixels: np.ndarray) -> Make:
    """Makes a data set: make("classes"), make("flat") or make("cifar")."""

    def build(kind: str) -> Any:
        tensor = transforms.ToTensor()
        if kind == "cifar":
            return Cifar(pixels, tensor)
        return (Folder if kind == "classes" else Flat)(root / kind, transform=tensor)

    return build


def describe(teacher: Any, stem: str, dataset: Any, size: int) -> dict[str, str]:
    return teacher_cache.describe(teacher, stem, dataset, {"bag_size": str(size)})


def brute_force(dataset: Any, size: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Sorts the similarities of every pair of images, one after the other."""
    features, embeddings = make_teacher()(torch.stack([image for _, image, _ in dataset]))
    members = []
    for i, own in enumerate(features):
        similarity = {
            j: float(own @ other / own.norm() / other.norm())
            for j, other in enumerate(features)
            if j != i
        }
        members.append(sorted(similarity, key=lambda j: -similarity[j])[:size])
    return torch.tensor(members), embeddings


@pytest.fixture
def computed(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Grows by one with every computing of bags."""
    calls, compute = [], bags.compute_bags

    def count(*args: Any) -> Bags:
        calls.append(1)
        return compute(*args)

    monkeypatch.setattr(bags, "compute_bags", count)
    return calls


@pytest.mark.parametrize("kind", ["classes", "flat", "cifar"])
@pytest.mark.parametrize("size", [1, 3, NUMBER - 1])
def test_bags_equal_brute_force(kind: str, size: int, make: Make, tmp_path: Path) -> None:
    dataset = make(kind)
    members, embeddings = brute_force(dataset, size)
    for _ in range(2):  # computed, then read
        found = find(dataset, tmp_path / "cache", size)
        assert found.members.dtype == torch.int64
        assert torch.equal(found.members, members)
        torch.testing.assert_close(found.embeddings, embeddings)


@pytest.mark.parametrize("queries", [1, 4, 100])
@pytest.mark.parametrize("entries", [1, 2, 7, 100])
@pytest.mark.parametrize("size", [1, 5, 22])
def test_chunks_change_nothing(
    queries: int, entries: int, size: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = normalize(torch.randn(23, 6, generator=torch.Generator().manual_seed(0)), dim=1)
    similarities = (rows @ rows.T).fill_diagonal_(-2)
    monkeypatch.setattr(bags, "QUERIES", queries)
    monkeypatch.setattr(bags, "ENTRIES", entries)
    found = nearest_others(rows, size, CPU)
    assert torch.equal(found, similarities.topk(size).indices)


def test_a_copy_of_an_image_is_in_its_bag_and_the_image_is_not() -> None:
    rows = normalize(torch.randn(6, 4, generator=torch.Generator().manual_seed(1)), dim=1)
    found = nearest_others(torch.cat([rows, rows]), 1, CPU)[:, 0].tolist()
    assert found == [*range(6, 12), *range(6)]


def test_images_come_to_their_places_in_any_order(make: Make) -> None:
    dataset = make("classes")
    order = torch.randperm(NUMBER, generator=torch.Generator().manual_seed(0)).tolist()
    straight = embed_images(make_teacher(), loader(dataset), CPU)
    shuffled = embed_images(make_teacher(), loader(dataset, sampler=order), CPU)
    torch.testing.assert_close(straight, shuffled)
    torch.testing.assert_close(straight[0].norm(dim=1), torch.ones(NUMBER))


def test_a_teacher_in_bfloat16_is_given_such_images(make: Make) -> None:
    images = loader(make("classes"))
    exact = embed_images(make_teacher(), images, CPU)
    found = embed_images(make_teacher().to(torch.bfloat16), images, CPU)
    torch.testing.assert_close(found, exact, rtol=0, atol=0.05)


def test_nothing_is_drawn_from_the_generator_of_the_training(make: Make, tmp_path: Path) -> None:
    teacher = make_teacher()
    torch.manual_seed(7)
    find(make("classes"), tmp_path / "cache", teacher=teacher)
    after = torch.rand(3)
    torch.manual_seed(7)
    assert torch.equal(after, torch.rand(3))


@pytest.mark.parametrize("kind", ["classes", "flat", "cifar"])
def test_the_same_again_comes_from_the_cache(
    kind: str,
    make: Make,
    tmp_path: Path,
    computed: list[int],
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO, "solo_rekd")
    find(make(kind), tmp_path / "cache")
    (path,) = (tmp_path / "cache").iterdir()
    assert f"bags of 3 kept in {path}" in caplog.text
    find(make(kind), tmp_path / "cache")
    assert f"bags of 3 among 30 images from {path}" in caplog.text
    assert len(computed) == 1


def test_a_moved_folder_has_the_same_bags(
    make: Make, root: Path, tmp_path: Path, computed: list[int]
) -> None:
    find(make("classes"), tmp_path / "cache")
    moved = shutil.copytree(root / "classes", tmp_path / "elsewhere")
    find(Folder(moved, transform=transforms.ToTensor()), tmp_path / "cache")
    assert len(computed) == 1


def another_name(root: Path) -> None:
    (root / "classes/0/00.png").rename(root / "classes/0/000.png")


def one_more(root: Path) -> None:
    Image.new("RGB", (SIDE, SIDE), "red").save(root / "classes/1/99.png")


def another_content(root: Path) -> None:
    Image.new("RGB", (SIDE, SIDE)).save(root / "classes/0/00.png")


def another_class(root: Path) -> None:
    (root / "classes/0/00.png").rename(root / "classes/1/00.png")


@pytest.mark.parametrize("change", [another_name, one_more, another_content, another_class])
def test_other_files_have_other_bags(
    change: Callable[[Path], None], make: Make, root: Path, tmp_path: Path, computed: list[int]
) -> None:
    find(make("classes"), tmp_path / "cache")
    change(root)
    dataset = make("classes")
    found = find(dataset, tmp_path / "cache")
    assert len(computed) == 2
    assert torch.equal(found.members, brute_force(dataset, 3)[0])


def test_another_order_or_other_pixels_have_other_bags(
    make: Make, pixels: np.ndarray, tmp_path: Path, computed: list[int]
) -> None:
    flat = make("flat")
    found = [find(flat, tmp_path / "cache")]
    flat.images.reverse()
    found.append(find(flat, tmp_path / "cache"))
    assert len(computed) == 2
    flipped = NUMBER - 1 - found[0].members.flip(0)
    assert torch.equal(flipped, found[1].members)
    find(make("cifar"), tmp_path / "cache")
    pixels = pixels.copy()
    pixels[-1, -1, -1, -1] ^= 1
    find(Cifar(pixels, transforms.ToTensor()), tmp_path / "cache")
    assert len(computed) == 4


@pytest.mark.parametrize(
    "changes",
    [
        {"teacher": make_teacher(sha256="bb")},
        {"teacher": make_teacher(name="other")},
        {"stem": "small"},
        {"size": 4},
    ],
    ids=["weights", "name", "stem", "size"],
)
def test_another_teacher_or_size_has_other_bags(
    changes: dict[str, Any], make: Make, tmp_path: Path, computed: list[int]
) -> None:
    find(make("classes"), tmp_path / "cache")
    find(make("classes"), tmp_path / "cache", **changes)
    assert len(computed) == len(list((tmp_path / "cache").iterdir())) == 2


def test_another_image_size_has_other_bags_and_another_path_of_the_teacher_has_not(
    make: Make,
) -> None:
    dataset = make("classes")
    first = describe(make_teacher(seed=0), "auto", dataset, 3)
    assert describe(make_teacher(seed=1), "auto", dataset, 3) == first
    dataset.transform = transforms.Compose([transforms.Resize(16), transforms.ToTensor()])
    assert describe(make_teacher(), "auto", dataset, 3) != first


def test_images_of_equal_length_have_other_bags(
    root: Path, make: Make, tmp_path: Path, computed: list[int]
) -> None:
    first, second = (root / "classes" / "0" / f"{name}.png" for name in ("00", "02"))
    find(make("classes"), tmp_path / "cache")
    one, other = first.read_bytes(), second.read_bytes()
    first.write_bytes(other)
    second.write_bytes(one)
    find(make("classes"), tmp_path / "cache")
    assert len(computed) == 2


def test_another_precision_or_version_has_other_bags(
    make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    dataset = make("classes")
    first = describe(make_teacher(), "auto", dataset, 3)
    assert describe(make_teacher().bfloat16(), "auto", dataset, 3) != first
    assert first["device"] == "cpu"
    monkeypatch.setattr(teacher_cache, "versions", lambda names: dict.fromkeys(names, "0.1"))
    assert describe(make_teacher(), "auto", dataset, 3) != first


def test_an_h5_file_has_no_bags(root: Path) -> None:
    dataset = SimpleNamespace(h5_path=str(root / "images.h5"), transform=None)
    with pytest.raises(UserError, match=r"^bags, .* need an image folder"):
        describe(make_teacher(), "auto", dataset, 3)


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-100])


def empty(path: Path) -> None:
    path.write_bytes(b"")


def garble(path: Path) -> None:
    path.write_bytes(b"\0" * 500)


def of_other_data(path: Path) -> None:
    save_file(load_file(path), path, metadata={"data": "other"})


def without_embeddings(path: Path) -> None:
    with safe_open(path, "pt") as file:
        metadata = file.metadata()
    save_file({"members": load_file(path)["members"]}, path, metadata=metadata)


def out_of_range(path: Path) -> None:
    with safe_open(path, "pt") as file:
        metadata = file.metadata()
    tensors = load_file(path)
    tensors["members"][0, 0] = NUMBER
    save_file(tensors, path, metadata=metadata)


@pytest.mark.parametrize(
    "damage", [truncate, empty, garble, of_other_data, without_embeddings, out_of_range]
)
def test_a_damaged_file_is_made_again_and_said(
    damage: Callable[[Path], None],
    make: Make,
    tmp_path: Path,
    computed: list[int],
    caplog: pytest.LogCaptureFixture,
) -> None:
    expected = find(make("classes"), tmp_path / "cache")
    (path,) = (tmp_path / "cache").iterdir()
    damage(path)
    found = find(make("classes"), tmp_path / "cache")
    (warning,) = [record for record in caplog.records if record.levelname == "WARNING"]
    assert "computed again" in warning.getMessage() and str(path) in warning.getMessage()
    torch.testing.assert_close(found, expected, rtol=0, atol=0)
    find(make("classes"), tmp_path / "cache")
    assert len(computed) == 2  # the new file is whole


@pytest.mark.parametrize("step", ["posix_fallocate", "write", "fsync", "replace"])
def test_writing_is_whole_or_nothing(
    step: str,
    make: Make,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    computed: list[int],
    caplog: pytest.LogCaptureFixture,
) -> None:
    def full_disk(*args: Any) -> None:
        raise OSError(28, "no space left")

    with monkeypatch.context() as patch:
        if step == "write":
            patch.setattr(teacher_cache.Rows, "_write", full_disk)
        else:
            patch.setattr(teacher_cache.os, step, full_disk)
        found = find(make("classes"), tmp_path / "cache")
    assert list((tmp_path / "cache").iterdir()) == []
    assert "bags of 3 are not kept for the next run, see teacher_cache: no space" in caplog.text
    assert len(computed) == 1
    torch.testing.assert_close(found, find(make("classes"), tmp_path / "cache"), rtol=0, atol=0)

    # nobody ever sees a file under its name that is not whole
    def watched(*args: Any) -> None:
        assert list((tmp_path / "other").glob("*.safetensors")) == []

    monkeypatch.setattr(teacher_cache.os, "fsync", watched)
    find(make("classes"), tmp_path / "other")
    find(make("classes"), tmp_path / "other")
    assert len(computed) == 3
    assert [path.suffix for path in (tmp_path / "other").iterdir()] == [".safetensors"]


def test_a_folder_that_cannot_be_is_no_obstacle(
    make: Make, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").write_text("")
    found = find(make("classes"), tmp_path / "file" / "cache")
    assert found.members.shape == (NUMBER, 3)
    assert "see teacher_cache" in caplog.text


def test_too_few_images_are_refused(make: Make, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"^bag_size=30 .* at most 29"):
        find(make("classes"), tmp_path / "cache", size=NUMBER)


def test_the_cache_is_where_the_user_keeps_caches(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/a")
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    assert cache_folder(None) == Path("/home/a/.cache/solo-rekd/teachers")
    assert cache_folder("~/bags") == Path("/home/a/bags")
    monkeypatch.setenv("XDG_CACHE_HOME", "/caches")
    assert cache_folder(None) == Path("/caches/solo-rekd/teachers")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("common", "reverse", "calls"),
    [
        pytest.param(True, False, [1, 0], id="one cache"),
        pytest.param(False, False, [1, 1], id="a cache each", marks=pytest.mark.trial),
        pytest.param(True, True, [1, 1], id="another order"),
    ],
)
def test_several_processes(
    common: bool, reverse: bool, calls: list[int], root: Path, tmp_path: Path
) -> None:
    folders = [tmp_path / "cache", tmp_path / ("cache" if common else "other")]
    arguments = (root / "flat", folders, reverse, tmp_path / "store", tmp_path)
    mp.spawn(find_in_process, args=arguments, nprocs=2)
    found = [torch.load(tmp_path / f"{rank}.pt", weights_only=True) for rank in range(2)]
    assert [each["calls"] for each in found] == calls
    one, other = (each["members"] for each in found)
    assert torch.equal(NUMBER - 1 - other.flip(0) if reverse else other, one)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("kind", "failing"),
    [
        ("user", 1),
        ("bug", 0),
        pytest.param("user", 0, marks=pytest.mark.trial),
        pytest.param("bug", 1, marks=pytest.mark.trial),
    ],
)
def test_where_one_process_fails_all_end_at_once(failing: int, kind: str, tmp_path: Path) -> None:
    begun = time.monotonic()
    mp.spawn(fail_in_process, args=(failing, kind, tmp_path / "store", tmp_path), nprocs=2)
    assert time.monotonic() - begun < 60  # the other one would wait for a day
    own, others = ((tmp_path / f"{rank}.txt").read_text() for rank in (failing, 1 - failing))
    if kind == "user":
        assert (own, others) == ("UserError: a=1", "UserError: a=1")
    else:
        assert (own, others) == ("ValueError: bug", f"RuntimeError: process {failing}: bug")
