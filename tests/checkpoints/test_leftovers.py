"""A tensor that computed the features of the source's network is never dropped in silence."""

import pytest
import timm
import torch

from solo_rekd.backbones import build_backbone
from solo_rekd.checkpoints.fit import load_backbone
from solo_rekd.checkpoints.leftovers import of_another_network, of_unknown_use
from solo_rekd.checkpoints.load import load_networks
from solo_rekd.checkpoints.split import split_state_dict
from solo_rekd.utils.errors import UserError

T = torch.ones(2)


@pytest.mark.parametrize(
    ("file", "name", "words"),
    [
        ("seresnet50", "resnet50", ["layer1.0.se.fc1.weight"]),
        ("resnet34", "resnet18", ["layer1.2.", "looks like resnet34"]),
        ("resnet101", "resnet50", ["layer3.6.", "looks like resnet101"]),
        (
            "timm:vit_small_patch14_reg4_dinov2",
            "timm:vit_small_patch14_dinov2",
            ["register_tokens"],
        ),
        ("timm:deit_tiny_distilled_patch16_224", "timm:deit_tiny_patch16_224", ["dist_token"]),
    ],
)
def test_a_file_of_another_network_is_refused(file, name, words, tmp_path):
    model = file.removeprefix("timm:")
    net = timm.create_model(model, num_classes=0)
    state = {key: torch.full(value.shape, 0.1) for key, value in net.state_dict().items()}
    if "reg4" in model:  # the paper's own names
        state["register_tokens"] = state.pop("reg_token")
        prefix = torch.zeros(1, 1, state["pos_embed"].shape[-1])
        state["pos_embed"] = torch.cat([prefix, state["pos_embed"]], dim=1)
        state["mask_token"] = torch.zeros(1, state["pos_embed"].shape[-1])
    torch.save(state, path := tmp_path / "t.pth")
    with pytest.raises(UserError) as caught:
        load_networks(path, name, 56 if "dinov2" in name else 64)
    message = str(caught.value)
    assert all(word in message for word in (*words, str(path))), message
    assert "\n" not in message


OWN = {"conv1.weight", "layer1.0.conv1.weight", "blocks.0.attn.qkv.weight", "norm.weight"}


@pytest.mark.parametrize(
    "key",
    [
        "layer1.0.se.fc1.weight",
        "layer1.5.conv1.weight",
        "blocks.0.attn.qkv.bias",
        "blocks.9.norm1.weight",
        "conv1.bias",
        "register_tokens",
        "pos_embed",
        "norm.extra",
    ],
)
def test_a_key_inside_a_module_that_is_used(key):
    assert of_another_network([key], OWN, {key: T}) == [key]


@pytest.mark.parametrize(
    "key",
    [
        "mask_token",
        "decoder_blocks.0.norm1.weight",
        "head.weight",
        "fc.0.weight",
        "classifier.3.bias",
        "blocks.0.attn.relative_position_index",
        "blocks.0.attn.qkv.bias_mask",
        "layer1.0.total_ops",
        "projector.0.weight",
        "n_averaged",
    ],
)
def test_a_harmless_key(key):
    assert not of_another_network([key], OWN, {key: T}) and not of_unknown_use([key])


def test_a_bias_of_zeros_changes_nothing():
    key = "blocks.0.attn.qkv.bias"
    assert not of_another_network([key], OWN, {key: torch.zeros(2)})


def test_a_module_of_unknown_use_is_warned_of(source, tmp_path, caplog):
    state = source.state_dict() | {"attention_pool.query": torch.ones(2)}
    torch.save(state, path := tmp_path / "t.pth")
    assert load_networks(path, "resnet18", 32, "small").facts.left_out == ("attention_pool.query",)
    assert "does not use 1 tensors: attention_pool.query" in caplog.text


def test_nothing_is_loaded_where_the_file_is_refused(source):
    backbone = build_backbone("resnet18", 32, "small")
    before = {key: value.clone() for key, value in backbone.state_dict().items()}
    tensors = source.state_dict() | {"layer1.0.se.fc1.weight": T}
    with pytest.raises(UserError, match="a different network"):
        load_backbone(backbone, tensors, "resnet18")
    assert all(torch.equal(value, before[key]) for key, value in backbone.state_dict().items())


FAMILIES = [
    *("coat_tiny", "crossvit_9_240", "pit_ti_224", "tiny_vit_5m_224", "levit_128s"),
    *("selecsls42", "ghostnet_100", "mobilevit_xxs", "convnext_atto", "repvgg_a0"),
]


@pytest.mark.parametrize("model", FAMILIES)
def test_a_network_of_any_family_is_found_whole_under_a_prefix(model):
    torch.manual_seed(0)
    state = timm.create_model(model).state_dict()
    state = {f"model.{key}": value for key, value in state.items()} | {"loss.weight": T}
    split = split_state_dict({"state_dict": state})
    net = timm.create_model(model, num_classes=0)
    fitted = load_backbone(net, split.backbone, model)
    assert fitted.matched == len(net.state_dict())
    assert not of_unknown_use(fitted.left_out)
