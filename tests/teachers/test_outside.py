"""Teachers that no name of a backbone stands for: from Python, of Hugging Face, of ONNX."""

import copy
import json
import socket

import pytest
import torch
import torch.nn.functional as F
from outside_teachers import MEAN, STD, Tiny, write_program
from torch import nn

from solo_rekd.checkpoints.outside.onnx import OnnxBackbone
from solo_rekd.config import DistillationConfig, SeedConfig
from solo_rekd.objectives import HostRun
from solo_rekd.objectives.distillation import Batch
from solo_rekd.objectives.seed import SEED
from solo_rekd.teachers import FrozenTeacher, OnlineTeacher, build_teacher
from solo_rekd.utils.errors import UserError

SIDE = 32
HALVES = dict(mean=(0.5,) * 3, std=(0.5,) * 3)


def frozen(name, path=None, **settings):
    path = None if path is None else str(path)
    return DistillationConfig(
        teacher=name, teacher_mode="frozen", teacher_checkpoint=path, **settings
    )


def views(number=4):
    return torch.randn(number, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(8))


def test_a_module_is_a_frozen_teacher_with_its_own_colours(shake):
    module = shake(Tiny(), seed=1)
    config = frozen("module", teacher_mean=(0.2,) * 3, teacher_std=(0.3,) * 3)
    teacher = build_teacher(config, SIDE, **HALVES, module=module)
    assert isinstance(teacher, FrozenTeacher) and teacher.num_features == 6
    own = ((views() * 0.5 + 0.5) - 0.2) / 0.3
    with torch.no_grad():
        features = module.eval()(own)
    torch.testing.assert_close(teacher(views())[0], features)
    torch.testing.assert_close(teacher(views())[1], F.normalize(features, dim=1))
    assert teacher.identity["name"] == "module" and len(teacher.identity["sha256"]) == 64


def test_the_weights_of_a_module_tell_one_teacher_from_another(shake):
    torch.manual_seed(0)
    module = shake(Tiny(), seed=1)
    first = build_teacher(frozen("module"), SIDE, module=module).identity
    same = build_teacher(frozen("module"), SIDE, module=copy.deepcopy(module)).identity
    with torch.no_grad():
        module.norm.running_mean += 1
    other = build_teacher(frozen("module"), SIDE, module=module).identity
    assert first == same and first["sha256"] != other["sha256"]


def test_an_online_module_gets_a_projector_and_a_twin():
    config = DistillationConfig(teacher="module", proj_hidden_dim=8, proj_output_dim=5)
    module = Tiny()
    teacher = build_teacher(config, SIDE, module=module)
    assert isinstance(teacher, OnlineTeacher) and teacher.embedding_dim == 5
    assert all(p.requires_grad for p in module.parameters())
    assert teacher.pretrained  # its statistics stay, as those of any trained network


def test_an_objective_learns_from_a_module(shake):
    torch.manual_seed(0)
    config = SeedConfig(teacher="module", teacher_mode="frozen", proj_output_dim=6, queue_size=16)
    run = HostRun(10, 3, SIDE, 1, (0.5,) * 3, (0.5,) * 3, shake(Tiny(), seed=1))
    objective = SEED(config, run)
    features = [torch.randn(4, 10, requires_grad=True) for _ in range(2)]
    batch = Batch([views(), views()], features, features, torch.zeros(4).long(), torch.arange(4))
    loss, _ = objective(batch, 0)
    loss.backward()
    assert features[0].grad.abs().sum() > 0
    assert not any(name.startswith("teacher.") for name in objective.state_dict())


@pytest.mark.parametrize(
    ("module", "words"),
    [
        (None, "needs a module"),
        (nn.Conv2d(3, 4, 3), "for two images"),
        (nn.Linear(5, 5), "does not take 32 px"),
        (
            nn.Sequential(nn.Flatten(), nn.Linear(3072, 4), nn.Threshold(9e9, float("nan"))),
            "finite",
        ),
    ],
)
def test_a_module_that_is_no_teacher(module, words):
    with pytest.raises(UserError, match=words) as caught:
        build_teacher(frozen("module"), SIDE, module=module)
    assert "\n" not in str(caught.value)


