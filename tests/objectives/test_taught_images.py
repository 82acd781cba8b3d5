"""What a frozen teacher says of each image: found once, kept in half precision, and looked up."""

import logging
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.multiprocessing as mp
from PIL import Image
from tiny_bags import SIDE, Flat, find_said, find_said_in_process, make_teacher
from tiny_objective import DIM, SIZE, TEACHER_FEATURES, build, make_batch
from torch.utils.data import DataLoader, TensorDataset
from torchvision import transforms

from solo_rekd.config import CONFIGS, DistillationConfig
from solo_rekd.lengths import Training
from solo_rekd.objectives import OBJECTIVES, teacher_cache
from solo_rekd.objectives.taught_images import TaughtImages
from solo_rekd.utils import memory
from solo_rekd.utils.errors import UserError

NUMBER = 20
HALF = {"rtol": 2e-3, "atol": 1e-3}


class Views(Flat):
    """The same images in two views each: the image, and the image upside down."""

    def __getitem__(self, index: int) -> Any:
        index, image, label = super().__getitem__(index)
        return index, torch.stack([image, image.flip(1)]), label


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    rng = np.random.default_rng(0)
    folder = tmp_path_factory.mktemp("images")
    for index in range(NUMBER):
        pixels = rng.integers(0, 256, (SIDE, SIDE, 3)).astype("uint8")
        Image.fromarray(pixels).save(folder / f"{index:02d}.png")
    return folder


@pytest.fixture
def images(root: Path) -> Flat:
    return Flat(root, transforms.ToTensor())


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Grows by one with every batch that a teacher sees."""
    calls: list[int] = []
    teacher_class = type(make_teacher())
    forward = teacher_class.forward

    def count(self: Any, batch: torch.Tensor) -> Any:
        calls.append(len(batch))
        return forward(self, batch)

    monkeypatch.setattr(teacher_class, "forward", count)
    return calls


def test_it_is_what_the_teacher_says_to_half_precision(images: Flat, tmp_path: Path) -> None:
    exact = make_teacher()(torch.stack([image for _, image, _ in images]))
    order = torch.randperm(NUMBER, generator=torch.Generator().manual_seed(1))
    for sampler in (None, order.tolist()):  # computed, then read
        said = find_said(images, tmp_path, sampler=sampler)
        found = said.look_up(order, torch.float32)
        torch.testing.assert_close(found, tuple(each[order] for each in exact), **HALF)
        torch.testing.assert_close(found[1].norm(dim=1), torch.ones(NUMBER))


def test_rows_in_any_order_come_to_their_places(images: Flat, tmp_path: Path) -> None:
    order = torch.randperm(NUMBER, generator=torch.Generator().manual_seed(1)).tolist()
    straight, shuffled = (
        find_said(images, tmp_path / "a"),
        find_said(images, tmp_path / "b", sampler=order),
    )
    torch.testing.assert_close(straight.features, shuffled.features)
    torch.testing.assert_close(straight.embeddings, shuffled.embeddings)


def test_several_views_are_averaged_on_the_sphere(root: Path, tmp_path: Path) -> None:
    views, teacher = Views(root, transforms.ToTensor()), make_teacher()
    said = find_said(views, tmp_path, views=2)
    features, embeddings = said.look_up(torch.arange(NUMBER), torch.float32)
    stacked = torch.stack([each for _, each, _ in views])
    (one, unit), (other, other_unit) = (teacher(stacked[:, view]) for view in range(2))
    torch.testing.assert_close(features, (one + other) / 2, **HALF)
    expected = torch.nn.functional.normalize(unit + other_unit, dim=1)
    torch.testing.assert_close(embeddings, expected, **HALF)


def test_the_same_again_asks_no_teacher(
    images: Flat, tmp_path: Path, asked: list[int], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "solo_rekd")
    find_said(images, tmp_path)
    assert sum(asked) == NUMBER
    (path,) = tmp_path.iterdir()
    find_said(images, tmp_path)
    assert sum(asked) == NUMBER
    assert f"embeddings of the whole image among {NUMBER} images from {path}" in caplog.text


@pytest.mark.parametrize(
    "changes",
    [
        {"teacher": make_teacher(sha256="bb")},
        {"teacher": make_teacher(name="other")},
        {"stem": "small"},
        {"views": 2},
        {"views": 3},
        {"seen": True},
        {"less": True},
    ],
    ids=["weights", "name", "stem", "views", "more views", "seen", "data"],
)
def test_what_it_depends_on_has_a_file_of_its_own(
    changes: dict[str, Any], root: Path, images: Flat, tmp_path: Path, asked: list[int]
) -> None:
    find_said(images, tmp_path)
    dataset = Views(root, images.transform) if "views" in changes else images
    if changes.pop("seen", False):  # all that a teacher's identity says but its path
        changes["teacher"] = make_teacher()
        changes["teacher"].identity["size"] = 96
    if changes.pop("less", False):
        dataset.images = dataset.images[1:]
    before = len(asked)
    find_said(dataset, tmp_path, **changes)
    assert len(asked) > before
    assert len(list(tmp_path.iterdir())) == 2
    assert "checkpoint" not in teacher_cache.describe(make_teacher(), "auto", images, {})["teacher"]


def test_one_view_is_the_image_itself(images: Flat, tmp_path: Path, asked: list[int]) -> None:
    find_said(images, tmp_path, views=1)
    find_said(images, tmp_path, views=0)
    assert sum(asked) == NUMBER


def test_a_transform_is_told_from_others_but_not_by_its_place_in_memory(images: Flat) -> None:
    class Step:
        """A step of a host's that does not describe itself."""

    described = []
    for steps in ([Step()], [Step()], [Step(), Step()]):
        images.transform = transforms.Compose(steps)
        described.append(teacher_cache.describe(make_teacher(), "auto", images, {}))
    assert described[0] == described[1] != described[2]


