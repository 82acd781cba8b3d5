"""What the tests of a distillation share: a few photos, and a teacher's file."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from solo_rekd.distilling.request import Request, make_request


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """A folder of 40 photos of 40 x 36 px in folders, with what is none among them."""
    folder = tmp_path / "photos"
    rng = np.random.default_rng(0)
    for place in range(40):
        pixels = rng.integers(0, 256, (36, 40, 3))
        pixels[..., place % 3] = 200
        where = folder / ("deep/deeper" if place % 2 else "")
        where.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels.astype("uint8")).save(where / f"{place:02d}.PNG", "PNG")
    (folder / "notes.md").write_text("no photo")
    return folder


@pytest.fixture(scope="session")
def teacher_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A ResNet-18 of torchvision with random weights."""
    import torch
    from torchvision.models import resnet18

    path = tmp_path_factory.mktemp("teacher") / "resnet18.pth"
    torch.manual_seed(0)
    torch.save(resnet18().state_dict(), path)
    return path


@pytest.fixture
def asked(photos: Path, teacher_file: Path, tmp_path: Path) -> Any:
    """Makes a request of a tiny run: asked(epochs=2)."""

    def make(**changes: Any) -> Request:
        given: dict[str, Any] = {
            "photos": (str(photos),),
            "out": str(tmp_path / "run"),
            "teacher": "resnet18",
            "teacher_checkpoint": str(teacher_file),
            "teacher_size": 36,
            "workers": 0,
            "batch_size": 8,
        }
        return make_request(**given | changes)

    return make