def test_a_module_beside_another_teacher():
    with pytest.raises(UserError, match="teacher='resnet18' is not allowed"):
        build_teacher(DistillationConfig(teacher="resnet18"), SIDE, module=Tiny())


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        (dict(teacher="onnx"), "needs teacher_checkpoint"),
        (dict(teacher="onnx", teacher_checkpoint="a.onnx"), "teacher_mode='online'"),
        (dict(teacher="huggingface"), "needs teacher_checkpoint"),
        (dict(teacher="module", teacher_checkpoint="a.pth"), "teacher_checkpoint='a.pth'"),
        (dict(teacher="module", teacher_stem="small"), "teacher_stem='small'"),
    ],
)
def test_settings_that_do_not_go_together(settings, words):
    with pytest.raises(UserError, match=words):
        DistillationConfig(**settings)


@pytest.fixture(scope="module")
def program(tmp_path_factory):
    """A network that this project exported, and its file."""
    return write_program(tmp_path_factory.mktemp("onnx"), SIDE)


@pytest.mark.slow
def test_a_program_of_onnx_sees_as_it_was_exported(program):
    net, path = program
    teacher = build_teacher(frozen("onnx", path), SIDE, **HALVES)
    mean, std = torch.tensor(MEAN), torch.tensor(STD)
    own = ((views() * 0.5 + 0.5) - mean[:, None, None]) / std[:, None, None]
    with torch.no_grad():
        torch.testing.assert_close(teacher(views())[0], net(own), rtol=1e-3, atol=1e-4)
    assert teacher.facts["format"] == "ONNX" and teacher.facts["num_features"] == 1024
    assert isinstance(teacher._networks[0], OnnxBackbone) and teacher.dtype == torch.float32
    half = build_teacher(frozen("onnx", path), SIDE, **HALVES).bfloat16()
    assert half(views().bfloat16())[0].dtype == torch.bfloat16


@pytest.mark.slow
def test_a_program_for_another_side_is_refused(program):
    with pytest.raises(UserError, match=f"give teacher_size={SIDE}"):
        build_teacher(frozen("onnx", program[1]), 64, **HALVES)
    resized = build_teacher(frozen("onnx", program[1], teacher_size=SIDE), 64, **HALVES)
    assert resized(torch.randn(2, 3, 64, 64))[0].shape == (2, 1024)


@pytest.mark.parametrize("content", [b"", b"not onnx", None])
def test_a_file_that_is_no_program(content, tmp_path):
    pytest.importorskip("onnxruntime")
    path = tmp_path / "t.onnx"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(UserError, match="teacher_checkpoint=") as caught:
        build_teacher(frozen("onnx", path), SIDE)
    assert "\n" not in str(caught.value)


@pytest.fixture
def no_network(monkeypatch):
    def refuse(*args, **kwargs):
        raise AssertionError("the network was asked")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)


def hf_folder(folder, kind, shake):
    transformers = pytest.importorskip("transformers")
    torch.manual_seed(0)
    if kind == "vit":
        sizes = dict(hidden_size=24, num_hidden_layers=2, num_attention_heads=3)
        config = transformers.ViTConfig(
            **sizes, intermediate_size=48, image_size=SIDE, patch_size=8
        )
        net = transformers.ViTModel(config)
    elif kind == "convnext":
        config = transformers.ConvNextConfig(hidden_sizes=[8, 16, 24, 32], depths=[1, 1, 1, 1])
        net = transformers.ConvNextModel(config)
    else:
        config = transformers.ResNetConfig(
            embedding_size=8, hidden_sizes=[8, 16, 24, 32], depths=[1] * 4, layer_type="basic"
        )
        net = transformers.ResNetModel(config)
    shake(net, seed=3).save_pretrained(folder)
    colours = {"image_mean": [0.1, 0.2, 0.3], "image_std": [0.4, 0.5, 0.6], "size": SIDE}
    (folder / "preprocessor_config.json").write_text(json.dumps(colours))
    return net


