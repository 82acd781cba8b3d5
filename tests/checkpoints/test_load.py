import collections
import functools
import logging
import pathlib

import numpy as np
import pytest
import torch

from solo_rekd.backbones import build_backbone
from solo_rekd.checkpoints.fit import load_backbone, looks_like
from solo_rekd.checkpoints.load import load_networks
from solo_rekd.utils.errors import UserError


def refusal(call, *args) -> str:
    with pytest.raises(UserError) as caught:
        call(*args)
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.fixture
def path(source, tmp_path):
    torch.save(source.state_dict(), file := tmp_path / "resnet18.pth")
    return file  # its 3x3 stem is solo-learn's, which no key shows


def test_wrong_architecture_names_keys_counts_and_what_it_looks_like(path):
    message = refusal(load_networks, path, "resnet34", 32, "small")
    for words in (f"teacher_checkpoint='{path}'", "does not fit resnet34", "looks like resnet18"):
        assert words in message
    assert "layer1.2.conv1.weight is missing" in message and message.count(" is missing") == 5
    assert "80 are missing and 0 do not match" in message


def test_other_shapes_are_refused(path):
    message = refusal(load_networks, path, "resnet50", 32, "small")
    assert "layer1.0.conv1.weight is 64x64x3x3 instead of 64x64x1x1" in message


def test_something_else_altogether_shows_its_own_keys(path):
    message = refusal(load_networks, path, "mobilenet_v3_small", 32)
    assert "features.0.0.weight is missing" in message and "resnet18" in message


def test_unknown_architecture(path):
    assert "resnet19" in refusal(load_networks, path, "resnet19", 32, "small")


@pytest.mark.parametrize("spoil", ["missing", "shape", "nan", "integers"])
def test_a_refusal_loads_nothing(source, spoil):
    backbone = build_backbone("resnet18", 32)
    before = {key: value.clone() for key, value in backbone.state_dict().items()}
    tensors = dict(source.state_dict())
    last = tensors.pop("layer4.1.bn2.bias")
    if spoil == "shape":
        tensors["layer4.1.bn2.bias"] = last[:-1]
    elif spoil == "nan":
        tensors["layer4.1.bn2.bias"] = last / 0
    elif spoil == "integers":
        tensors["layer4.1.bn2.bias"] = last.to(torch.int8)
    assert "layer4.1.bn2.bias" in refusal(load_backbone, backbone, tensors, "resnet18")
    assert all(torch.equal(value, before[key]) for key, value in backbone.state_dict().items())


@pytest.mark.parametrize("kind", ["float8_e4m3fn", "float8_e5m2", "bfloat16", "float16", "float64"])
def test_weights_of_any_floating_point(kind, source, tmp_path):
    held = {
        key: value.to(getattr(torch, kind)) if value.is_floating_point() else value
        for key, value in source.state_dict().items()
    }
    torch.save(held, path := tmp_path / "t.pth")
    weights = load_networks(path, "resnet18", 32, "small").backbone.state_dict()
    assert all(torch.equal(weights[key], value.to(weights[key])) for key, value in held.items())
    held["bn1.weight"] = torch.full((64,), torch.nan).to(getattr(torch, kind))
    torch.save(held, path)
    assert "bn1.weight is not finite" in refusal(load_networks, path, "resnet18", 32, "small")


ODD = "odd\n\x1b[31m\u202eword"


@pytest.mark.parametrize(
    "content",
    [
        {ODD: torch.ones(2)},
        {ODD: 1},
        {f"layer1.0.{ODD}.weight": torch.ones(2)},
        {f"{ODD}.{name}.conv1.weight": torch.rand(2, 3, 3, 3) for name in "ab"},
    ],
)
def test_a_key_brings_no_control_characters_into_a_message(content, source, tmp_path):
    whole = source.state_dict() if any(key.startswith("layer1") for key in content) else {}
    torch.save(whole | content, path := tmp_path / "t.pth")
    message = refusal(load_networks, path, "resnet18", 32, "small")
    assert message.isprintable() and "odd \\x1b[31m" in message


def test_nor_into_the_log(source, tmp_path, caplog):
    torch.save(source.state_dict() | {f"{ODD}.weight": torch.ones(2)}, path := tmp_path / "t.pth")
    load_networks(path, "resnet18", 32, "small")
    assert all(line.isprintable() for line in caplog.messages) and "odd \\x1b" in caplog.text


def test_a_projector_that_is_not_finite(source, tmp_path):
    state = {"encoder_q." + key: value for key, value in source.state_dict().items()}
    state["encoder_q.fc.weight"] = torch.full((4, 512), torch.nan)
    torch.save({"state_dict": state}, path := tmp_path / "t.pth")
    message = refusal(load_networks, path, "resnet18", 32, "small")
    assert "weight of its projector is not finite" in message