def test_an_interrupted_run_leaves_nothing(images: Flat, tmp_path: Path) -> None:
    teacher = make_teacher()
    forward, calls = teacher.forward, []

    def interrupt(batch: torch.Tensor) -> Any:
        calls.append(1)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return forward(batch)

    teacher.forward = interrupt  # type: ignore[method-assign]
    with pytest.raises(KeyboardInterrupt):
        find_said(images, tmp_path, teacher=teacher)
    assert list(tmp_path.iterdir()) == []


def test_what_a_killed_run_left_is_removed(images: Flat, tmp_path: Path) -> None:
    old, young = tmp_path / "a.safetensors.1.unfinished", tmp_path / "b.safetensors.2.unfinished"
    for path in (old, young):
        path.write_bytes(b"begun")
    os.utime(old, (time.time() - 7200,) * 2)
    find_said(images, tmp_path)
    assert not old.exists() and young.exists()


def test_a_disk_that_fills_on_the_way_costs_no_second_pass(
    images: Flat,
    tmp_path: Path,
    asked: list[int],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    write, calls = teacher_cache.Rows._write, []

    def fill(self: Any, *args: Any) -> None:
        calls.append(1)
        if len(calls) > 3:
            raise OSError(28, "No space left on device")
        write(self, *args)

    with monkeypatch.context() as patch:
        patch.setattr(teacher_cache.Rows, "_write", fill)
        said = find_said(images, tmp_path)
    assert sum(asked) == NUMBER
    assert "are not kept for the next run, see teacher_cache: No space left" in caplog.text
    assert list(tmp_path.iterdir()) == []
    again = find_said(images, tmp_path)
    torch.testing.assert_close(said.features, again.features)
    torch.testing.assert_close(said.embeddings, again.embeddings)


def test_neither_disk_nor_memory_is_one_line(
    images: Flat, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setattr(teacher_cache, "available_memory", lambda: 10)
    with pytest.raises(
        UserError, match=r"^teacher_cache=.*file' is not .* nor the memory has that$"
    ):
        find_said(images, tmp_path / "file")


def test_the_memory_to_spare_is_known(tmp_path: Path) -> None:
    told = tmp_path / "meminfo"
    told.write_text("MemTotal: 99 kB\nMemAvailable:  5 kB\n")
    assert memory.available_memory(told) == 5120
    assert (memory.available_memory(tmp_path / "none") or 1) > 0


MAPPED = """
import resource, sys
from pathlib import Path
import torch
from solo_rekd.objectives.teacher_cache import Rows, Table, Wanted, read

path, number, width = Path(sys.argv[1]), 200_000, 512
wanted = Wanted("rows", {}, {"rows": Table((number, width), torch.float16)}, lambda put: None)

def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024

begun = peak()
if sys.argv[2] == "write":
    rows = Rows(path, {"a": "b"}, wanted)
    for places in torch.arange(number).split(1000):
        rows.put("rows", places, places[:, None].expand(-1, width) / number)
    tensor = rows.finish()["rows"]
else:
    tensor = read(path, {"a": "b"}, wanted)["rows"]
places = torch.tensor([0, 77, number - 1])
assert torch.equal(tensor[places][:, 3], (places / number).half())
assert peak() - begun < 60e6, (peak() - begun) / 1e6  # of 205 MB
"""


@pytest.mark.slow
def test_neither_writing_nor_reading_takes_the_memory_of_all_rows(tmp_path: Path) -> None:
    for job in ("write", "read"):
        command = [sys.executable, "-c", MAPPED, str(tmp_path / "rows.safetensors"), job]
        done = subprocess.run(command, capture_output=True, text=True, timeout=120)
        assert done.returncode == 0, done.stderr


@pytest.mark.slow
def test_several_processes(root: Path, tmp_path: Path) -> None:
    arguments = (root, tmp_path / "cache", tmp_path / "store", tmp_path)
    mp.spawn(find_said_in_process, args=arguments, nprocs=2)
    found = [torch.load(tmp_path / f"{rank}.pt", weights_only=True) for rank in range(2)]
    assert found[0]["calls"] > 0 == found[1]["calls"]
    assert torch.equal(found[0]["embeddings"], found[1]["embeddings"])


# ---- the objectives ----


def taught(number: int = 5) -> TaughtImages:
    g = torch.Generator().manual_seed(3)
    features = torch.randn(number, TEACHER_FEATURES, generator=g)
    embeddings = torch.nn.functional.normalize(torch.randn(number, DIM, generator=g), dim=1)
    return TaughtImages(features.half(), embeddings.half())


@pytest.mark.parametrize("name", [name for name in OBJECTIVES if name != "bingo"])
def test_every_objective_learns_from_it(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = {"teacher_view": "image", "teacher_mode": "frozen", "teacher_checkpoint": "t.pt"}
    own = {"num_prototypes": 3} if name == "rekd" else {}
    objective = build(OBJECTIVES[name], monkeypatch, "frozen", **settings, **own)
    objective.teacher.forward = None  # nobody asks it
    objective.taught_images = taught()
    for seed in range(4):
        batch = make_batch(seed=seed)
        loss, _ = objective(batch, epoch=seed)
        assert torch.isfinite(loss) and loss.dtype == torch.float64
    order = torch.tensor([4, 1, 2, 0, 3])
    shuffled = objective.teach(batch._replace(indexes=order))[0]
    for view in range(2):
        features, units = objective.taught_images.look_up(order, torch.float64)
        assert torch.equal(shuffled.embeddings[view], units)
        assert torch.equal(shuffled.features[view], features)


def test_it_is_what_the_views_would_be_if_they_were_the_image(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    settings = {"teacher_mode": "frozen", "teacher_checkpoint": "t.pt"}
    batch = make_batch()
    batch = batch._replace(images=[batch.images[0]] * 2)
    losses = []
    for view in ("views", "image"):
        objective = build(OBJECTIVES["seed"], monkeypatch, "frozen", teacher_view=view, **settings)
        features, embeddings = objective.teacher(batch.images[0])
        objective.taught_images = TaughtImages(features.half(), embeddings.half())
        losses.append(objective(batch, epoch=0)[0])
    torch.testing.assert_close(*losses, **HALF)


def test_the_images_are_looked_at_before_the_training(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    class Images(TensorDataset):
        transform = None

        def __getitem__(self, index: int) -> Any:
            return index, *super().__getitem__(index), -1

    dataset = Images(torch.rand(NUMBER, 3, SIZE, SIZE))
    dataset.data = dataset.tensors[0].numpy()
    settings = {"teacher_mode": "frozen", "teacher_checkpoint": "t.pt", "teacher_cache": tmp_path}
    wanted: list[Any] = []

    def images(**views: Any) -> DataLoader:
        wanted.append(views)
        if views:
            dataset.tensors = (torch.rand(NUMBER, views["views"], 3, SIZE, SIZE),)
        return DataLoader(dataset, batch_size=6)

    for views in (1, 3):
        objective = build(
            OBJECTIVES["disco"], monkeypatch, "frozen", **settings, teacher_view="image",
            teacher_image_views=views,
        ).float()  # fmt: skip
        objective.before_training(images, Training(NUMBER, 5, 4, 1))
        assert objective.taught_images.embeddings.shape == (NUMBER, DIM)
    assert wanted == [{}, {"views": 3, "seed": 0}]
    assert not [name for name in objective.state_dict() if "taught" in name]


@pytest.mark.parametrize("config", CONFIGS.values(), ids=list(CONFIGS))
def test_an_online_teacher_cannot(config: type[DistillationConfig]) -> None:
    with pytest.raises(UserError, match=r"^teacher_(view='image' needs .*frozen|mode='online')"):
        config(teacher_view="image", teacher_mode="online")
    frozen = {"teacher_mode": "frozen", "teacher_checkpoint": "t.pt"}
    assert config(teacher_view="image", **frozen).teacher_view == "image"
    with pytest.raises(UserError, match=r"^teacher_image_views=2 .* without teacher_view=image$"):
        config(teacher_image_views=2, **frozen)
