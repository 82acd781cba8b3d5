import importlib.util
import json
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import onnx
import onnxruntime
import pytest
import torch
from command import command, judge
from safetensors import safe_open
from safetensors.torch import load_file
from torch import Tensor, nn
from torchvision import models

from solo_rekd.backbones import build_backbone
from solo_rekd.export import check_network, export
from solo_rekd.utils.errors import UserError

# of the student alone; the rest of a run's checkpoint is not to come along
LUGGAGE = {
    "momentum_encoder.features.0.weight": torch.zeros(1),
    "classifier.weight": torch.zeros(1),
    "objective.projector.0.weight": torch.zeros(1),
    "objective.teacher.backbone.conv1.weight": torch.zeros(1),
}


def build(name: str, size: int, stem: str = "auto") -> nn.Module:
    """A network with weights and statistics that differ from those of a new one."""
    network = build_backbone(name, size, stem)
    torch.manual_seed(1)
    for tensor in network.state_dict().values():
        if tensor.is_floating_point():
            tensor.add_(torch.randn_like(tensor), alpha=0.02)
    return network.eval()


def save(path: Path, network: nn.Module) -> Path:
    state = {f"encoder.{name}": tensor for name, tensor in network.state_dict().items()}
    torch.save({"state_dict": state | LUGGAGE}, path)
    return path


@torch.no_grad()
def features(network: nn.Module, images: Tensor) -> Tensor:
    return network.eval()(images)


def run_onnx(path: Path, images: Tensor) -> Tensor:
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    return torch.from_numpy(session.run(["features"], {"images": images.numpy()})[0])


def test_weights_are_the_students_alone(tmp_path: Path) -> None:
    network = build("alexnet", 32)
    target = tmp_path / "student.safetensors"
    path = save(tmp_path / "run.ckpt", network)
    facts = export(path, target, {"encoder": "alexnet", "crop_size": 32, "mean": [0.5, 0.4, 0.3]})
    written = load_file(target)
    assert written.keys() == network.state_dict().keys()
    for name, tensor in network.state_dict().items():
        assert torch.equal(written[name], tensor), name
    with safe_open(target, "pt") as file:
        assert file.metadata() == facts
    assert facts["stem"] == "small" and facts["num_features"] == "256"
    assert json.loads(facts["mean"]) == [0.5, 0.4, 0.3] and "std" not in facts
    assert {path.name for path in tmp_path.iterdir()} == {"run.ckpt", "student.safetensors"}


@pytest.mark.parametrize("name", ["mobilenet_v3_small", "shufflenet_v2_x1_0", "resnet34"])
def test_torchvision_loads_the_weights(name: str, tmp_path: Path) -> None:
    network = build(name, 96, "imagenet")
    target = tmp_path / "student.safetensors"
    export(save(tmp_path / "run.ckpt", network), target, {"encoder": name, "crop_size": 96})
    plain = getattr(models, name)()
    missing, unexpected = plain.load_state_dict(load_file(target), strict=False)
    assert not unexpected
    assert all(key.startswith(("classifier.", "fc.")) for key in missing)
    if name.startswith("mobilenet_v3"):
        plain.classifier = plain.classifier[:2]
    else:
        plain.fc = nn.Identity()
    images = torch.rand(2, 3, 96, 96)
    torch.testing.assert_close(features(plain, images), features(network, images))


@pytest.mark.parametrize(
    ("name", "size"),
    [
        ("alexnet", 32),
        pytest.param("shufflenet_v2_x1_0", 32, marks=pytest.mark.slow),
        pytest.param("timm:test_vit", 160, marks=pytest.mark.slow),
    ],
)
def test_onnx_runtime_sees_what_torch_sees(name: str, size: int, tmp_path: Path) -> None:
    network = build(name, size)
    target = tmp_path / "student.onnx"
    facts = export(
        save(tmp_path / "run.ckpt", network), target, {"encoder": name, "crop_size": size}
    )
    for number in (1, 5):  # any number of images
        images = torch.randn(number, 3, size, size)
        torch.testing.assert_close(run_onnx(target, images), features(network, images))
    held = {entry.key: entry.value for entry in onnx.load(target).metadata_props}
    assert facts.items() <= held.items()
    assert {path.name for path in tmp_path.iterdir()} == {"run.ckpt", "student.onnx"}


def test_network_that_differs_is_noticed(tmp_path: Path) -> None:
    network = build("alexnet", 32)
    target = tmp_path / "student.onnx"
    export(save(tmp_path / "run.ckpt", network), target, {"encoder": "alexnet", "crop_size": 32})
    images = torch.randn(2, 3, 32, 32)
    check_network(network, target, images)
    with torch.no_grad():
        network.features[0].weight.mul_(1.1)
    with pytest.raises(AssertionError):
        check_network(network, target, images)


