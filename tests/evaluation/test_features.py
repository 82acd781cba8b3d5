import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from solo_rekd.backbones import build_backbone
from solo_rekd.checkpoints.student import load_student
from solo_rekd.evaluation.as_trained import Seen, as_trained
from solo_rekd.evaluation.features import Judgement, extract_features, judge_features
from solo_rekd.evaluation.linear_probe import linear_probe
from solo_rekd.hosts.jobs import Images, Network
from solo_rekd.images.data_sets import MEAN, STD
from solo_rekd.images.evaluated import evaluation_sets
from solo_rekd.utils.errors import UserError

Flags = Callable[..., list[str]]
ALEXNET = Network("alexnet")
GREY = (0.5, 0.5, 0.5)


@pytest.fixture
def images(data: Path) -> Images:
    return Images(str(data / "train"), str(data / "val"))


@pytest.fixture
def judge(online: dict[str, Any], images: Images) -> Callable[..., Judgement]:
    def run(images: Images = images, **changes: Any) -> Judgement:
        settings = {"batch_size": 8, "k": 20, "temperature": 0.07} | changes
        return judge_features(online["checkpoint"], ALEXNET, images, **settings)

    return run


@pytest.mark.parametrize("split", ["train", "val"])
def test_features_are_the_networks_of_every_image_in_order(
    split: str, judge: Callable[..., Judgement], data: Path, online: dict[str, Any]
) -> None:
    found = judge().splits[split]
    network = build_backbone("alexnet", 32).eval()
    load_student(online["checkpoint"], "alexnet", network)
    paths = sorted((data / split).glob("*/*.png"))
    pixels = np.stack([np.asarray(Image.open(path)) for path in paths])
    with torch.no_grad():
        expected = network(torch.from_numpy(pixels).permute(0, 3, 1, 2).float() / 127.5 - 1)
    torch.testing.assert_close(found.features, expected)
    assert found.features.device.type == "cpu"
    assert not found.features.requires_grad
    assert [found.classes[label] for label in found.labels] == [p.parent.name for p in paths]


def test_progress_is_reported_after_every_batch(judge: Callable[..., Judgement]) -> None:
    shares: list[float] = []
    judge(progress=shares.append)  # 48 and 24 images in batches of 8
    assert shares == pytest.approx([number / 9 for number in range(1, 10)])


def test_no_file_stays_open_for_a_batch(judge: Callable[..., Judgement], images: Images) -> None:
    # a loader's process hands its tensors over as open files
    counts: list[int] = []
    judge(
        Images(images.train, images.val, workers=1),
        batch_size=1,
        progress=lambda share: counts.append(len(os.listdir("/proc/self/fd"))),
    )
    assert len(counts) == 72
    assert max(counts) < min(counts) + 20


@pytest.fixture
def another_order(data: Path, tmp_path: Path) -> Images:
    """The images under names that sort the other way round within each class."""
    for path in sorted(data.glob("[tv]*/*/*.png")):
        folder = tmp_path / path.relative_to(data).parent
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"{99 - int(path.stem):02d}.png").symlink_to(path)
    return Images(str(tmp_path / "train"), str(tmp_path / "val"))


@pytest.mark.slow
def test_neither_batches_nor_workers_nor_order_change_a_figure(
    judge: Callable[..., Judgement], images: Images, another_order: Images
) -> None:
    def figures(**changes: Any) -> tuple[Judgement, list[float]]:
        found = judge(k=7, **changes)
        pairs = ((part.features.numpy(), part.labels.numpy()) for part in found.splits.values())
        return found, [
            result[top] for result in (found.knn, linear_probe(*pairs)) for top in ("top1", "top5")
        ]

    whole, expected = figures()
    two = Images(images.train, images.val, workers=2)
    for changes in (
        {"batch_size": 1},
        {"batch_size": 7, "images": two},
        {"batch_size": 64},
        {"batch_size": 7, "images": another_order},
    ):
        found, accuracies = figures(**changes)
        assert accuracies == expected
        if changes.get("images") is another_order:
            continue
        for name, split in whole.splits.items():
            torch.testing.assert_close(found.splits[name].features, split.features)
            assert torch.equal(found.splits[name].labels, split.labels)


