"""Networks whose source builds otherwise than timm: the features are the source's own."""

import json

import pytest
import timm
import torch
import torchvision
from torch import nn
from torch.nn.functional import interpolate

from solo_rekd.checkpoints.load import load_networks
from solo_rekd.checkpoints.split import SplitCheckpoint
from solo_rekd.checkpoints.student import build_student, load_student
from solo_rekd.checkpoints.variants import variant_of
from solo_rekd.utils.errors import UserError

W = torch.ones(8, 384)
KNOWS_DINOV3 = pytest.mark.skipif(
    not timm.is_model("vit_small_patch16_dinov3"), reason="this timm is from before DINOv3"
)
SMALL = dict(img_size=64, patch_size=16, depth=2, num_classes=0)
NAME = "timm:vit_small_patch16_224"


@pytest.fixture
def two_blocks(monkeypatch):
    """timm's models with two blocks in place of twelve, so that files and runs stay small."""
    create = timm.create_model

    def create_small(name, **kwargs):
        return create(name, **({"depth": 2} | kwargs))

    monkeypatch.setattr(timm, "create_model", create_small)


@pytest.fixture(scope="module")
def views():
    return torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(5))


def vit(shake, **options):
    torch.manual_seed(0)
    return shake(timm.models.VisionTransformer(**({"embed_dim": 384} | SMALL | options)), seed=2)


def save(state, path):
    torch.save(state, path)
    return path


def check(loaded, net, views):
    with torch.no_grad():
        torch.testing.assert_close(loaded.backbone.eval()(views), net(views), rtol=1e-5, atol=1e-5)


def test_moco_v3_s_small_vit_has_twelve_heads(two_blocks, shake, views, tmp_path):
    net = vit(shake, num_heads=12)
    state = {f"module.base_encoder.{key}": value for key, value in net.state_dict().items()}
    loaded = load_networks(save({"state_dict": state}, tmp_path / "t.pth"), NAME, 64)
    check(loaded, net, views)


@pytest.mark.parametrize(
    ("method", "heads", "warns"), [("mocov3", 12, False), ("byol", 6, False), (None, 6, True)]
)
def test_solo_learn_s_method_decides_the_heads(
    method, heads, warns, two_blocks, shake, views, tmp_path, caplog
):
    net = vit(shake, num_heads=heads)
    state = {f"backbone.{key}": value for key, value in net.state_dict().items()}
    state |= {"classifier.weight": torch.ones(10, 384), "projector.0.weight": torch.ones(8, 384)}
    if method is not None:
        (tmp_path / "args.json").write_text(json.dumps({"method": method}))
    loaded = load_networks(save({"state_dict": state}, tmp_path / "t.ckpt"), NAME, 64)
    check(loaded, net, views)
    assert ("args.json" in caplog.text) == warns


def test_hyper_parameters_tell_the_method_too(two_blocks, shake, views, tmp_path):
    net = vit(shake, num_heads=12)
    state = {f"backbone.{key}": value for key, value in net.state_dict().items()}
    state |= {"classifier.weight": torch.ones(10, 384), "projector.0.weight": torch.ones(8, 384)}
    raw = {"state_dict": state, "hyper_parameters": {"method": "mocov3"}}
    check(load_networks(save(raw, tmp_path / "t.ckpt"), NAME, 64), net, views)


def test_i_jepa_has_no_class_token_and_averages_its_patches(two_blocks, shake, views, tmp_path):
    net = vit(shake, num_heads=6, class_token=False, global_pool="avg", fc_norm=False)
    state = {f"module.{key}": value for key, value in net.state_dict().items()}
    other = {key: torch.ones(()).expand(value.shape) for key, value in state.items()}
    raw = {"encoder": other, "predictor": {}, "target_encoder": state, "epoch": 300}
    loaded = load_networks(save(raw, tmp_path / "t.pth.tar"), NAME, 64)
    check(loaded, net, views)
    assert "mean of the patches" in loaded.facts.pooling


def moco_v3_file(shake, path):
    net = vit(shake, num_heads=12)
    state = {f"module.base_encoder.{key}": value for key, value in net.state_dict().items()}
    return net, save({"state_dict": state}, path)


def test_an_evaluation_builds_the_variant_too(two_blocks, shake, views, tmp_path):
    net, path = moco_v3_file(shake, tmp_path / "t.pth")
    with torch.no_grad():
        found = build_student(path, NAME, 64).eval()(views)
        torch.testing.assert_close(found, net(views), rtol=1e-5, atol=1e-5)


def test_a_network_that_somebody_else_built_otherwise_is_refused(two_blocks, shake, tmp_path):
    _, path = moco_v3_file(shake, tmp_path / "t.pth")
    six, twelve = vit(shake, num_heads=6), vit(shake, num_heads=12)
    with pytest.raises(UserError, match=r"num_heads=12, but vit_small .* with num_heads=6"):
        load_student(path, "vit_small", six)
    load_student(path, "vit_small", twelve)


