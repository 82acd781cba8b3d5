import hashlib
import json
import shutil
from argparse import Namespace

import pytest
import timm
import torch

from solo_rekd.backbones import build_backbone
from solo_rekd.compare import checks
from solo_rekd.compare.images import find_images
from solo_rekd.compare.options import read_options
from solo_rekd.compare.plan import check_same
from solo_rekd.utils.errors import UserError

DISCO = "disco+proj_output_dim=8"  # the width of the fixture's teacher


@pytest.fixture
def parsed(options: list[str]) -> Namespace:
    """The options of a tiny comparison, read."""
    return read_options([*options, "--methods", "simclr,disco"])[0]


def test_the_images_fill_in_what_is_not_said(parsed, data, names_only):
    images = find_images(data, "train", "val")
    parsed.queue_size = "auto"
    plan = checks.make_plan(parsed, ("--lars",), images, names_only)
    assert (plan.crop_size, plan.queue_size, plan.teacher_epochs) == (32, 8, 1)
    assert (plan.data, plan.extra) == (str(data), ("--lars",))
    assert [arm.name for arm in plan.arms] == ["simclr", "disco"]


def test_a_queue_by_the_images_is_whole_batches(parsed):
    parsed.queue_size, parsed.batch_size, parsed.epochs = "auto", 100, 100
    assert checks.queue_size(parsed, 50_000) == 8_100
    assert checks.queue_size(parsed, 120) == 100
    parsed.queue_size = 300
    assert checks.queue_size(parsed, 50_000) == 300


def test_what_is_said_is_kept(parsed, data, tmp_path, names_only):
    parsed.crop_size, parsed.teacher_epochs, parsed.epochs = 96, 7, 3
    parsed.teacher_checkpoint = tmp_path / "x" / ".." / "t.pt"
    plan = checks.make_plan(parsed, (), find_images(data, "train", "val"), names_only)
    assert (plan.crop_size, plan.teacher_epochs, plan.epochs) == (96, 7, 3)
    assert plan.teacher_checkpoint == str(tmp_path / "t.pt")


def test_a_given_teacher_tells_its_stem(plan, moco):
    given = plan(arms=DISCO, teacher="resnet18", teacher_checkpoint=moco["checkpoint"])
    # 32 px, but the host trains an image folder with the large stem
    assert checks.settle_teachers(given).teacher_stem == "imagenet"


@pytest.mark.parametrize("later", [DISCO, pytest.param("simclr", marks=pytest.mark.slow)])
def test_a_given_teacher_may_not_be_another_later(later, plan, moco, tmp_path):
    file = tmp_path / "teacher.ckpt"
    shutil.copy(moco["checkpoint"], file)
    given = {"teacher": "resnet18", "teacher_checkpoint": str(file)}
    first = checks.settle_teachers(plan(arms="simclr", **given))
    assert first.teacher_sha256 == hashlib.sha256(file.read_bytes()).hexdigest()
    (tmp_path / "plan.json").write_text(json.dumps(first.to_json()))
    check_same(checks.settle_teachers(plan(arms=later, **given)), tmp_path / "plan.json")
    checkpoint = torch.load(file, weights_only=True)
    checkpoint["state_dict"]["encoder.bn1.bias"] += 1
    torch.save(checkpoint, file)
    with pytest.raises(UserError, match="teacher_sha256="):
        check_same(checks.settle_teachers(plan(arms=later, **given)), tmp_path / "plan.json")


def test_an_arms_own_teacher_may_not_be_another_later(plan, moco, tmp_path):
    file = tmp_path / "teacher.ckpt"
    shutil.copy(moco["checkpoint"], file)
    arm = f"{DISCO}+teacher=resnet18+teacher_checkpoint={file}"
    first = checks.settle_teachers(plan(arms=arm))
    assert first.arm_sha256 == {arm: hashlib.sha256(file.read_bytes()).hexdigest()}
    (tmp_path / "plan.json").write_text(json.dumps(first.to_json()))
    check_same(checks.settle_teachers(plan(arms=f"simclr,{arm}", seeds=3)), tmp_path / "plan.json")
    without = check_same(plan(arms="simclr"), tmp_path / "plan.json")
    (tmp_path / "plan.json").write_text(json.dumps(without.to_json()))
    checkpoint = torch.load(file, weights_only=True)
    torch.save(checkpoint | {"epoch": 99}, file)
    with pytest.raises(
        UserError, match=r"^disco.*: its teacher_checkpoint is a different file than"
    ):
        check_same(checks.settle_teachers(plan(arms=arm)), tmp_path / "plan.json")