def test_fewer_images_than_neighbours_all_vote(judge: Callable[..., Judgement]) -> None:
    result = judge(k=1000).knn
    assert result["k"] == 48 and "k 48," in result["protocol"]


def test_what_is_left_open_is_as_in_training(images: Images, online: dict[str, Any]) -> None:
    seen = as_trained(Path(online["checkpoint"]), "alexnet", "auto", images)
    assert seen == Seen(32, GREY, GREY, "small")
    given = Images("", size=48, mean=MEAN, std=STD)
    # of the stem that was trained, whatever the size
    seen = as_trained(Path(online["checkpoint"]), "alexnet", "auto", given)
    assert seen == Seen(48, MEAN, STD, "small")
    fixed = Images("", dataset="stl10", size=48)
    assert as_trained(Path(online["checkpoint"]), "alexnet", "imagenet", fixed).size == 96


def test_a_size_that_nothing_tells_is_asked_for(images: Images, tmp_path: Path) -> None:
    path = tmp_path / "weights.pth"
    torch.save(build_backbone("resnet18", 32).state_dict(), path)
    with pytest.raises(UserError, match=r"--crop_size is missing: .*weights\.pth"):
        as_trained(path, "alexnet", "auto", images)
    assert as_trained(path, "resnet18", "auto", images).size == 224  # the host's


@pytest.mark.slow
@pytest.mark.parametrize(("stem", "side"), [("small", 3), ("imagenet", 7)])
def test_the_weights_of_a_resnet_tell_its_stem(
    stem: str, side: int, images: Images, tmp_path: Path
) -> None:
    path = tmp_path / "weights.pth"
    network = build_backbone("resnet18", 32, stem)
    assert network.conv1.weight.shape[-1] == side  # type: ignore[union-attr, index]
    state = {f"backbone.{key}": value for key, value in network.state_dict().items()}
    torch.save(state | {"classifier.weight": torch.ones(2)}, path)
    asked = Images(images.train, images.val, size=32)
    votes = {"batch_size": 64, "k": 5, "temperature": 0.1}
    found = judge_features(path, Network("resnet18"), asked, **votes)
    sets = evaluation_sets("custom", images.train, images.val, 32, MEAN, STD)
    expected = extract_features(network, sets, 64)
    assert torch.equal(found.splits["val"].features, expected["val"].features)
    other = {"small": "imagenet", "imagenet": "small"}[stem]
    with pytest.raises(UserError, match=f"stem={other!r} is not allowed"):
        judge_features(path, Network("resnet18", other), asked, **votes)


def test_a_backbone_of_a_host_is_built_by_it(images: Images, tmp_path: Path) -> None:
    path = tmp_path / "weights.pth"
    torch.save(
        {"state_dict": {"encoder.1.weight": torch.eye(48), "classifier.weight": torch.eye(2)}}, path
    )
    asked: list[Any] = []

    def build(*words: Any) -> nn.Module:
        asked.append(words)
        shrink = nn.Sequential(nn.AdaptiveAvgPool2d(4), nn.Flatten())
        return nn.Sequential(shrink, nn.Linear(48, 48, bias=False))

    network, seen = Network("vit_of_the_host"), Images(images.train, images.val, size=32)
    votes = {"batch_size": 64, "k": 5, "temperature": 0.1}
    found = judge_features(path, network, seen, host_backbone=build, **votes)
    assert asked == [("vit_of_the_host", "custom", 32)]
    assert found.splits["train"].features.shape == (48, 48)
    with pytest.raises(UserError, match="encoder='vit_of_the_host' is not allowed"):
        judge_features(path, network, seen, **votes)
    with pytest.raises(UserError, match="stem='small' is not allowed"):
        judge_features(path, Network("vit_of_the_host", "small"), seen, **votes)
