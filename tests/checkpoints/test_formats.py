"""A file in the layout of every format, junk included, gives back the network it was made from."""

import argparse
import logging

import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import save_file
from torch import nn
from torchvision.models.resnet import BasicBlock, ResNet

from solo_rekd.checkpoints import FORMATS, load, split_state_dict
from solo_rekd.config import DistillationConfig
from solo_rekd.teachers import build_teacher
from solo_rekd.utils.errors import UserError

WIDE = 64  # features of the tiny ResNet-18


class TinyResNet18(ResNet):
    """ResNet-18's names at an eighth of its widths, with solo-learn's CIFAR stem: small files."""

    def __init__(self):
        super().__init__(BasicBlock, [2, 2, 2, 2])
        self.conv1 = nn.Conv2d(3, 8, 3, padding=2, bias=False)
        self.bn1 = nn.BatchNorm2d(8)
        self.maxpool, self.fc, self.num_features = nn.Identity(), nn.Identity(), WIDE

    def _make_layer(self, block, planes, *args, **kwargs):
        if planes == 64:
            self.inplanes = 8
        return super()._make_layer(block, planes // 8, *args, **kwargs)


@pytest.fixture
def source(monkeypatch, shake):
    """The network whose weights the checkpoints hold; others of it start from other weights."""
    monkeypatch.setattr(load, "build_backbone", lambda *args: TinyResNet18())
    torch.manual_seed(0)
    return shake(TinyResNet18(), seed=1)


def under(prefix, state):
    return {prefix + key: value for key, value in state.items()}


def other(state):
    """The same keys with other values: a momentum twin, which must not be taken."""
    return {key: torch.ones((), dtype=v.dtype).expand(v.shape) for key, v in state.items()}


def linear():
    return nn.Linear(WIDE, 16)


def mlp():
    return nn.Sequential(nn.Linear(WIDE, 32), nn.ReLU(), nn.Linear(32, 16))


def mlp_bn():
    return nn.Sequential(
        nn.Linear(WIDE, 32), nn.BatchNorm1d(32), nn.ReLU(), nn.Linear(32, 16)
    )  # SwAV


def mlp_bn_out():
    return nn.Sequential(
        nn.Linear(WIDE, 32, bias=False),
        nn.BatchNorm1d(32),
        nn.ReLU(),
        nn.Linear(32, 16, bias=False),
        nn.BatchNorm1d(16, affine=False),
    )  # MoCo v3


def mlp3_bn():
    return nn.Sequential(
        nn.Linear(WIDE, 32, bias=False),
        nn.BatchNorm1d(32),
        nn.ReLU(),
        nn.Linear(32, 24, bias=False),
        nn.BatchNorm1d(24),
        nn.ReLU(),
        nn.Linear(24, 16),
        nn.BatchNorm1d(16, affine=False),
    )  # SimSiam; Barlow Twins but for the last


def dino_mlp():
    return nn.Sequential(
        nn.Linear(WIDE, 32), nn.GELU(), nn.Linear(32, 32), nn.GELU(), nn.Linear(32, 16)
    )


def run(state, **extra):
    return {"epoch": 7, "arch": "resnet18", "state_dict": state, "optimizer": OPTIMIZER} | extra


OPTIMIZER = {"state": {0: {"momentum_buffer": torch.ones(3)}}, "param_groups": [{"lr": 0.03}]}
PREDICTOR = nn.Sequential(nn.Linear(16, 8), nn.ReLU(), nn.Linear(8, 16)).state_dict()
LIGHTNING = {"pytorch-lightning_version": "1.9.5", "global_step": 3, "lr_schedulers": []}


def moco(net, head):
    query = net | under("fc.", head)
    queue = {"module.queue": torch.ones(16, 8), "module.queue_ptr": torch.zeros(1)}
    state = under("module.encoder_q.", query) | under("module.encoder_k.", other(query)) | queue
    return run(state)


def moco_v3(net, head):
    query = net | under("fc.", head)
    twins = under("module.momentum_encoder.", other(query)) | under("module.predictor.", PREDICTOR)
    return run(twins | under("module.base_encoder.", query))


def moco_v3_vit(net, head):
    state = under("module.momentum_encoder.", other(net)) | under("module.base_encoder.head.", head)
    return run(state | under("module.base_encoder.", net))


def simsiam(net, head):
    encoder = under("module.encoder.", net | under("fc.", head))
    return run(encoder | under("module.predictor.", PREDICTOR))


def swav(net, head):
    state = under("module.", net) | under("module.projection_head.", head)
    return state | {"module.prototypes.weight": torch.ones(30, 16)}


def swav_run(net, head):
    return run(swav(net, head))


def dino_half(net, head, prefix):
    last = {"last_layer.weight_g": torch.ones(50, 1), "last_layer.weight_v": torch.ones(50, 16)}
    return under(prefix + "backbone.", net) | under(prefix + "head.", under("mlp.", head) | last)


def dino(net, head):
    arguments = argparse.Namespace(arch="resnet18", out_dim=50, lr=0.1)
    student = dino_half(other(net), other(head), "module.")
    teacher = dino_half(net, head, "")
    return {"student": student, "teacher": teacher, "args": arguments, "epoch": 2}


def dino_ddp(net, head):
    return dino(net, head) | {"teacher": dino_half(net, head, "module.")}


def dino_student(net, head):
    return {"student": dino_half(net, head, "module."), "epoch": 2}


def dino_v2(net, head):
    last = {"dino_head.last_layer.weight_v": torch.ones(50, 16), "ibot_head.mlp.0.bias": OPTIMIZER}
    return {"teacher": under("backbone.", net) | under("dino_head.mlp.", head) | last}


def dino_flat(net, head):
    return dino_half(net, head, "")


def dino_flat_ddp(net, head):
    return dino_half(net, head, "module.")


def barlow(net, head):
    state = under("module.backbone.", net) | under("module.projector.", head)
    return {"epoch": 1, "model": state | {"module.bn.running_mean": torch.ones(16)}}


def barlow_flat(net, head):
    return barlow(net, head)["model"]


def solo(name):
    def build(net, head):
        state = under(f"momentum_{name}.", other(net)) | under("momentum_projector.", other(head))
        state |= under(f"{name}.", net) | under("projector.", head)
        state |= {"classifier.weight": torch.ones(10, WIDE), "classifier.bias": torch.ones(10)}
        objective = under("objective.teacher.backbone.", other(net))
        return LIGHTNING | {"state_dict": state | objective | {"queue": torch.ones(2, 16, 8)}}

    return build


def ours(name):
    """A student of this project's, as the teacher of the next."""

    def build(net, head):
        objective = under("projector.", head) | under("momentum_projector.", other(head))
        objective |= under("teacher.backbone.", other(net)) | {"bank.steps": torch.tensor([3])}
        state = under(f"{name}.", net) | under("objective.", objective)
        state |= {"classifier.weight": torch.ones(10, WIDE), "classifier.bias": torch.ones(10)}
        return LIGHTNING | {"state_dict": under(f"momentum_{name}.", other(net)) | state}

    return build


def solo_dino(net, head):
    state = dino_half(net, head, "") | under("momentum_head.mlp.", other(head))
    return LIGHTNING | {"state_dict": state | {"classifier.weight": torch.ones(10, WIDE)}}


def solo_linear(net, head):
    return LIGHTNING | {"state_dict": under("backbone.", net) | {"classifier.bias": torch.ones(9)}}


def flat(net, head):
    return net | {"fc.weight": torch.ones(1000, WIDE), "fc.bias": torch.ones(1000)}


def flat_bare(net, head):
    return dict(net)


def flat_run(net, head):
    return run(under("module.", flat(net, head)), args=argparse.Namespace(lr=0.1))


def flat_model(net, head):
    return {"model": flat(net, head)}


def timm_ema(net, head):
    return run(flat(other(net), head), state_dict_ema=flat(net, head), version=2)


def timm_ema_ddp(net, head):
    return run(flat(other(net), head), state_dict_ema=under("module.", flat(net, head)))


MOCO, DINO, BARLOW = "MoCo v1/v2, DisCo", "DINO, DINOv2", "Barlow Twins, VICReg"
CLASSIC, CURRENT, PLAIN = "solo-learn to 1.0.2", "solo-learn current", "torchvision, timm"
CASES = {
    "moco_v1": (MOCO, moco, linear),
    "moco_v2": (MOCO, moco, mlp),
    "moco_v3": ("MoCo v3", moco_v3, mlp_bn_out),
    "moco_v3_vit": ("MoCo v3", moco_v3_vit, mlp3_bn),
    "simsiam": ("SimSiam", simsiam, mlp3_bn),
    "swav": ("SwAV", swav, mlp_bn),
    "swav_run": ("SwAV", swav_run, mlp_bn),
    "dino": (DINO, dino, dino_mlp),
    "dino_ddp": (DINO, dino_ddp, dino_mlp),
    "dino_student": (DINO, dino_student, dino_mlp),
    "dino_v2": (DINO, dino_v2, dino_mlp),
    "dino_flat": (DINO, dino_flat, dino_mlp),
    "dino_flat_ddp": (DINO, dino_flat_ddp, dino_mlp),
    "dino_bare_teacher": (DINO, lambda net, _: {"teacher": dict(net)}, None),
    "barlow": (BARLOW, barlow, mlp3_bn),
    "barlow_flat": (BARLOW, barlow_flat, mlp3_bn),
    "solo_classic": (CLASSIC, solo("encoder"), mlp),
    "solo_current": (CURRENT, solo("backbone"), mlp),
    "ours_classic": (CLASSIC, ours("encoder"), mlp),
    "ours_current": (CURRENT, ours("backbone"), mlp),
    "solo_dino": (CURRENT, solo_dino, dino_mlp),
    "solo_linear": (CURRENT, solo_linear, None),
    "torchvision": (PLAIN, flat, None),
    "vicreg_resnet50": (PLAIN, flat_bare, None),
    "under_module": (PLAIN, flat_run, None),
    "under_model": (PLAIN, flat_model, None),
    "timm_ema": (PLAIN, timm_ema, None),
    "timm_ema_ddp": (PLAIN, timm_ema_ddp, None),
}


def test_every_format_has_a_case():
    assert {name for name, _, _ in CASES.values()} == {entry.name for entry in FORMATS}


@pytest.mark.parametrize("case", CASES)
def test_gives_back_backbone_and_embedding(case, source, images, tmp_path, caplog):
    name, build, make_head = CASES[case]
    torch.manual_seed(3)
    head = make_head() if make_head else None
    if head is not None:
        for statistic in (b for n, b in head.named_buffers() if n.endswith("running_var")):
            statistic.uniform_(0.5, 2)
        head.eval()
    raw = build(source.state_dict(), head.state_dict() if head is not None else {})
    torch.save(raw, path := tmp_path / "teacher.pth")
    config = DistillationConfig(
        teacher="resnet18", teacher_mode="frozen", teacher_checkpoint=str(path)
    )
    with caplog.at_level(logging.INFO, "solo_rekd"):
        teacher = build_teacher(config, img_size=32)
    with torch.no_grad():
        features = source(images)
        embedding = F.normalize(head(features) if head is not None else features, dim=-1)
    torch.testing.assert_close(teacher(images)[0], features)
    torch.testing.assert_close(teacher(images)[1], embedding)
    assert teacher.embedding_dim == embedding.shape[1] and teacher.num_features == WIDE
    line = next(message for message in caplog.messages if message.startswith("teacher resnet18"))
    assert name in line and "120 tensors matched" in line
    assert ("projector 64 to 16" if head is not None else "no projector") in line
    assert teacher.identity["sha256"][:12] in line


@pytest.mark.parametrize("case", ["moco_v2", "solo_classic", "barlow", "swav_run", "dino"])
def test_a_state_dict_re_saved_as_safetensors(case, source, images, tmp_path):
    _, build, make_head = CASES[case]
    head = make_head().eval()
    raw = build(source.state_dict(), head.state_dict())
    state = next(raw[key] for key in ("state_dict", "model", "teacher") if key in raw)
    save_file(
        {key: value.clone() for key, value in state.items()}, path := tmp_path / "t.safetensors"
    )
    config = DistillationConfig(
        teacher="resnet18", teacher_mode="frozen", teacher_checkpoint=str(path)
    )
    with torch.no_grad():
        embedding = F.normalize(head(source(images)), dim=-1)
    torch.testing.assert_close(build_teacher(config, 32)(images)[1], embedding)


T = torch.ones(2, 2)
AMBIGUOUS = {
    "module. is SwAV's only with its head": (
        {"module.conv1.weight": T, "module.projection_head.weight": T},
        "SwAV",
    ),
    "module. alone is a wrapped network": (
        {"module.conv1.weight": T, "module.fc.weight": T},
        PLAIN,
    ),
    "a wrapped torchvision ViT is not SimSiam": (
        {"module.conv_proj.weight": T, "module.encoder.layers.0.weight": T},
        PLAIN,
    ),
    "nor is a bare one solo-learn's": (
        {"state_dict": {"conv_proj.weight": T, "encoder.ln.weight": T, "heads.head.weight": T}},
        PLAIN,
    ),
    "solo-learn's SwAV has prototypes too": (
        {
            "state_dict": {
                "encoder.conv1.weight": T,
                "projector.0.weight": T,
                "prototypes.weight_v": T,
            }
        },
        CLASSIC,
    ),
    "module.backbone. with a DINO head": (
        {"module.backbone.conv1.weight": T, "module.head.mlp.0.weight": T},
        DINO,
    ),
    "module.backbone. with a projector": (
        {"module.backbone.conv1.weight": T, "module.projector.0.weight": T},
        BARLOW,
    ),
}


@pytest.mark.parametrize("why", AMBIGUOUS)
def test_ambiguous_keys(why):
    raw, expected = AMBIGUOUS[why]
    assert split_state_dict(raw).format == expected


def test_momentum_encoder_and_objective_are_not_the_encoder():
    raw = solo("encoder")({"conv1.weight": torch.zeros(1)}, {"0.weight": torch.zeros(1)})
    split = split_state_dict(raw)
    assert list(split.backbone) == ["conv1.weight"] and split.backbone["conv1.weight"] == 0
    assert list(split.head) == ["0.weight"] and split.head["0.weight"] == 0


def test_the_classifier_of_a_plain_network_is_no_projector():
    split = split_state_dict({"conv1.weight": T, "fc.weight": T, "head.bias": T, "heads.x": T})
    assert list(split.backbone) == ["conv1.weight"] and split.head == {}


@pytest.mark.parametrize(
    ("raw", "words"),
    [
        ({"encoder_q.conv1.weight": T, "encoder_q.fc.weight": T}, ["encoder_q.conv1", "MoCo v1"]),
        ({"state_dict": {"model.base_encoder.bn1.bias": T}}, ["1 tensors", "MoCo v3"]),
        ({"net.0.weight": T, "trunk.blocks.weight": T}, ["net.0.weight", "re-save"]),
        ({"epoch": 3, "weights": [T]}, ["no state dict", "epoch, weights"]),
        ({}, ["nothing"]),
    ],
)
def test_unrecognised_names_keys_and_what_to_do(raw, words):
    with pytest.raises(UserError) as caught:
        split_state_dict(raw)
    message = str(caught.value)
    assert "\n" not in message
    assert all(word in message for word in words), message


def test_no_format_is_named_that_shares_no_word_with_a_file():
    with pytest.raises(UserError) as caught:
        split_state_dict({"encoderr.weight": T, "module_q.x": T, "learner.weight": T})
    assert not any(entry.name in str(caught.value) for entry in FORMATS)
