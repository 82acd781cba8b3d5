from argparse import Namespace
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from command import judge
from torch import nn

from solo_rekd.utils.errors import UserError

Train = Callable[..., dict[str, Any]]
Flags = Callable[..., list[str]]
ONE_STEP = {"limit_train_batches": 1, "limit_val_batches": 1, "batch_size": 4}


@pytest.mark.parametrize(
    ("method", "encoder"),
    [
        ("simclr", "alexnet"),
        ("simclr", "mobilenet_v3_small"),
        pytest.param("simclr", "resnet34", marks=pytest.mark.slow),
        ("mocov2plus", "mobilenet_v3_small"),
        ("mocov2plus", "timm:resnet10t"),
        ("rekd", "timm:resnet10t"),
    ],
)
def test_trains_and_is_evaluated(
    method: str, encoder: str, host: ModuleType, train: Train, flags: Flags
) -> None:
    run = train(method, encoder=encoder, **ONE_STEP)
    losses = ("train_nce_loss", "train_class_loss")
    assert all(torch.tensor(run["metrics"][name]).isfinite() for name in losses)
    checkpoint = {"pretrained_feature_extractor": run["checkpoint"], "encoder": encoder}
    result = host.linear(flags("linear", **checkpoint, **ONE_STEP))
    assert 0 <= result["top1"] <= result["top5"] <= 100


@pytest.mark.parametrize(
    ("name", "ours"),
    [
        ("alexnet", True),
        ("resnet34", True),
        ("resnet101", True),
        ("timm:resnet10t", True),
        ("resnet18", False),
        ("resnet50", False),
        ("vit_tiny", False),
        ("no_such_net", False),
    ],
)
def test_who_builds_an_encoder(name: str, ours: bool, host: ModuleType) -> None:
    from solo_rekd.hosts.classic.backbones import is_ours

    assert is_ours(name) == ours


def test_host_offers_our_encoders_and_its_own(host: ModuleType) -> None:
    from solo.methods.base import BaseMethod

    names = BaseMethod._SUPPORTED_ENCODERS
    assert {"resnet18", "vit_tiny", "swin_large", "alexnet", "resnet50x2"} <= set(names)
    assert "timm:resnet10t" in names
    assert "no_such_net" not in names


def test_unknown_timm_model_is_refused(train: Train) -> None:
    with pytest.raises(UserError, match=r"timm:resnet10x.* expected timm:resnet10t"):
        train("simclr", encoder="timm:resnet10x")


def test_the_hosts_own_vit_is_still_built(host: ModuleType) -> None:
    from solo_rekd.hosts.classic.backbones import build_encoder

    net = build_encoder("vit_tiny", {"cifar": False, "img_size": 32, "patch_size": 8})
    assert net(torch.zeros(1, 3, 32, 32)).shape == (1, 192)
    assert net.patch_embed.proj.kernel_size == (8, 8)


@pytest.mark.parametrize(("cifar", "kernel"), [(True, 3), (False, 7)])
def test_hosts_resnet_has_the_hosts_stem(cifar: bool, kernel: int, host: ModuleType) -> None:
    from solo_rekd.hosts.classic.backbones import build_encoder

    net = build_encoder("resnet18", {"cifar": cifar})
    assert net.conv1.kernel_size == (kernel, kernel)
    assert isinstance(net.maxpool, nn.Identity) == cifar
    assert net(torch.zeros(2, 3, 32, 32)).shape == (2, 512)


