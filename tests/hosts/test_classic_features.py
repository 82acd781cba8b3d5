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
from solo_rekd.teachers import read_checkpoint

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