@pytest.mark.parametrize(("size", "stem"), [(32, "small"), (96, "small"), (32, "imagenet")])
def test_resnet_has_the_stem_of_its_checkpoint(size: int, stem: str, tmp_path: Path) -> None:
    path = save(tmp_path / "run.ckpt", build("resnet18", size, stem))
    facts = export(path, tmp_path / "a.safetensors", {"encoder": "resnet18", "crop_size": size})
    assert facts["stem"] == stem


def test_command_reads_the_run_and_obeys_its_flags(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = save(tmp_path / "run.ckpt", build("mobilenet_v3_small", 64))
    run = {
        "encoder": "mobilenet_v3_small",
        "crop_size": [64],
        "stem": "small",
        "dataset": "cifar10",
    }
    (tmp_path / "args.json").write_text(json.dumps(run))
    target = tmp_path / "student.safetensors"
    command("export", str(path), str(target))
    with safe_open(target, "pt") as file:
        assert (file.metadata()["crop_size"], file.metadata()["stem"]) == ("64", "small")
    assert capsys.readouterr().out.startswith(f"wrote {target}, ")
    command(
        "export", str(path), str(target), "--crop_size", "96", "--stem", "imagenet", "--std", *"111"
    )
    with safe_open(target, "pt") as file:
        assert (file.metadata()["crop_size"], file.metadata()["stem"]) == ("96", "imagenet")
        assert file.metadata()["std"] == "[1.0, 1.0, 1.0]"


@pytest.mark.parametrize(
    ("target", "trained", "message"),
    [
        (
            "student.pt",
            {},
            "target='{0}/student.pt' is not allowed: expected a file name ending in",
        ),
        ("no/student.onnx", {}, "target='{0}/no/student.onnx' is not allowed: expected a file in"),
        (
            "student.onnx",
            {},
            "--encoder is missing: neither {0}/run.ckpt nor an args.json beside it records it",
        ),
        ("student.onnx", {"encoder": "alexnet"}, "--crop_size is missing"),
        ("student.onnx", {"encoder": "alexnett"}, "--crop_size is missing"),
        ("student.onnx", {"encoder": "alexnett", "crop_size": 32}, "student='alexnett' is not"),
        ("student.onnx", {"encoder": "alexnet", "crop_size": 32, "stem": "imagenet"}, "alexnet"),
        (
            "student.onnx",
            {"encoder": "alexnet", "crop_size": 32, "std": [58, 57, 57]},
            "std=58 is not allowed: expected a number from 0.001 to 1",
        ),
        ("student.onnx", {"encoder": "resnet18", "crop_size": 32}, "student_checkpoint='{0}"),
    ],
)
def test_mistake_is_one_line_and_writes_nothing(
    target: str, trained: dict[str, Any], message: str, tmp_path: Path
) -> None:
    path = save(tmp_path / "run.ckpt", build("alexnet", 32))
    with pytest.raises(UserError) as caught:
        export(path, tmp_path / target, trained)
    assert str(caught.value).startswith(message.format(tmp_path))
    assert "\n" not in str(caught.value)
    assert [path.name for path in tmp_path.iterdir()] == ["run.ckpt"]


def test_a_checkpoint_that_is_not_there_is_missed_first(tmp_path: Path) -> None:
    with pytest.raises(
        UserError, match=r"^checkpoint='.*/no.ckpt' is not allowed: expected a file"
    ):
        export(tmp_path / "no.ckpt", tmp_path / "student.onnx", {})


@pytest.mark.parametrize("link", [None, "symlink_to", "hardlink_to"])
def test_the_checkpoint_itself_is_no_target(link: str | None, tmp_path: Path) -> None:
    checkpoint = save(tmp_path / "whole.safetensors", build("resnet18", 32))
    target, before = checkpoint, checkpoint.read_bytes()
    if link is not None:
        target = tmp_path / "link.safetensors"
        getattr(target, link)(checkpoint)
    for one, other in ((checkpoint, target), (target, checkpoint)):
        with pytest.raises(UserError, match=r"^target=.* expected a file other than the check"):
            export(one, other, {"encoder": "resnet18", "crop_size": 32})
    assert checkpoint.read_bytes() == before


def test_missing_package_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(UserError, match=r"onnx, onnxscript, onnxruntime missing: pip install"):
        export(tmp_path / "run.ckpt", tmp_path / "student.onnx", {})


def test_run_of_the_host_to_a_student_that_the_host_judges_alike(
    online: dict[str, Any], host: ModuleType, flags: Callable[..., list[str]], tmp_path: Path
) -> None:
    target = tmp_path / "student.safetensors"
    command("export", online["checkpoint"], str(target))
    judged = [
        judge(flags("knn", pretrained_feature_extractor=file, k=3)).knn
        for file in (online["checkpoint"], target)
    ]
    assert judged[0] == judged[1]
