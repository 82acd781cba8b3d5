"""Views that are drawn once, and what a frozen teacher says of them."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file
from tiny_bags import SIDE, Flat, loader, make_teacher
from tiny_objective import DIM, SIZE, TEACHER_FEATURES, build, make_batch
from torchvision import transforms

from solo_rekd.config import CONFIGS, DistillationConfig, RekdConfig, SeedConfig
from solo_rekd.hosts.shared.training_images import SeededViews
from solo_rekd.objectives import OBJECTIVES
from solo_rekd.objectives.drawn_views import (
    DrawnImages,
    DrawnViews,
    find_drawn,
    normalise,
    to_bytes,
)
from solo_rekd.objectives.taught_images import embed
from solo_rekd.utils.errors import UserError

NUMBER, VIEWS = 10, 4
COLOURS = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
HALF = {"rtol": 2e-3, "atol": 1e-3}
FROZEN = {"teacher_mode": "frozen", "teacher_checkpoint": "t.pt"}


class Crops(Flat):
    """Two augmented crops of each image, as a host draws them."""

    def __getitem__(self, index: int) -> Any:
        image = Image.open(self.root / self.images[index]).convert("RGB")
        return index, [self.transform(image) for _ in range(2)], index % 3 - 1


@pytest.fixture
def images(tmp_path: Path) -> SeededViews:
    rng = np.random.default_rng(0)
    (tmp_path / "images").mkdir()
    for index in range(NUMBER):
        pixels = rng.integers(0, 256, (12, 12, 3)).astype("uint8")
        Image.fromarray(pixels).save(tmp_path / "images" / f"{index:02d}.png")
    steps = [
        transforms.RandomResizedCrop(SIDE),
        transforms.ToTensor(),
        transforms.Normalize(*COLOURS),
    ]
    return SeededViews(Crops(tmp_path / "images", transforms.Compose(steps)), VIEWS, seed=0)


def find(images: SeededViews, folder: Path, views: int = VIEWS, **teacher: Any) -> DrawnViews:
    """Finds drawn views on the CPU."""
    batches = loader(SeededViews(images.dataset, views, 0))
    return find_drawn(
        make_teacher(**teacher), "auto", batches, COLOURS, views, 0, SIDE, folder / "kept"
    )


def test_the_bytes_come_back_to_the_bit() -> None:
    pixels = torch.arange(256, dtype=torch.uint8).expand(3, 2, 256)
    picture = transforms.ToPILImage()(pixels)
    of_host = transforms.Normalize(*COLOURS)(transforms.ToTensor()(picture))
    assert torch.equal(to_bytes(of_host, COLOURS), pixels)
    assert torch.equal(normalise(pixels, COLOURS), of_host)


def test_views_labels_and_the_teachers_word_in_their_places(
    images: SeededViews, tmp_path: Path
) -> None:
    found, teacher = find(images, tmp_path), make_teacher()
    order = torch.randperm(NUMBER, generator=torch.Generator().manual_seed(1))
    for epoch, pair in enumerate(((0, 1), (2, 3), (0, 1))):
        found.images.begin(epoch)
        said = found.look_up(order, torch.float32)
        for which, view in enumerate(pair):
            pixels = torch.stack([images[int(place)][1][view] for place in order])
            given = torch.stack([found.images.views(int(place))[which] for place in order])
            assert torch.equal(given, pixels)
            torch.testing.assert_close(said[which], embed(teacher, pixels), **HALF)
    assert found.images.labels.tolist() == [place % 3 - 1 for place in range(NUMBER)]


def test_teachers_share_the_pixels_and_nothing_is_drawn_twice(
    images: SeededViews, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn: list[int] = []
    draw = Crops.__getitem__
    monkeypatch.setattr(Crops, "__getitem__", lambda self, i: (drawn.append(i), draw(self, i))[1])
    first = find(images, tmp_path)
    assert len(drawn) == NUMBER * VIEWS // 2
    find(images, tmp_path)
    other = find(images, tmp_path, name="other", seed=1)
    assert len(drawn) == NUMBER * VIEWS // 2
    assert torch.equal(first.images.pixels, other.images.pixels)
    places = torch.arange(NUMBER)
    assert not torch.equal(
        first.look_up(places, torch.float32)[0][1], other.look_up(places, torch.float32)[0][1]
    )
    files = [load_file(path) for path in (tmp_path / "kept").iterdir()]
    assert sorted(sorted(file) for file in files) == [
        *[["embeddings", "features"]] * 2, ["labels", "pixels"],
    ]  # fmt: skip
    find(images, tmp_path, views=2)
    images.dataset.transform.transforms[0].scale = (0.5, 1)
    find(images, tmp_path)
    assert len(list((tmp_path / "kept").iterdir())) == 3 + 2 + 2


# the bags of bingo need a training set
@pytest.mark.parametrize("name", [name for name in OBJECTIVES if name != "bingo"])
def test_a_step_is_that_of_a_teacher_that_runs(
    name: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    own = {"num_prototypes": 3} if name == "rekd" else {}
    own |= {"neighbours": 0} if name == "coss" else {}
    g = torch.Generator().manual_seed(0)
    pixels = torch.randint(0, 256, (5, VIEWS, 3, SIZE, SIZE), generator=g, dtype=torch.uint8)
    drawn = DrawnImages(pixels, torch.zeros(5, dtype=torch.int32), COLOURS)
    losses: list[list[float]] = []
    for views in (0, VIEWS):
        objective = build(
            OBJECTIVES[name], monkeypatch, "frozen", **FROZEN, **own, drawn_views=views
        )
        if views:
            said = objective.teacher(normalise(pixels.flatten(0, 1), COLOURS).double())
            features, embeddings = (each.half().unflatten(0, (5, VIEWS)) for each in said)
            assert (features.shape[2], embeddings.shape[2]) == (TEACHER_FEATURES, DIM)
            objective.drawn_views = DrawnViews(drawn, features, embeddings)
            objective.teacher.forward = None  # nobody asks it
        losses.append([])
        for epoch in range(4):
            drawn.begin(epoch)
            batch = make_batch(seed=epoch)
            each = [drawn.views(int(place)) for place in batch.indexes]
            seen = [torch.stack(view).double() for view in zip(*each, strict=True)]
            loss, _ = objective(batch._replace(images=seen), epoch)
            losses[-1].append(loss.item())
    assert losses[1] == pytest.approx(losses[0], rel=5e-3)
    assert len({*losses[1]}) == 4


@pytest.mark.parametrize("config", CONFIGS.values(), ids=list(CONFIGS))
def test_what_does_not_go_with_them(config: type[DistillationConfig]) -> None:
    assert config(**FROZEN, drawn_views=16).drawn_views == 16
    for wrong, match in (
        ({"drawn_views": 3}, "even number"),
        ({"drawn_views": -2}, "of 0 or more"),
        ({"teacher_view": "image"}, "0 with teacher_view=image"),
        ({"mixup": 1.0}, "0 with mixup"),
    ):
        with pytest.raises(UserError, match=rf"^drawn_views=-?\d+ is not allowed.*{match}"):
            config(**FROZEN | {"drawn_views": 16} | wrong)


@pytest.mark.parametrize("config", [RekdConfig, SeedConfig])
def test_an_online_teacher_cannot(config: type[DistillationConfig]) -> None:
    with pytest.raises(UserError, match=r"^drawn_views=2 .*teacher_mode=frozen"):
        config(drawn_views=2)


def test_colours_have_to_be_known(monkeypatch: pytest.MonkeyPatch) -> None:
    objective = build(OBJECTIVES["seed"], monkeypatch, "frozen", **FROZEN, drawn_views=2)
    with pytest.raises(UserError, match=r"^drawn_views=2 .* mean and std"):
        objective.draw_views(lambda **views: None)
