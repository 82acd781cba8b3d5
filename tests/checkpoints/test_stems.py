"""What no key of a ResNet shows of its first layers is asked for, or known from the format."""

import json

import pytest
import torch
from torch import nn
from torchvision.models import resnet18

from solo_rekd.backbones import build_backbone
from solo_rekd.checkpoints.load import load_networks
from solo_rekd.checkpoints.stems import describe_stem
from solo_rekd.config import RESNET_STEMS
from solo_rekd.utils.errors import UserError

EDITS = {  # how people change the stem: their convolution, and whether they keep the pooling
    "3x3": (nn.Conv2d(3, 64, 3, 1, 1, bias=False), False),
    "3x3-pool": (nn.Conv2d(3, 64, 3, 1, 1, bias=False), True),
    "3x3-stride2": (nn.Conv2d(3, 64, 3, 2, 1, bias=False), False),
    "3x3-stride2-pool": (nn.Conv2d(3, 64, 3, 2, 1, bias=False), True),
    "7x7-nopool": (nn.Conv2d(3, 64, 7, 2, 3, bias=False), False),
}


def edited(stem, shake):
    net = resnet18(num_classes=10)
    net.conv1, pools = EDITS[stem]
    if not pools:
        net.maxpool = nn.Identity()
    net.fc = nn.Identity()
    return shake(net, seed=4)


@pytest.mark.parametrize("stem", EDITS)
@pytest.mark.parametrize("name", ["resnet18", "timm:resnet18"])
def test_a_changed_stem_that_the_user_names(stem, name, shake, images, tmp_path):
    net = edited(stem, shake)
    torch.save({"net": net.state_dict()}, path := tmp_path / "own.pth")
    loaded = load_networks(path, name, 32, stem)
    with torch.no_grad():
        torch.testing.assert_close(loaded.backbone.eval()(images), net(images))
    assert loaded.stem == stem and loaded.facts.stem == stem


def test_every_stem_has_an_edit():
    assert EDITS.keys() == RESNET_STEMS.keys()


@pytest.mark.parametrize("prefix", ["", "model.", "backbone."])
def test_a_3x3_stem_of_nobody_s_format_is_refused_with_the_choices(prefix, shake, tmp_path):
    state = {prefix + key: value for key, value in edited("3x3", shake).state_dict().items()}
    torch.save({"state_dict": state}, path := tmp_path / "own.pth")
    with pytest.raises(UserError, match="first convolution is 3x3") as caught:
        load_networks(path, "resnet18", 32)
    assert "teacher_stem" in str(caught.value) and "\n" not in str(caught.value)
    for stem in ("small", "3x3", "3x3-pool", "3x3-stride2", "3x3-stride2-pool"):
        assert f"{stem} ({describe_stem(stem)})" in str(caught.value)


def test_a_stem_of_another_kernel_is_refused(shake, tmp_path):
    torch.save(edited("7x7-nopool", shake).state_dict(), path := tmp_path / "own.pth")
    with pytest.raises(UserError, match="imagenet, 7x7-nopool or auto"):
        load_networks(path, "resnet18", 32, "3x3")
    assert load_networks(path, "resnet18", 32).stem == "imagenet"


def test_an_evaluation_s_keys_are_anybody_s_so_its_stem_is_warned_of(source, tmp_path, caplog):
    state = {f"backbone.{key}": value for key, value in source.state_dict().items()}
    state |= {"classifier.weight": torch.ones(10, 512), "classifier.bias": torch.ones(10)}
    torch.save({"state_dict": state}, path := tmp_path / "linear.ckpt")
    assert load_networks(path, "resnet18", 32).stem == "small"
    assert "give teacher_stem" in caplog.text
    caplog.clear()
    settings = {
        "method": "linear",
        "backbone": {"name": "resnet18"},
        "data": {"dataset": "cifar10"},
        "augmentations": [{"crop_size": 32}],
    }
    (tmp_path / "args.json").write_text(json.dumps(settings))
    assert load_networks(path, "resnet18", 32).stem == "small" and not caplog.text


@pytest.mark.parametrize("name", ["mobilenet_v3_small", "alexnet", "timm:test_vit"])
def test_only_a_resnet_has_the_stems_of_a_resnet(name):
    with pytest.raises(UserError, match="stem='3x3' is not allowed"):
        build_backbone(name, 64, "3x3")
