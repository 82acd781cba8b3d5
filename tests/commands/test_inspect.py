"""What `solo-rekd inspect` tells is what a run then does."""

import functools
import json
import shlex

import pytest
import timm
import torch
from command import command

from solo_rekd.backbones import build_backbone
from solo_rekd.commands.inspect import inspect
from solo_rekd.config import DistillationConfig
from solo_rekd.teachers import build_teacher
from solo_rekd.utils.errors import UserError


def moco(net, **more):
    state = {f"module.encoder_q.{key}": value for key, value in net.state_dict().items()}
    state |= {
        "module.encoder_q.fc.0.weight": torch.ones(8, net.num_features),
        "module.encoder_q.fc.0.bias": torch.ones(8),
        "module.encoder_q.fc.2.weight": torch.ones(4, 8),
        "module.encoder_q.fc.2.bias": torch.ones(4),
    }
    return {"state_dict": state} | more


@pytest.fixture(scope="module")
def teacher_file(tmp_path_factory):
    torch.manual_seed(0)
    net = build_backbone("resnet18", 64, "imagenet")
    path = tmp_path_factory.mktemp("inspect") / "a file.pth"
    # a partial beside the weights needs code, which is not run
    torch.save(moco(net, schedule=functools.partial(print, "never")), path)
    return path


def test_the_facts(teacher_file):
    facts = inspect(teacher_file)
    assert facts["format"].startswith("MoCo") and facts["architecture"] == "resnet18"
    assert facts["matched"] == 120 and facts["stem"] == "imagenet" and facts["problem"] is None
    assert (facts["num_features"], facts["embedding_dim"]) == (512, 4)
    assert facts["head"] == "MLP 512 to 4" and facts["activation_known"]
    assert facts["needs_code"] and "functools.partial" in facts["inert"]
    assert facts["preprocessing"]["mean"] == [0.485, 0.456, 0.406]
    assert len(facts["sha256"]) == 64


def test_the_flags_are_those_of_a_run_that_does_what_they_say(teacher_file):
    facts = inspect(teacher_file)
    words = shlex.split(facts["flags"])
    settings = {
        word.removeprefix("--"): value for word, value in zip(words[::2], words[1::2], strict=True)
    }
    settings["proj_output_dim"] = int(settings["proj_output_dim"])
    config = DistillationConfig(**settings)
    teacher = build_teacher(config, 64, (0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
    config.refuse_width(teacher.embedding_dim)
    assert teacher.facts == {key: facts[key] for key in teacher.facts}


def test_as_text_and_as_json(teacher_file, capsys):
    command("inspect", str(teacher_file))
    text = capsys.readouterr().out
    for words in (
        "resnet18",
        "MLP 512 to 4, relu",
        "functools.partial",
        "120 matched",
        "--teacher",
    ):
        assert words in text
    command("inspect", str(teacher_file), "--json")
    assert json.loads(capsys.readouterr().out) == inspect(teacher_file)


ARCHITECTURES = {
    "resnet50": lambda: build_backbone("resnet50", 64, "imagenet"),
    "mobilenet_v3_small": lambda: build_backbone("mobilenet_v3_small", 64, "imagenet"),
    "efficientnet_b0": lambda: build_backbone("efficientnet_b0", 64, "imagenet"),
    "timm:mobilenetv3_small_100": lambda: timm.create_model("mobilenetv3_small_100"),
    "timm:vit_tiny_patch16_224": lambda: timm.create_model("vit_tiny_patch16_224"),
}


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_the_architecture_is_guessed(name, tmp_path):
    torch.save(ARCHITECTURES[name]().state_dict(), path := tmp_path / "t.pth")
    facts = inspect(path)
    assert facts["architecture"] == name and facts["problem"] is None
    assert f"--teacher {name}" in facts["flags"]


def test_networks_that_no_key_tells_apart_are_named(tmp_path, capsys):
    net = timm.create_model("tf_efficientnet_lite0", num_classes=0)
    torch.save(net.state_dict(), path := tmp_path / "t.pth")
    assert inspect(path)["same_tensors"] == ["timm:tf_efficientnet_lite0"]
    command("inspect", str(path))
    assert "timm:tf_efficientnet_lite0, which have the same keys" in capsys.readouterr().out
    assert inspect(path, "timm:tf_efficientnet_lite0")["same_tensors"] == []


def test_a_stem_that_nothing_tells_is_a_problem_that_says_what_to_type(tmp_path):
    state = build_backbone("resnet18", 32, "small").state_dict()
    torch.save(state, path := tmp_path / "t.pth")
    facts = inspect(path)
    assert facts["flags"] is None and "teacher_stem" in facts["problem"]
    told = inspect(path, "resnet18", stem="3x3")
    assert "--teacher_stem 3x3" in told["flags"]


def test_nothing_to_guess_by(tmp_path):
    torch.save({"conv1.weight": torch.ones(2, 3, 3, 3)}, path := tmp_path / "t.pth")
    facts = inspect(path)
    assert facts["architecture"] is None and "give --teacher" in facts["problem"]


def test_a_name_that_does_not_fit_is_refused(teacher_file):
    with pytest.raises(UserError, match="does not fit resnet34"):
        inspect(teacher_file, "resnet34")


@pytest.mark.parametrize("content", [b"", b"x" * 100])
def test_a_file_of_something_else(content, tmp_path):
    (path := tmp_path / "t.pth").write_bytes(content)
    with pytest.raises(UserError):
        inspect(path)
