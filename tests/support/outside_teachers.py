"""Teachers of other libraries, small: a program of ONNX, a folder of Hugging Face, a module."""

import json
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from solo_rekd.backbones import build_backbone
from solo_rekd.export import export

MEAN, STD = (0.2, 0.3, 0.4), (0.1, 0.2, 0.3)


class Tiny(nn.Module):
    """Somebody's own network, with a BatchNorm that must stand still."""

    def __init__(self, width: int = 6) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, width, 3, stride=2)
        self.norm = nn.BatchNorm2d(width)

    def forward(self, images: Tensor) -> Tensor:
        return self.norm(self.conv(images)).relu().mean((2, 3))


def write_program(folder: Path, side: int) -> tuple[nn.Module, Path]:
    """Exports a network of 1024 features with its mean and std; returns it and the file."""
    pytest.importorskip("onnxruntime")
    torch.manual_seed(0)
    net = build_backbone("mobilenet_v3_small", side, "small").eval()
    state = {f"encoder.{key}": value for key, value in net.state_dict().items()}
    torch.save({"state_dict": state | {"classifier.weight": torch.ones(2)}}, folder / "t.ckpt")
    trained = {"encoder": "mobilenet_v3_small", "crop_size": side, "stem": "small"}
    export(folder / "t.ckpt", folder / "t.onnx", trained | {"mean": MEAN, "std": STD})
    return net, folder / "t.onnx"


def write_folder(folder: Path, side: int) -> nn.Module:
    """Writes a ResNet of 32 features with its mean and std, as transformers does; returns it."""
    transformers = pytest.importorskip("transformers")
    torch.manual_seed(0)
    config = transformers.ResNetConfig(
        embedding_size=8, hidden_sizes=[8, 16, 24, 32], depths=[1] * 4, layer_type="basic"
    )
    net = transformers.ResNetModel(config).eval()
    net.save_pretrained(folder)
    colours = {"image_mean": MEAN, "image_std": STD, "size": side}
    (folder / "preprocessor_config.json").write_text(json.dumps(colours))
    return net
