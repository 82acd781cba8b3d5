"""A file in the layout of every format, junk included, gives back the network it was made from."""

import argparse
import logging

import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import save_file
from torch import nn
from torchvision.models.resnet import BasicBlock, ResNet

from solo_rekd.checkpoints import load, split_state_dict
from solo_rekd.checkpoints.formats import ALL_FORMATS
from solo_rekd.config import DistillationConfig
from solo_rekd.teachers import build_teacher
from solo_rekd.utils.errors import UserError

WIDE = 64  # features of the tiny ResNet-18


class TinyResNet18(ResNet):
    """ResNet-18's names at an eighth of its widths: small files."""

    def __init__(self, stem="imagenet"):
        super().__init__(BasicBlock, [2, 2, 2, 2])
        if stem == "imagenet":
            self.conv1 = nn.Conv2d(3, 8, 7, stride=2, padding=3, bias=False)
        else:
            self.conv1 = nn.Conv2d(3, 8, 3, padding={"small": 2, "3x3": 1}[stem], bias=False)
            self.maxpool = nn.Identity()
        self.bn1 = nn.BatchNorm2d(8)
        self.fc, self.num_features = nn.Identity(), WIDE

    def _make_layer(self, block, planes, *args, **kwargs):
        if planes == 64:
            self.inplanes = 8
        return super()._make_layer(block, planes // 8, *args, **kwargs)


@pytest.fixture
def make_source(monkeypatch, shake):
    """Makes the network whose weights the checkpoints hold; others start from other weights."""
    monkeypatch.setattr(load, "build_backbone", lambda _name, _side, stem, *_: TinyResNet18(stem))
    torch.manual_seed(0)
    return lambda stem: shake(TinyResNet18(stem), seed=1)


@pytest.fixture
def source(make_source):
    return make_source("imagenet")


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


def moco_sequence(net, head):
    """MoCo with a module of one's own around an `nn.Sequential`."""
    return run(under("encoder_q.net.", in_sequence(net)) | under("encoder_k.net.", other(net)))


def disco(net, head):
    """A student whose classifier is replaced by the projector, beside its teacher."""
    state = under("module.encoder_q.", net | under("classifier.", head))
    return run(state | under("module.teacher_encoder_q.", other(net)))


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


def in_sequence(net):
    """The names in `nn.Sequential(*list(resnet.children())[:-1])`."""
    places = {"conv1": "0", "bn1": "1"} | {f"layer{i}": str(i + 3) for i in (1, 2, 3, 4)}
    return {
        f"{places[key.partition('.')[0]]}.{key.partition('.')[2]}": value
        for key, value in net.items()
    }


def lightly(net, head):
    head = under("projection_head.layers.", head)
    momentum = under("projection_head_momentum.layers.", other(head))
    state = under("backbone.", net) | under("backbone_momentum.", other(net)) | head | momentum
    return LIGHTNING | {"state_dict": state}


def lightly_tutorial(net, head):
    return lightly(in_sequence(net), head)


def lightly_swav(net, head):
    raw = lightly(in_sequence(net), head)
    raw["state_dict"]["prototypes.heads.0.weight"] = torch.ones(30, 16)
    return raw


def lightly_dino(net, head):
    last = {"last_layer.weight_g": torch.ones(9, 1), "last_layer.weight_v": torch.ones(9, 16)}
    student = under("student_backbone.", other(net))
    student |= under("student_head.", under("layers.", other(head)) | last)
    teacher = under("teacher_backbone.", net)
    teacher |= under("teacher_head.", under("layers.", head) | last)
    return LIGHTNING | {"state_dict": student | teacher}


def own_projection_head(net, head):
    return LIGHTNING | {"state_dict": under("backbone.", net) | under("projection_head.", head)}


def as_neck(head):
    """OpenMMLab's NonLinearNeck: fc0, bn0, then a ReLU before fc1 and so on."""
    names, number = {}, -1
    for key in head:
        place = key.partition(".")[0]
        if place not in names:
            number += head[f"{place}.weight"].ndim == 2 if f"{place}.weight" in head else 0
            kind = "bn" if f"{place}.running_mean" in head else "fc"
            names[place] = f"{kind}{number}"
    return {f"{names[k.partition('.')[0]]}.{k.partition('.')[2]}": v for k, v in head.items()}


def openmmlab(net, head):
    state = under("backbone.", net) | under("neck.", as_neck(head))
    state |= under("head.predictor.", as_neck(PREDICTOR))
    return {"meta": {"epoch": 3}, "state_dict": state, "message_hub": {}}


def openmmlab_moco(net, head):
    state = under("backbone.", net) | under("neck.mlp.", head)
    state |= under("encoder_k.module.0.", other(net)) | under(
        "encoder_k.module.1.mlp.", other(head)
    )
    return {"meta": {}, "state_dict": state | {"queue": torch.ones(16, 8)}}


def openmmlab_byol(net, head):
    state = under("online_net.0.", net) | under("online_net.1.", as_neck(head))
    state |= under("target_net.0.", other(net)) | under("target_net.1.", other(as_neck(head)))
    return {"meta": {}, "state_dict": state}


def as_shortcut(net):
    return {key.replace(".downsample.", ".shortcut."): value for key, value in net.items()}


def supcontrast(net, head):
    state = under("encoder.module.", as_shortcut(net)) | under("head.", head)
    options = argparse.Namespace(temp=0.07, model="resnet18")
    return {"opt": options, "model": state, "optimizer": OPTIMIZER, "epoch": 3}


def sthalles_simclr(net, head):
    state = under("backbone.", net | under("fc.", head))
    return {"epoch": 200, "arch": "resnet18", "state_dict": state, "optimizer": OPTIMIZER}


def sthalles_byol(net, head):
    def network(net, head):
        return under("encoder.", in_sequence(net)) | under("projetion.net.", head)

    return {
        "online_network_state_dict": network(net, head),
        "target_network_state_dict": network(other(net), other(head)),
        "optimizer_state_dict": OPTIMIZER,
    }


def lucidrains(net, head):
    state = under("net.", flat(net, head)) | under("online_encoder.net.", flat(net, head))
    state |= under("online_encoder.projector.", head) | under("target_encoder.net.", other(net))
    return state | under("target_encoder.projector.", other(head))


def seed(net, head):
    student = under("module.student.", net | under("fc.", head))
    return run(student | under("module.teacher.", other(net)) | {"module.queue": torch.ones(8, 16)})


def compress_1q(net, head):
    options = argparse.Namespace(compress_memory_size=128000, student_arch="resnet18")
    state = under("module.", net | under("fc.", head))
    return {"opt": options, "model": state, "optimizer": OPTIMIZER, "epoch": 130}


def vissl(net, head):
    first, second = (
        {key[2:]: value for key, value in head.items() if key.startswith(place)}
        for place in ("0.", "2.")
    )
    heads = under("0.clf.0.", first) | under("1.clf.0.", second)
    model = {"trunk": under("_feature_blocks.", net), "heads": heads}
    return {"classy_state_dict": {"base_model": {"model": model, "meta": {}}}, "phase_idx": 3}


HF_STEM = {"conv1": "embedder.embedder.convolution", "bn1": "embedder.embedder.normalization"}
HF_BLOCK = {"downsample.0": "shortcut.convolution", "downsample.1": "shortcut.normalization"} | {
    f"{kind}{i + 1}": f"layer.{i}.{name}"
    for i in range(3)
    for kind, name in (("conv", "convolution"), ("bn", "normalization"))
}


def hugging_face(net, head):
    state = {}
    for key, value in net.items():
        *path, last = key.split(".")
        if path[0].startswith("layer"):
            place = f"encoder.stages.{int(path[0][5:]) - 1}.layers.{path[1]}."
            state[f"{place}{HF_BLOCK['.'.join(path[2:])]}.{last}"] = value
        else:
            state[f"{HF_STEM[path[0]]}.{last}"] = value
    return under("resnet.", state) | {"classifier.1.weight": torch.ones(2, WIDE)}


def wrapped_timm(net, head):
    return under("timm_model.", flat(net, head))


def prefixed(*prefixes, container="state_dict", **beside):
    """A network of one's own in a Lightning module or a training loop, with a classifier."""

    def build(net, head):
        state = under("".join(prefixes), flat(net, head)) | {"loss.weight": torch.ones(10)} | beside
        return {container: state} if container else state

    return build


def with_classifier(net, head):
    state = under("backbone.", net)
    return state | {"head.weight": torch.ones(10, WIDE), "head.bias": torch.ones(10)}


def with_projector(net, head):
    state = under("model.encoder.", net) | under("model.projector.", head)
    return LIGHTNING | {"state_dict": state | under("model.encoder_momentum.", other(net))}


def container(name):
    return lambda net, head: {name: flat(net, head), "epoch": 3, "acc": 93.1}


def wrapped(*prefixes):
    return lambda net, head: {
        "state_dict": {"".join(prefixes) + key: value for key, value in flat(net, head).items()}
    }


def deep(build, *names):
    """The same file as `build` writes, with wrappers inside the keys, as torch puts them."""

    def write(net, head):
        raw = build(net, head)
        for name, state in raw.items():
            if name in ("state_dict", "model") and isinstance(state, dict):
                raw[name] = {
                    key.replace("layer1.", "".join(names) + "layer1."): value
                    for key, value in state.items()
                }
        return raw

    return write


def without_module(build):
    """The same run without DDP: no key begins with `module.`."""

    def write(net, head):
        raw = build(net, head)
        for name in ("state_dict", "model"):
            if name in raw:
                raw[name] = {key.removeprefix("module."): v for key, v in raw[name].items()}
        return raw if "state_dict" in raw or "model" in raw else plain_of(raw)

    return write


def plain_of(raw):
    return {key.removeprefix("module."): value for key, value in raw.items()}


MOCO, DINO, BARLOW = "MoCo v1/v2, DisCo", "DINO, DINOv2", "Barlow Twins, VICReg"
CLASSIC, CURRENT, PLAIN = "solo-learn to 1.0.2", "solo-learn current", "torchvision, timm"
MM, HF, ANY = "OpenMMLab", "Hugging Face transformers", "a network under a prefix"
CASES = {
    "moco_v1": (MOCO, moco, linear),
    "moco_v2": (MOCO, moco, mlp),
    "moco_v2_without_ddp": (MOCO, without_module(moco), mlp),
    "moco_v2_compiled": (MOCO, deep(moco, "_orig_mod."), mlp),
    "disco": (MOCO, disco, mlp),
    "moco_v3": ("MoCo v3", moco_v3, mlp_bn_out),
    "moco_v3_vit": ("MoCo v3", moco_v3_vit, mlp3_bn),
    "moco_v3_without_ddp": ("MoCo v3", without_module(moco_v3), mlp_bn_out),
    "simsiam": ("SimSiam", simsiam, mlp3_bn),
    "simsiam_without_ddp": ("SimSiam", without_module(simsiam), mlp3_bn),
    "swav": ("SwAV", swav, mlp_bn),
    "swav_run": ("SwAV", swav_run, mlp_bn),
    "swav_without_ddp": ("SwAV", without_module(swav), mlp_bn),
    "dino": (DINO, dino, dino_mlp),
    "dino_ddp": (DINO, dino_ddp, dino_mlp),
    "dino_student": (DINO, dino_student, dino_mlp),
    "dino_v2": (DINO, dino_v2, dino_mlp),
    "dino_flat": (DINO, dino_flat, dino_mlp),
    "dino_flat_ddp": (DINO, dino_flat_ddp, dino_mlp),
    "dino_bare_teacher": (DINO, lambda net, _: {"teacher": dict(net)}, None),
    "barlow": (BARLOW, barlow, mlp3_bn),
    "barlow_flat": (BARLOW, barlow_flat, mlp3_bn),
    "barlow_without_ddp": (BARLOW, without_module(barlow), mlp3_bn),
    "solo_classic": (CLASSIC, solo("encoder"), mlp),
    "solo_current": (CURRENT, solo("backbone"), mlp),
    "ours_classic": (CLASSIC, ours("encoder"), mlp),
    "ours_current": (CURRENT, ours("backbone"), mlp),
    "solo_dino": (CURRENT, solo_dino, dino_mlp),
    "solo_linear": (CURRENT, solo_linear, None),
    "vissl": ("VISSL", vissl, mlp),
    "openmmlab": (MM, openmmlab, mlp3_bn),
    "openmmlab_moco": (MM, openmmlab_moco, mlp),
    "openmmlab_byol": (MM, openmmlab_byol, mlp_bn),
    "lightly": ("lightly", lightly, mlp_bn),
    "lightly_tutorial": ("lightly", lightly_tutorial, mlp),
    "lightly_swav": ("lightly", lightly_swav, mlp_bn),
    "lightly_barlow": ("lightly", lightly, mlp3_bn),
    "lightly_dino": ("lightly", lightly_dino, dino_mlp),
    "own_projection_head": ("lightly", own_projection_head, mlp),
    "supcontrast": ("SupContrast", supcontrast, mlp),
    "sthalles_simclr": ("SimCLR of PyTorch-SimCLR", sthalles_simclr, mlp),
    "sthalles_byol": ("BYOL of PyTorch-BYOL", sthalles_byol, mlp_bn),
    "lucidrains": ("BYOL of byol-pytorch", lucidrains, mlp_bn),
    "seed": ("SEED", seed, mlp),
    "seed_without_ddp": ("SEED", without_module(seed), mlp),
    "compress_1q": ("CompRess", compress_1q, linear),
    "hugging_face": (HF, hugging_face, None),
    "wrapped_timm": (ANY, wrapped_timm, None),
    "torchvision": (PLAIN, flat, None),
    "vicreg_resnet50": (PLAIN, flat_bare, None),
    "under_module": (PLAIN, flat_run, None),
    "under_model": (PLAIN, flat_model, None),
    "timm_ema": (PLAIN, timm_ema, None),
    "timm_ema_ddp": (PLAIN, timm_ema_ddp, None),
    "deep_container": (ANY, lambda net, _: {"state": {"model": under("model.", net)}}, None),
    "unknown_container": (ANY, lambda net, _: {"G": dict(net), "step": 3}, None),
    "moco_of_cifar_in_a_sequence": (MOCO, moco_sequence, None),
    "sequence": (PLAIN, lambda net, _: in_sequence(net), None),
    "shortcuts": (PLAIN, lambda net, _: as_shortcut(net) | {"linear.weight": torch.ones(2)}, None),
    "classifier_is_no_projector": (ANY, with_classifier, None),
    "with_projector": (ANY, with_projector, mlp),
    "averaged": (
        PLAIN,
        lambda net, head: under("module.", flat(net, head)) | {"n_averaged": torch.tensor(3)},
        None,
    ),
} | {
    f"container_{name}": (PLAIN, container(name), None)
    for name in "net model_state_dict ema ema_state_dict target_encoder weights".split()
} | {
    f"wrapped_{'_'.join(part.strip('._') for part in parts)}": (PLAIN, wrapped(*parts), None)
    for parts in (
        ("_orig_mod.",),
        ("module._orig_mod.",),
        ("_orig_mod.module.",),
        ("_fsdp_wrapped_module.",),
        ("module.module.",),
        ("_forward_module.",),
    )
} | {
    f"prefix_{'_'.join(prefix.strip('.') for prefix in prefixes)}": (ANY, prefixed(*prefixes), None)
    for prefixes in (
        ("model.",),
        ("net.",),
        ("encoder.",),
        ("backbone.",),
        ("feature_extractor.",),
        ("model.", "backbone."),
        ("module.", "model.", "net."),
        ("_orig_mod.", "model."),
    )
}  # fmt: skip
STEMS = {CLASSIC: "small", CURRENT: "small", "SupContrast": "3x3"}  # of the others: imagenet


def test_every_format_has_a_case():
    assert {name for name, _, _ in CASES.values()} == {entry.name for entry in ALL_FORMATS}


@pytest.mark.parametrize("case", CASES)
def test_gives_back_backbone_and_embedding(case, make_source, images, tmp_path, caplog):
    name, build, make_head = CASES[case]
    source = make_source(STEMS.get(name, "imagenet"))
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
    line = next(
        message for message in caplog.messages if message.startswith("teacher resnet18 from")
    )
    assert name in line and "120 tensors matched" in line
    assert (" 64 to 16" if head is not None else "no projector") in line
    assert teacher.identity["sha256"][:12] in line


# the head of these is of nobody's code, or has an activation that a key does not show
GUESSED = ("own_projection_head", "with_projector", "vissl")


@pytest.mark.parametrize("case", ["moco_v2", "lightly", "openmmlab", "supcontrast", *GUESSED])
def test_a_guessed_activation_is_warned_of(case, make_source, tmp_path, caplog):
    name, build, make_head = CASES[case]
    raw = build(make_source(STEMS.get(name, "imagenet")).state_dict(), make_head().state_dict())
    torch.save(raw, path := tmp_path / "teacher.pth")
    facts = load.load_networks(path, "resnet18", 32).facts
    assert facts.activation == "relu" and facts.activation_known == (case not in GUESSED)
    assert ("ReLU is assumed" in caplog.text) == (case in GUESSED)


@pytest.mark.parametrize(("chosen", "layer"), [("relu", nn.ReLU), ("gelu", nn.GELU), (None, None)])
def test_ibot_s_own_activation(chosen, layer, source, tmp_path, caplog):
    raw = dino(source.state_dict(), dino_mlp().state_dict())
    raw["teacher"]["head.last_layer2.weight_v"] = torch.ones(50, 16)
    raw["args"] = argparse.Namespace(**({"act_in_head": chosen} if chosen else {}))
    torch.save(raw, path := tmp_path / "teacher.pth")
    loaded = load.load_networks(path, "resnet18", 32)
    assert loaded.facts.activation_known == (chosen is not None)
    assert ("ReLU is assumed" in caplog.text) == (chosen is None)
    if layer is not None:
        assert isinstance(loaded.projector[1], layer)


@pytest.mark.parametrize("case", ["moco_v2", "solo_classic", "barlow", "swav_run", "dino"])
def test_a_state_dict_re_saved_as_safetensors(case, make_source, images, tmp_path):
    name, build, make_head = CASES[case]
    source = make_source(STEMS.get(name, "imagenet"))
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
        ({"a.encoder_q.bn1.weight": T, "a.encoder_q.fc.weight": T}, ["encoder_q.bn1", "MoCo v1"]),
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
    assert not any(entry.name in str(caught.value) for entry in ALL_FORMATS)