def test_an_arm_that_cannot_learn_from_its_teacher_is_refused(plan, moco):
    given = {"teacher": "resnet18", "teacher_checkpoint": moco["checkpoint"]}
    checks.settle_teachers(plan(arms="compress", **given))
    with pytest.raises(UserError, match=r"^seed: proj_output_dim=128 .* expected 8, the teacher"):
        checks.settle_teachers(plan(arms="compress,seed", **given))


def test_a_comparison_without_a_given_teacher_is_as_it_was(plan):
    unused = plan(arms="simclr,rekd+teacher_mode=online")
    assert checks.settle_teachers(unused) == unused


@pytest.mark.parametrize(
    ("arms", "given", "message"),
    [
        ("disco", "/nowhere.pt", "checkpoint /nowhere.pt does not exist"),
        ("seed+teacher_checkpoint=/no.pt", None, "checkpoint /no.pt does not exist"),
    ],
)
def test_a_teacher_that_does_not_load_is_refused(arms, given, message, plan):
    with pytest.raises(UserError, match=message):
        checks.settle_teachers(plan(arms=arms, teacher_checkpoint=given))


def test_a_checkpoint_of_another_network_is_refused(plan, moco):
    other = plan(arms="disco", teacher="resnet50", teacher_checkpoint=moco["checkpoint"])
    with pytest.raises(UserError, match="teacher_checkpoint="):
        checks.settle_teachers(other)


def test_the_host_judges_the_extra_words(classic, plan, data):
    good = plan(data=str(data), arms="simclr,disco")
    checks.refuse_jobs(good, classic)
    for extra, message in (
        (("--precison", "16"), "simclr: unrecognized arguments: --precison 16"),
        (("--min_scale", "a"), "simclr: argument --min_scale: invalid float value: 'a'"),
    ):
        with pytest.raises(UserError, match=message):
            checks.refuse_jobs(plan(data=str(data), arms="simclr", extra=extra), classic)
    with pytest.raises(UserError, match=r"^mocov2plus\+temperature=0: temperature=0 is not al"):
        checks.refuse_jobs(plan(data=str(data), arms="mocov2plus+temperature=0"), classic)


@pytest.mark.parametrize(
    ("prefix", "stem", "words"),
    [("encoder.", "small", None), ("", "3x3", "teacher_stem='3x3' is not allowed")],
)
def test_a_teacher_that_no_host_builds_is_refused(prefix, stem, words, plan, tmp_path):
    state = build_backbone("resnet18", 32, stem).state_dict()
    state = {prefix + key: value for key, value in state.items()}
    if prefix:
        state |= {"classifier.weight": torch.ones(2), "projector.0.weight": torch.ones(8, 512)}
    else:  # SupContrast's
        state = {f"encoder.{k}": v for k, v in state.items()}
        state |= {"head.0.weight": torch.ones(8, 512), "head.2.weight": torch.ones(8, 8)}
    torch.save({"model": state} if not prefix else state, path := tmp_path / "t.pth")
    given = plan(arms=DISCO, teacher="resnet18", teacher_checkpoint=str(path))
    if words is None:
        assert checks.settle_teachers(given).teacher_stem == "small"
        return
    with pytest.raises(UserError, match=words):
        checks.settle_teachers(given)


def test_a_teacher_of_other_heads_is_refused_before_any_run(plan, tmp_path):
    net = timm.create_model("vit_tiny_patch16_224", num_classes=0, num_heads=12, img_size=32)
    state = {f"base_encoder.{key}": value for key, value in net.state_dict().items()}
    torch.save({"state_dict": state}, path := tmp_path / "t.pth")
    given = plan(arms="seed", teacher="timm:vit_tiny_patch16_224", teacher_checkpoint=str(path))
    with pytest.raises(UserError, match=r"teacher_checkpoint=.*num_heads=12"):
        checks.settle_teachers(given)