def test_unexpected_keys_are_reported(source, caplog):
    with caplog.at_level(logging.INFO, "solo_rekd"):
        tensors = source.state_dict() | {"extra.weight": torch.ones(1)}
        fitted = load_backbone(build_backbone("resnet18", 32), tensors, "resnet18")
    assert fitted.matched == 120 and fitted.left_out == ("extra.weight",)
    assert "extra.weight" in caplog.text


def test_counters_of_early_pytorch_may_be_missing(source, images):
    tensors = {k: v for k, v in source.state_dict().items() if "num_batches" not in k}
    backbone = build_backbone("resnet18", 32).eval()
    assert load_backbone(backbone, tensors, "resnet18").matched == 100
    torch.testing.assert_close(backbone(images), source(images))


@pytest.mark.parametrize(("img_size", "kernel"), [(72, 3), (32, 7)])
def test_the_stem_is_the_checkpoint_s_not_the_input_s(tmp_path, img_size, kernel):
    held = build_backbone("resnet18", 64, "small" if kernel == 3 else "imagenet")
    state = {f"encoder.{key}": value for key, value in held.state_dict().items()}
    state |= {"classifier.weight": torch.ones(10, 512), "projector.0.weight": torch.ones(8, 512)}
    torch.save({"state_dict": state}, file := tmp_path / "t.pth")
    backbone = load_networks(file, "resnet18", img_size).backbone
    assert backbone.conv1.kernel_size == (kernel, kernel)
    assert type(backbone.maxpool) is type(held.maxpool)


def test_an_asked_stem_that_the_checkpoint_lacks(path):
    message = refusal(load_networks, path, "resnet18", 32, "imagenet")
    assert "teacher_stem='imagenet'" in message and "small, 3x3, 3x3-pool" in message


def test_a_projector_for_other_features_is_left_out(source, tmp_path, caplog):
    state = {"module.encoder_q." + key: value for key, value in source.state_dict().items()}
    state["module.encoder_q.fc.weight"] = torch.ones(16, 99)
    torch.save({"state_dict": state}, file := tmp_path / "t.pth")
    assert load_networks(file, "resnet18", 32, "small").projector is None
    assert "projector is left out" in caplog.text


NAMES = ["resnet18", "resnet34", "resnet50", "resnet50x2", "mobilenet_v3_small"]


@pytest.mark.parametrize("name", NAMES)
def test_looks_like(name):
    with torch.device("meta"):
        tensors = build_backbone(name, 32).state_dict()
    assert looks_like(tensors) == (name if name.startswith("resnet") else None)


def test_a_vit_s_position_embedding_follows_the_input_size(tmp_path, caplog):
    held = build_backbone("timm:test_vit", 64)
    paper = held.state_dict() | {"mask_token": torch.ones(1, 64)}  # as DINOv2's files
    torch.save(paper, file := tmp_path / "t.pth")
    backbone = load_networks(file, "timm:test_vit", 96).backbone
    torch.testing.assert_close(backbone.blocks[1].mlp.fc1.weight, held.blocks[1].mlp.fc1.weight)
    assert backbone(torch.ones(1, 3, 96, 96)).shape == (1, backbone.num_features)


def test_other_patches_are_another_architecture(tmp_path):
    state = build_backbone("timm:test_vit", 64).state_dict()
    state["patch_embed.proj.weight"] = state["patch_embed.proj.weight"][..., :8, :8]
    torch.save(state, file := tmp_path / "t.pth")
    assert "patch_embed.proj.weight" in refusal(load_networks, file, "timm:test_vit", 64)


class HistoryBuffer:
    def __init__(self) -> None:
        self.losses = np.ones(2)


BESIDE = {
    "scheduler of a fixed rate": {"lr_schedulers": [{"lr_lambdas": [functools.partial(max, 1)]}]},
    "history": {"message_hub": {"log_scalars": {"loss": HistoryBuffer()}}},
    "best accuracy": {"best": np.float64(0.5), "output": pathlib.Path("a/b")},
    "optimiser": {"optimizer": {"state": collections.defaultdict(dict, {0: {"step": 1}})}},
}


@pytest.mark.parametrize("beside", BESIDE.values(), ids=BESIDE)
@pytest.mark.parametrize("is_zip", [True, False])
def test_objects_beside_the_weights_change_nothing(source, images, tmp_path, beside, is_zip):
    state = {f"backbone.{key}": value for key, value in source.state_dict().items()}
    torch.save(
        {"state_dict": state, **beside},
        path := tmp_path / "t.ckpt",
        _use_new_zipfile_serialization=is_zip,
    )
    loaded = load_networks(path, "resnet18", 32, "small").backbone.eval()
    with torch.no_grad():
        assert torch.equal(loaded(images), source.eval()(images))
