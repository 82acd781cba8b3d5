"""A frozen teacher that sees each training image once, in the current host's script."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from PIL import Image
from safetensors.torch import load_file
from torch.nn.functional import normalize
from torchvision.datasets import ImageFolder
from torchvision.transforms import functional as transforms

pytest.importorskip("solo.data", reason="no checkout of solo-learn's main branch: SOLO_LEARN_HOME")

from solo_rekd.backbones import build_backbone
from solo_rekd.checkpoints import two_layer_projector

MEAN = torch.tensor([0.485, 0.456, 0.406])[:, None, None]
STD = torch.tensor([0.229, 0.224, 0.225])[:, None, None]

pytestmark = pytest.mark.slow


def test_it_is_the_teachers_own_word_and_kept(
    run_script: Callable[..., str],
    arguments: Callable[..., list[str]],
    data: Path,
    tmp_path: Path,
) -> None:
    torch.manual_seed(0)
    backbone, projector = build_backbone("resnet18", 32), two_layer_projector(512, 16, 8)
    state = {
        f"{part}.{name}": tensor
        for part, network in (("backbone", backbone), ("projector", projector))
        for name, tensor in network.state_dict().items()
    }
    state |= {"classifier.weight": torch.zeros(3, 512), "classifier.bias": torch.zeros(3)}
    torch.save({"state_dict": state}, tmp_path / "teacher.ckpt")
    settings = {
        "method_kwargs.teacher": "resnet18",
        "method_kwargs.teacher_mode": "frozen",
        "method_kwargs.teacher_checkpoint": tmp_path / "teacher.ckpt",
        "method_kwargs.teacher_cache": tmp_path / "kept",
        "method_kwargs.teacher_view": "image",
    }
    shown = run_script("main_pretrain.py", *arguments("disco", **settings))
    assert "embeddings of the whole image kept in" in shown
    (path,) = (tmp_path / "kept").iterdir()
    kept = load_file(path)
    files = [file for file, _ in ImageFolder(str(data / "train")).samples]
    images = [transforms.to_tensor(Image.open(file).convert("RGB")) for file in files]
    with torch.no_grad():
        features = backbone.eval()((torch.stack(images) - MEAN) / STD)
        embeddings = normalize(projector.eval()(features), dim=1)
    torch.testing.assert_close(kept["features"].float(), features, rtol=3e-3, atol=3e-3)
    torch.testing.assert_close(kept["embeddings"].float(), embeddings, rtol=3e-3, atol=3e-3)

    shown = run_script("main_pretrain.py", *arguments("seed", **settings))
    assert "embeddings of the whole image among 48 images from" in shown
    assert len(list((tmp_path / "kept").iterdir())) == 1