@pytest.mark.parametrize("kind", ["resnet", "vit", "convnext"])
def test_a_folder_of_hugging_face_without_a_network(kind, shake, tmp_path, no_network):
    net = hf_folder(tmp_path, kind, shake)
    teacher = build_teacher(frozen("huggingface", tmp_path), SIDE, **HALVES)
    mean, std = torch.tensor([0.1, 0.2, 0.3]), torch.tensor([0.4, 0.5, 0.6])
    own = ((views() * 0.5 + 0.5) - mean[:, None, None]) / std[:, None, None]
    with torch.no_grad():
        out = net(own)
        expected = out.last_hidden_state[:, 0] if kind == "vit" else out.pooler_output.flatten(1)
    torch.testing.assert_close(teacher(views())[0], expected, rtol=1e-5, atol=1e-5)
    assert teacher.facts["architecture"] == kind and len(teacher.facts["sha256"]) == 64


def test_a_vit_of_hugging_face_at_another_side(shake, tmp_path, no_network):
    hf_folder(tmp_path, "vit", shake)
    teacher = build_teacher(frozen("huggingface", tmp_path), 64, **HALVES)
    assert teacher(torch.randn(2, 3, 64, 64))[0].shape == (2, 24)
    native = build_teacher(frozen("huggingface", tmp_path, teacher_size="native"), 64, **HALVES)
    assert native.identity["size"] == SIDE


@pytest.mark.parametrize("spoil", ["no config", "foreign type", "half", "text", "code", "pickle"])
def test_a_folder_that_is_no_teacher(spoil, shake, tmp_path, no_network):
    hf_folder(tmp_path, "resnet", shake)
    config = tmp_path / "config.json"
    told = json.loads(config.read_text())
    weights = tmp_path / "model.safetensors"
    if spoil == "no config":
        config.unlink()
    elif spoil == "foreign type":
        config.write_text(json.dumps({"model_type": "nothing known"}))
    elif spoil == "half":
        from safetensors.torch import load_file, save_file

        state = load_file(weights)
        save_file(dict(list(state.items())[::2]), weights, {"format": "pt"})
    elif spoil == "text":
        config.write_text(json.dumps({"model_type": "bert", "hidden_size": 12}))
    elif spoil == "code":
        # what would run if the folder's own code were trusted
        (tmp_path / "modeling_own.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')")
        own = {"AutoConfig": "modeling_own.Own", "AutoModel": "modeling_own.Own"}
        config.write_text(json.dumps(told | {"model_type": "own", "auto_map": own}))
    else:
        weights.rename(tmp_path / "pytorch_model.bin")
    with pytest.raises(UserError, match="teacher_checkpoint=") as caught:
        build_teacher(frozen("huggingface", tmp_path), SIDE)
    assert "\n" not in str(caught.value) and not (tmp_path / "ran").exists()


def test_a_folder_of_hugging_face_by_our_own_name(shake, tmp_path, no_network):
    transformers = pytest.importorskip("transformers")
    config = transformers.ResNetConfig(
        depths=[2] * 4, hidden_sizes=[64, 128, 256, 512], layer_type="basic"
    )
    net = shake(transformers.ResNetModel(config), seed=3)
    net.save_pretrained(tmp_path)
    teacher = build_teacher(frozen("resnet18", tmp_path), SIDE)
    with torch.no_grad():
        expected = net(views()).pooler_output.flatten(1)
    torch.testing.assert_close(teacher(views())[0], expected, rtol=1e-5, atol=1e-5)