def test_encoder_is_built_for_the_size_of_the_crops(host: ModuleType) -> None:
    from solo_rekd.hosts.classic.backbones import backbone_args, build_encoder

    for size, kernel in ((32, 3), (224, 11)):
        net = build_encoder("vit_tiny", backbone_args("alexnet", size))
        assert net.features[0].kernel_size == (kernel, kernel)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("encoder", "weight", "stem", "crop_size", "kernel"),
    [
        # the host's choice for an image folder
        ("resnet18", "conv1", "auto", 32, 7),
        ("resnet18", "conv1", "small", 32, 3),
        ("alexnet", "features.0", "auto", 64, 3),
        ("alexnet", "features.0", "imagenet", 64, 11),
        ("alexnet", "features.0", "small", 72, 3),
    ],
)
def test_stem_is_chosen_in_training_and_in_every_evaluation(
    encoder: str,
    weight: str,
    stem: str,
    crop_size: int,
    kernel: int,
    host: ModuleType,
    train: Train,
    flags: Flags,
) -> None:
    chosen = {"encoder": encoder, "crop_size": crop_size, "stem": stem}
    run = train("mocov2plus", **chosen, **ONE_STEP | {"batch_size": 8})
    state = torch.load(run["checkpoint"], weights_only=True)["state_dict"]
    for part in ("encoder", "momentum_encoder"):
        assert state[f"{part}.{weight}.weight"].shape[-1] == kernel
    judged = chosen | {"pretrained_feature_extractor": run["checkpoint"]}
    assert 0 <= host.linear(flags("linear", **judged, **ONE_STEP))["top1"] <= 100
    assert 0 <= judge(flags("knn", **judged)).knn["top1"] <= 100
    other = "imagenet" if kernel == 3 else "small"
    for job, evaluate in (("linear", host.linear), ("knn", judge)):
        with pytest.raises(UserError, match=r"^(pretrained_feature_extractor|stem)="):
            evaluate(flags(job, **judged | {"stem": other}))


@pytest.mark.slow
@pytest.mark.parametrize("trained", [{"crop_size": 32}, {"crop_size": 72, "stem": "small"}])
def test_a_student_is_evaluated_with_the_stem_it_was_trained_with(
    trained: dict[str, Any], host: ModuleType, train: Train, flags: Flags, tmp_path: Path
) -> None:
    # whose weights fit either stem
    student = {"encoder": "mobilenet_v3_small"}
    trained_as = student | trained | {"checkpoint_dir": tmp_path}
    run = train("mocov2plus", **trained_as, **ONE_STEP | {"batch_size": 8})
    judged = student | {"crop_size": 96, "pretrained_feature_extractor": run["checkpoint"]}
    one = judge(flags("knn", **judged)).splits["val"].features
    assert torch.equal(one, judge(flags("knn", **judged, stem="small")).splits["val"].features)
    other = judge(flags("knn", **judged, stem="imagenet")).splits["val"].features
    assert not torch.allclose(one, other, rtol=0.01)


@pytest.mark.parametrize("hosts_choice", [True, False])
@pytest.mark.parametrize(("stem", "cifar"), [("small", True), ("imagenet", False)])
def test_stem_of_the_hosts_resnets_is_chosen_for_any_data_set(
    stem: str, cifar: bool, hosts_choice: bool, host: ModuleType
) -> None:
    from solo_rekd.hosts.classic.backbones import choose_stem

    for encoder in ("resnet18", "resnet50"):
        args = Namespace(encoder=encoder, backbone_args={"cifar": hosts_choice})
        choose_stem(args, "auto")
        assert args.backbone_args == {"cifar": hosts_choice}
        choose_stem(args, stem)
        assert args.backbone_args == {"cifar": cifar}


@pytest.mark.parametrize("encoder", ["timm:resnet10t", "vit_tiny"])
@pytest.mark.parametrize("job", ["pretrain", "linear"])
def test_stem_is_refused_where_there_is_no_choice(
    job: str, encoder: str, host: ModuleType, flags: Flags
) -> None:
    argv = flags(
        job,
        method="simclr" if job == "pretrain" else None,
        encoder=encoder,
        stem="small",
        pretrained_feature_extractor=None if job == "pretrain" else "any.ckpt",
    )
    with pytest.raises(UserError, match=f"^stem='small' is not allowed: expected auto.*{encoder}"):
        getattr(host, job)(argv)
