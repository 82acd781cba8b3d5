"""Files that transformers itself writes give transformers' own features."""

import pytest
import timm
import torch
from safetensors.torch import load_file, save_file

from solo_rekd.checkpoints.load import load_networks

transformers = pytest.importorskip("transformers", reason="the extra `hf` is not installed")

SIZES = dict(hidden_size=384, num_hidden_layers=2, num_attention_heads=6, intermediate_size=1536)


@pytest.fixture(autouse=True)
def two_blocks(monkeypatch):
    create = timm.create_model

    def create_small(name, **kwargs):
        depth = {"depth": 2} if "vit" in name else {}
        return create(name, **(depth | kwargs))

    monkeypatch.setattr(timm, "create_model", create_small)


def vit(cls="ViTModel", **options):
    config = transformers.ViTConfig(**(SIZES | options), image_size=64, patch_size=16)
    return getattr(transformers, cls)(config)


def mae():
    config = transformers.ViTMAEConfig(**SIZES, image_size=64, patch_size=16, mask_ratio=0.0)
    return transformers.ViTMAEModel(config)


def dinov2(cls="Dinov2", **options):
    sizes = {key: value for key, value in SIZES.items() if key != "intermediate_size"}
    config = getattr(transformers, f"{cls}Config")(**sizes, image_size=70, patch_size=14, **options)
    return getattr(transformers, f"{cls}Model")(config)


def dinov3(**options):
    config = transformers.DINOv3ViTConfig(
        **SIZES, image_size=64, patch_size=16, num_register_tokens=4, **options
    )
    return transformers.DINOv3ViTModel(config)


def resnet(kind, depths, sizes):
    config = transformers.ResNetConfig(layer_type=kind, depths=depths, hidden_sizes=sizes)
    return transformers.ResNetModel(config)


def first_token(net, images):
    return net(images).last_hidden_state[:, 0]


def unshuffled(net, images):  # MAE shuffles patches even where it masks none
    return net(images, noise=torch.arange(16.0).repeat(len(images), 1)).last_hidden_state[:, 0]


def pooled(net, images):
    return net(images).pooler_output.flatten(1)


VIT, DINOV2 = "timm:vit_small_patch16_224", "timm:vit_small_patch14_dinov2"
CASES = {  # the network, our name, the side of the images, and the source's own features
    "vit": (vit, VIT, 64, first_token),
    "vit_classifier": (lambda: vit("ViTForImageClassification"), VIT, 64, None),
    # what its config.json tells, no key does
    "vit_of_other_heads": (
        lambda: vit(num_attention_heads=3, layer_norm_eps=1e-3),
        VIT,
        64,
        first_token,
    ),
    "vit_mae": (mae, VIT, 64, unshuffled),
    "dinov2": (dinov2, DINOV2, 70, pooled),
    "dinov2_at_another_size": (dinov2, DINOV2, 112, pooled),
    "dinov2_registers": (
        lambda: dinov2("Dinov2WithRegisters"),
        "timm:vit_small_patch14_reg4_dinov2",
        70,
        pooled,
    ),
    "dinov2_registers_at_another_size": (
        lambda: dinov2("Dinov2WithRegisters"),
        "timm:vit_small_patch14_reg4_dinov2",
        112,
        pooled,
    ),
    "dinov3": (dinov3, "timm:vit_small_patch16_dinov3", 64, pooled),
    "dinov3_gated": (
        lambda: dinov3(use_gated_mlp=True, hidden_act="silu"),
        "timm:vit_small_plus_patch16_dinov3",
        96,
        pooled,
    ),
    "resnet50": (
        lambda: resnet("bottleneck", [3, 4, 6, 3], [256, 512, 1024, 2048]),
        "resnet50",
        64,
        pooled,
    ),
    "resnet18": (
        lambda: resnet("basic", [2, 2, 2, 2], [64, 128, 256, 512]),
        "resnet18",
        64,
        pooled,
    ),
}


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("how", ["save_pretrained", "state_dict"])
def test_the_features_are_transformers_own(case, how, shake, tmp_path):
    make, name, side, features = CASES[case]
    if "dinov3" in name and not timm.is_model(name.removeprefix("timm:")):
        pytest.skip("this timm is from before DINOv3")
    if case == "vit_of_other_heads" and how == "state_dict":
        pytest.skip("a state dict alone does not tell")
    torch.manual_seed(0)
    net = shake(make(), seed=3)
    if how == "save_pretrained":
        net.save_pretrained(tmp_path)
        path = tmp_path / "model.safetensors"
    else:
        torch.save(net.state_dict(), path := tmp_path / "t.pt")
    loaded = load_networks(path, name, side)
    images = torch.randn(2, 3, side, side, generator=torch.Generator().manual_seed(6))
    with torch.no_grad():
        expected = features(net, images) if features else first_token(net.vit, images)
        found = loaded.backbone.eval()(images)
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=2e-5)
    assert loaded.facts.format == "Hugging Face transformers"


@pytest.mark.parametrize("model", ["resnet18", "mobilenetv3_small_050"])
def test_a_wrapped_timm_model(model, shake, images, tmp_path):
    config = transformers.TimmWrapperConfig(architecture=model)
    net = shake(transformers.TimmWrapperModel(config), seed=3)
    net.save_pretrained(tmp_path)
    loaded = load_networks(tmp_path / "model.safetensors", f"timm:{model}", 32)
    with torch.no_grad():
        expected = net(images).pooler_output
        torch.testing.assert_close(loaded.backbone.eval()(images), expected, rtol=1e-5, atol=1e-5)


def test_shards_of_one_network_are_one_file_too_few(tmp_path):
    net = resnet("basic", [2, 2, 2, 2], [64, 128, 256, 512])
    net.save_pretrained(tmp_path)
    state = load_file(tmp_path / "model.safetensors")
    half = dict(list(state.items())[: len(state) // 2])
    save_file(half, tmp_path / "model-00001-of-00002.safetensors")
    from solo_rekd.utils.errors import UserError

    with pytest.raises(UserError, match="missing"):
        load_networks(tmp_path / "model-00001-of-00002.safetensors", "resnet18", 32)
