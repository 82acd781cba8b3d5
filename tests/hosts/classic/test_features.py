import os
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from solo_rekd.backbones import build_backbone
from solo_rekd.checkpoints import read_checkpoint
from solo_rekd.evaluation.linear_probe import linear_probe
from solo_rekd.utils.errors import UserError

Flags = Callable[..., list[str]]


@pytest.fixture
def argv(flags: Flags, online: dict[str, Any]) -> list[str]:
    return flags("knn", pretrained_feature_extractor=online["checkpoint"])


@pytest.mark.parametrize("split", ["train", "val"])
def test_features_are_the_encoders_of_every_image_in_order(
    split: str, argv: list[str], host: ModuleType, data: Path, online: dict[str, Any]
) -> None:
    found = host.features(argv)[split]
    encoder, prefix = build_backbone("alexnet", 32).eval(), "encoder."
    state = read_checkpoint(online["checkpoint"])[0]["state_dict"]
    encoder.load_state_dict(
        {name.removeprefix(prefix): v for name, v in state.items() if name.startswith(prefix)}
    )
    paths = sorted((data / split).glob("*/*.png"))
    pixels = np.stack([np.asarray(Image.open(path)) for path in paths])
    with torch.no_grad():
        expected = encoder(torch.from_numpy(pixels).permute(0, 3, 1, 2).float() / 127.5 - 1)
    torch.testing.assert_close(found.features, expected)
    assert found.features.device.type == "cpu"
    assert not found.features.requires_grad
    assert [found.classes[label] for label in found.labels] == [p.parent.name for p in paths]


def test_knn_on_features_is_knn(argv: list[str], host: ModuleType) -> None:
    result = host.knn(argv, host.features(argv))
    assert result == host.knn(argv)
    assert (result["k"], result["temperature"]) == (20, 0.07)


def test_progress_is_told_after_every_batch(argv: list[str], host: ModuleType) -> None:
    shares: list[float] = []
    host.features(argv, shares.append)  # 48 and 24 images in batches of 8
    assert shares == pytest.approx([number / 9 for number in range(1, 10)])


def test_no_file_stays_open_for_a_batch(flags: Flags, host: ModuleType, online: Any) -> None:
    # a loader's process hands its tensors over as open files
    argv = flags(
        "knn", pretrained_feature_extractor=online["checkpoint"], batch_size=1, num_workers=1
    )
    counts: list[int] = []
    host.features(argv, lambda share: counts.append(len(os.listdir("/proc/self/fd"))))
    assert len(counts) == 72
    assert max(counts) < min(counts) + 20


@pytest.fixture
def another_order(data: Path, tmp_path: Path) -> Path:
    """The images under names that sort the other way round within each class."""
    for path in sorted(data.glob("[tv]*/*/*.png")):
        folder = tmp_path / path.relative_to(data).parent
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"{99 - int(path.stem):02d}.png").symlink_to(path)
    return tmp_path


def figures(host: ModuleType, argv: list[str]) -> tuple[dict[str, Any], tuple[float, ...]]:
    """The features of an evaluation, and the accuracies of kNN and of the linear probe."""
    splits = host.features(argv)
    pairs = ((split.features.numpy(), split.labels.numpy()) for split in splits.values())
    judged = host.knn([*argv, "--k", "7"], splits), linear_probe(*pairs)
    return splits, tuple(result[top] for result in judged for top in ("top1", "top5"))


def test_neither_batches_nor_workers_nor_order_change_a_figure(
    flags: Flags, host: ModuleType, online: dict[str, Any], another_order: Path
) -> None:
    weights = {"pretrained_feature_extractor": online["checkpoint"]}
    splits, expected = figures(host, flags("knn", **weights, batch_size=8))
    for changes in [
        {"batch_size": 1},
        {"batch_size": 7, "num_workers": 2},
        {"batch_size": 64},
        {"batch_size": 7, "data_dir": another_order},
    ]:
        found, accuracies = figures(host, flags("knn", **weights, **changes))
        assert accuracies == expected
        if "data_dir" in changes:
            continue
        for name, split in splits.items():
            torch.testing.assert_close(found[name].features, split.features)
            assert torch.equal(found[name].labels, split.labels)


@pytest.mark.parametrize("changes", [{"batch_size": 7}, {"batch_size": 64}, {"num_workers": 2}])
def test_linear_evaluation_judges_every_validation_image(
    changes: dict[str, Any], flags: Flags, host: ModuleType, online: dict[str, Any]
) -> None:
    # at learning rate 0 the classifier is the seed's, so that only the judging is compared
    kept = {"pretrained_feature_extractor": online["checkpoint"], "lr": 0}
    if changes.get("batch_size") == 64:  # the host drops a batch that is not full in training
        with pytest.raises(UserError, match=r"batch_size=64 .* number of training images"):
            host.linear(flags("linear", **kept, **changes))
        return
    found = host.linear(flags("linear", **kept, **changes))
    assert found["top1"] == pytest.approx(host.linear(flags("linear", **kept))["top1"], abs=1e-4)
    assert found["protocol"].endswith("last epoch")
