"""Every block of Python in the README and in docs/python.md runs, in its order."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from solo_rekd.backbones import build_backbone

ROOT = Path(__file__).parents[1]
BLOCK = re.compile(r"^```python\n(.*?)^```", re.MULTILINE | re.DOTALL)
LINES = 15


def blocks(document: Path) -> list[str]:
    return BLOCK.findall(document.read_text())


DOCUMENTS = [ROOT / "README.md", ROOT / "docs" / "python.md"]


class Loader:
    """What the documents take for granted: two steps of two small batches."""

    def __len__(self) -> int:
        return 2

    def __iter__(self) -> Iterator[list[Tensor]]:
        return iter([[torch.randn(2, 3, 224, 224) for _ in range(2)] for _ in range(2)])


def write_moco(path: Path) -> None:
    """Writes a ResNet-50 as MoCo v2 does."""
    head = nn.Sequential(nn.Linear(2048, 2048), nn.ReLU(), nn.Linear(2048, 128))
    backbone = build_backbone("resnet50", 224, "imagenet")
    state = {f"module.encoder_q.{key}": value for key, value in backbone.state_dict().items()}
    state |= {f"module.encoder_q.fc.{key}": value for key, value in head.state_dict().items()}
    torch.save({"state_dict": state, "arch": "resnet50"}, path)


def test_the_readme_shows_python_in_fifteen_lines() -> None:
    (block,) = blocks(ROOT / "README.md")
    assert len([line for line in block.splitlines() if line]) <= LINES


@pytest.mark.parametrize(
    "document",
    [DOCUMENTS[0], pytest.param(DOCUMENTS[1], marks=pytest.mark.slow)],
    ids=lambda path: path.name,
)
def test_every_block_runs(document: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    write_moco(tmp_path / "moco.pth")
    torch.manual_seed(0)
    # one process in place of several: the objective knows no other
    monkeypatch.setattr(nn.parallel, "DistributedDataParallel", lambda model, **settings: model)
    loader = Loader()
    names: dict[str, Any] = {"epochs": 1, "loader": loader, "batches": iter(loader)}
    for block in blocks(document):
        exec(compile(block, str(document), "exec"), names)
    assert names["loss"].isfinite()
