"""MobileNet-V3's hidden layer, which comes before the features."""

import pytest
import torch
from torchvision import models

from solo_rekd.backbones import build_backbone
from solo_rekd.checkpoints.load import load_networks
from solo_rekd.checkpoints.student import load_student
from solo_rekd.export import export
from solo_rekd.utils.errors import UserError

NAMES = ("mobilenet_v3_large", "mobilenet_v3_small")


@pytest.mark.parametrize("name", NAMES)
def test_a_file_of_torchvision_loads_with_it(name, tmp_path):
    net = getattr(models, name)()
    torch.save(net.state_dict(), tmp_path / "net.pth")
    loaded = load_networks(tmp_path / "net.pth", name, 64, "imagenet").backbone
    assert torch.equal(loaded.classifier[0].weight, net.classifier[0].weight)


def test_an_exported_student_keeps_it(tmp_path):
    net = build_backbone("mobilenet_v3_small", 32)
    state = {f"encoder.{name}": value for name, value in net.state_dict().items()}
    state["classifier.weight"] = torch.zeros(2, 1024)
    torch.save({"state_dict": state}, tmp_path / "run.ckpt")
    trained = {"encoder": "mobilenet_v3_small", "crop_size": 32}
    facts = export(tmp_path / "run.ckpt", tmp_path / "net.safetensors", trained)
    assert facts["num_features"] == "1024"
    again = build_backbone("mobilenet_v3_small", 32)
    load_student(tmp_path / "net.safetensors", "mobilenet_v3_small", again)
    assert torch.equal(again.classifier[0].weight, net.classifier[0].weight)


def test_a_file_without_it_is_refused(tmp_path):
    state = build_backbone("mobilenet_v3_small", 32).state_dict()
    old = {key: value for key, value in state.items() if not key.startswith("classifier.0.")}
    torch.save(old, tmp_path / "old.pt")
    with pytest.raises(UserError, match=r"classifier\.0\.weight is missing.*train it again"):
        load_networks(tmp_path / "old.pt", "mobilenet_v3_small", 32)