@KNOWS_DINOV3
def test_so_is_one_of_another_pooling(two_blocks, tmp_path):
    with pytest.raises(UserError, match="global_pool='token'"):
        net = timm.create_model(DINOV3.removeprefix("timm:"), num_classes=0, img_size=64)
        load_student(save(official_dinov3(net), tmp_path / "d.pth"), DINOV3, net)


DINOV2 = "timm:vit_small_patch14_dinov2"


@pytest.mark.parametrize("side", [70, 112])
def test_dinov2_in_chunks_of_blocks_at_its_own_size_and_another(side, two_blocks, shake, tmp_path):
    options = dict(num_heads=6, init_values=1.0, patch_size=14)
    held = vit(shake, img_size=70, **options)
    net = vit(shake, img_size=side, **options)
    state = held.state_dict()
    net.load_state_dict(state | {"pos_embed": resized_as_dino(state["pos_embed"], side // 14)})
    chunks = {"blocks.0.": "blocks.0.0.", "blocks.1.": "blocks.1.1."}
    state = {
        next(
            (new + key.removeprefix(old) for old, new in chunks.items() if key.startswith(old)), key
        ): v
        for key, v in state.items()
    } | {"mask_token": torch.zeros(1, 384)}
    raw = {"teacher": {f"backbone.{key}": value for key, value in state.items()}}
    loaded = load_networks(save(raw, tmp_path / "t.pth"), DINOV2, side)
    check(loaded, net, torch.randn(2, 3, side, side))


def resized_as_dino(positions, side):
    """The rule of DINO's code, from its formula: bicubic by (side + 0.1) / old side."""
    old = int((positions.shape[1] - 1) ** 0.5)
    if old == side:
        return positions
    maps = positions[:, 1:].reshape(1, old, old, -1).permute(0, 3, 1, 2)
    maps = interpolate(maps, scale_factor=(side + 0.1) / old, mode="bicubic")
    return torch.cat([positions[:, :1], maps.permute(0, 2, 3, 1).flatten(1, 2)], dim=1)


@pytest.mark.parametrize("side", [32, 96, 160])
def test_dino_resizes_positions_as_its_code_does(side, two_blocks, shake, tmp_path):
    held, net = vit(shake, num_heads=6), vit(shake, num_heads=6, img_size=side)
    state = held.state_dict()
    raw = {"teacher": {f"backbone.{key}": value for key, value in state.items()}, "student": {}}
    net.load_state_dict(state | {"pos_embed": resized_as_dino(state["pos_embed"], side // 16)})
    loaded = load_networks(save(raw, tmp_path / "t.pth"), NAME, side)
    check(loaded, net, torch.randn(2, 3, side, side))
    assert loaded.facts.resized == ("pos_embed",) and "resized pos_embed" in loaded.facts.line()


DINOV3 = "timm:vit_small_patch16_dinov3"


def official_dinov3(net):
    """The tensors of timm's network under the names of DINOv3's own code."""
    state = {}
    for key, value in net.state_dict().items():
        if key.endswith("q_bias"):
            name = key.replace("q_bias", "v_bias")
            bias = torch.cat([value, torch.zeros_like(value), net.state_dict()[name]])
            state[key.replace("q_bias", "qkv.bias")] = bias
            state[key.replace("q_bias", "qkv.bias_mask")] = torch.ones_like(bias)
        elif not key.endswith(("v_bias", "k_bias")):
            key = key.replace("gamma_", "ls")
            key = key + ".gamma" if ".ls" in key else key
            state[key.replace("reg_token", "storage_tokens")] = value
    return state | {"mask_token": torch.zeros(1, 384), "rope_embed.periods": torch.ones(16)}


@KNOWS_DINOV3
@pytest.mark.parametrize("biased", [True, False])
def test_dinov3_gives_its_class_token_and_keeps_its_biases(
    biased, two_blocks, shake, views, tmp_path
):
    name = "vit_small_patch16_dinov3" + ("_qkvb" if biased else "")
    net = shake(timm.create_model(name, num_classes=0, global_pool="token", img_size=64), seed=2)
    loaded = load_networks(save(official_dinov3(net), tmp_path / "t.pth"), DINOV3, 64)
    check(loaded, net, views)
    assert loaded.facts.architecture == f"timm:{name}" and "class token" in loaded.facts.pooling


MM_VIT = (
    ("blocks.", "layers."),
    (".norm1.", ".ln1."),
    (".norm2.", ".ln2."),
    (".mlp.fc1.", ".ffn.layers.0.0."),
    (".mlp.fc2.", ".ffn.layers.1."),
    ("patch_embed.proj.", "patch_embed.projection."),
)


@pytest.mark.parametrize(("own", "heads"), [("head.fc.weight", 6), ("neck.fc0.weight", 12)])
def test_openmmlab_s_vit(own, heads, two_blocks, shake, views, tmp_path):
    net = vit(shake, num_heads=heads)
    state = {}
    for key, value in net.state_dict().items():
        for ours, theirs in MM_VIT:
            key = key.replace(ours, theirs)
        state["backbone." + ("ln1" + key[4:] if key.startswith("norm.") else key)] = value
    if heads == 12:  # MoCo v3
        twin = {
            key.replace("backbone.", "momentum_encoder.module.0."): v for key, v in state.items()
        }
        state |= {key: torch.ones_like(value) for key, value in twin.items()}
    raw = {"meta": {}, "state_dict": state | {own: torch.ones(10, 384)}}
    check(load_networks(save(raw, tmp_path / "t.pth"), NAME, 64), net, views)


@pytest.mark.parametrize("prefix", ["", "module.", "model."])
def test_torchvision_s_vit(prefix, two_blocks, shake, views, tmp_path):
    torch.manual_seed(0)
    sizes = dict(image_size=64, patch_size=16, num_layers=2, num_heads=6)
    net = torchvision.models.VisionTransformer(**sizes, hidden_dim=384, mlp_dim=1536)
    net = shake(net, seed=2)
    state = {prefix + key: value for key, value in net.state_dict().items()}
    loaded = load_networks(save({"model": state}, tmp_path / "t.pth"), NAME, 64)
    net.heads = nn.Identity()
    check(loaded, net, views)


def test_lightly_s_masked_vit_has_a_wrapper_of_its_own(two_blocks, shake, views, tmp_path):
    net = vit(shake, num_heads=6)
    state = {f"backbone.vit.{key}": value for key, value in net.state_dict().items()}
    state |= {"backbone.mask_token": torch.ones(1, 1, 384), "projection_head.layers.0.weight": W}
    check(load_networks(save({"state_dict": state}, tmp_path / "t.ckpt"), NAME, 64), net, views)


def test_mae_s_decoder_is_left_out(two_blocks, shake, views, tmp_path, caplog):
    net = vit(shake, num_heads=6)
    decoder = {f"decoder_{key}": value.clone() for key, value in net.state_dict().items()}
    raw = {"model": net.state_dict() | decoder | {"mask_token": torch.ones(1, 1, 384)}}
    loaded = load_networks(save(raw, tmp_path / "t.pth"), NAME, 64)
    check(loaded, net, views)
    assert len(loaded.facts.left_out) == len(decoder) + 1 and not caplog.text
    assert loaded.facts.preprocessing.mean == (0.485, 0.456, 0.406)


def test_student_and_teacher_side_by_side_are_not_chosen_between(two_blocks, shake, tmp_path):
    state = {}
    for seed, role in enumerate(("student", "teacher")):
        own = vit(shake, num_heads=6).state_dict()
        state |= {f"{role}.net.{key}": value + seed for key, value in own.items()}
    with pytest.raises(UserError, match=r"several networks, student\.net\., teacher\.net\."):
        load_networks(save({"state_dict": state}, tmp_path / "t.ckpt"), NAME, 64)


@pytest.mark.parametrize("alike", [True, False])
def test_two_unknown_containers_are_not_chosen_between(alike, two_blocks, shake, views, tmp_path):
    net = vit(shake, num_heads=6)
    state = {f"net.{key}": value for key, value in net.state_dict().items()}
    other = state if alike else {key: value + 1 for key, value in state.items()}
    path = save({"A": state, "B": other}, tmp_path / "t.pth")
    if alike:
        check(load_networks(path, NAME, 64), net, views)
    else:
        with pytest.raises(UserError, match="several networks, A, B"):
            load_networks(path, NAME, 64)


def test_of_a_network_and_its_average_the_network_is_taken(two_blocks, shake, views, tmp_path):
    net = vit(shake, num_heads=6)
    state = {f"model.{key}": value for key, value in net.state_dict().items()}
    state |= {f"ema_model.{key}": value + 1 for key, value in net.state_dict().items()}
    check(load_networks(save({"state_dict": state}, tmp_path / "t.ckpt"), NAME, 64), net, views)


@pytest.mark.parametrize("where", ["config", "arch"])
def test_a_named_architecture_is_compared(where, shake, tmp_path):
    net = timm.create_model("tf_efficientnet_b0", num_classes=0)
    raw = {"state_dict": net.state_dict()} | (
        {"arch": "tf_efficientnet_b0"} if where == "arch" else {}
    )
    path = save(raw, tmp_path / "t.pth")
    if where == "config":
        (tmp_path / "config.json").write_text(json.dumps({"architecture": "tf_efficientnet_b0"}))
    with pytest.raises(UserError, match="give timm:tf_efficientnet_b0") as caught:
        load_networks(path, "timm:efficientnet_b0", 64)
    assert "\n" not in str(caught.value)
    facts = load_networks(path, "timm:tf_efficientnet_b0", 64).facts
    assert facts.matched == len(net.state_dict()) and not facts.doubts


@pytest.mark.parametrize("name", ["efficientnet_b0", "tf_efficientnet_b0"])
def test_where_nothing_names_the_padding_a_warning_does(name, tmp_path, caplog):
    net = timm.create_model("tf_efficientnet_b0", num_classes=0)
    load_networks(save(net.state_dict(), tmp_path / "t.pth"), f"timm:{name}", 64)
    assert "pads differently" in caplog.text


def test_timm_s_config_tells_how_the_model_was_built(two_blocks, shake, views, tmp_path):
    net = vit(shake, num_heads=12, global_pool="avg", fc_norm=False)
    told = {"architecture": "vit_small_patch16_224", "global_pool": "avg", "num_classes": 0}
    told["model_args"] = {"num_heads": 12, "fc_norm": False, "img_size": 64}
    (tmp_path / "config.json").write_text(json.dumps(told))
    check(load_networks(save(net.state_dict(), tmp_path / "t.pth"), NAME, 64), net, views)


@pytest.mark.parametrize(
    ("args", "words"),
    [
        ({"checkpoint_path": "CANARY"}, None),  # which timm would open
        ({"act_layer": "nothing", "pretrained": True, "depth": 99}, None),
        ({"num_heads": 0}, "num_heads=0"),
        ({"num_heads": "12"}, "num_heads='12'"),
        ({"num_heads": 7}, "cannot take"),
        ({"global_pool": ["token"]}, "global_pool="),
        ([1, 2], None),
    ],
)
def test_of_a_config_nothing_but_a_few_numbers_and_words_reaches_timm(
    args, words, two_blocks, shake, views, tmp_path
):
    net = vit(shake, num_heads=6)
    told = {"architecture": "vit_small_patch16_224", "model_args": args}
    (tmp_path / "config.json").write_text(json.dumps(told))
    path = save(net.state_dict(), tmp_path / "t.pth")
    if words is None:
        check(load_networks(path, NAME, 64), net, views)
        return
    with pytest.raises(UserError, match=words) as caught:
        load_networks(path, NAME, 64)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("told", [{"hidden_act": "quick_gelu"}, {"downsample_in_bottleneck": True}])
def test_a_network_that_only_transformers_builds_is_refused(told, tmp_path):
    state = {"embedder.embedder.convolution.weight": torch.ones(64, 3, 7, 7)}
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "resnet", **told}))
    with pytest.raises(UserError, match="give the folder to --teacher huggingface"):
        load_networks(save(state, tmp_path / "t.pth"), "resnet50", 64)


@pytest.mark.parametrize("place", [3, 4])
def test_a_sequence_without_pooling_is_not_taken_for_one_with(place, shake, images, tmp_path):
    net = shake(torchvision.models.resnet18(num_classes=0), seed=2)
    parts = [net.conv1, net.bn1, net.relu, net.maxpool, *list(net.children())[4:8]]
    sequence = nn.Sequential(*(part for i, part in enumerate(parts) if place == 4 or i != 3))
    path = save({f"net.{k}": v for k, v in sequence.state_dict().items()}, tmp_path / "t.pth")
    if place == 3:
        with pytest.raises(UserError, match="does not fit resnet18"):
            load_networks(path, "resnet18", 32)
    else:
        found = load_networks(path, "resnet18", 32).backbone.eval()(images)
        torch.testing.assert_close(found, sequence.eval()(images).mean((2, 3)))


def test_a_distilled_deit_of_hugging_face_is_warned_of():
    state = {"patch_embed.proj.weight": torch.ones(192, 3, 16, 16), "dist_token": torch.ones(1)}
    name = "timm:deit_tiny_distilled_patch16_224"
    told = variant_of(name, SplitCheckpoint("Hugging Face transformers", state)).doubt
    assert "distillation token" in told and "--teacher huggingface" in told
    assert not variant_of(name, SplitCheckpoint("torchvision, timm", state)).doubt


def test_eps_of_hugging_face_s_layer_norm():
    state = {"patch_embed.proj.weight": torch.ones(384, 3, 16, 16), "cls_token": torch.ones(1)}
    variant = variant_of(NAME, SplitCheckpoint("Hugging Face transformers", state))
    assert variant.options["norm_layer"](4).eps == 1e-12 and variant.positions == "size"
    assert isinstance(variant.options["norm_layer"](4), nn.LayerNorm)
