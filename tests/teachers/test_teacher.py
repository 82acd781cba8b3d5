import copy
import pickle

import pytest
import torch
from torch import nn

from solo_rekd.backbones import build_backbone
from solo_rekd.config import DistillationConfig
from solo_rekd.teachers import FrozenTeacher, OnlineTeacher, build_teacher
from solo_rekd.teachers.teacher import make_identity


def small_backbone() -> nn.Module:
    net = nn.Sequential(
        nn.Conv2d(3, 6, 3), nn.BatchNorm2d(6), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten()
    )
    net.num_features = 6
    return net


def head() -> nn.Sequential:
    return nn.Sequential(nn.Linear(6, 5), nn.BatchNorm1d(5), nn.ReLU(), nn.Linear(5, 4))


class Parent(nn.Module):
    def __init__(self, teacher: nn.Module) -> None:
        super().__init__()
        self.student = nn.Linear(2, 2)
        self.teacher = teacher


@pytest.fixture
def frozen() -> FrozenTeacher:
    torch.manual_seed(0)
    return FrozenTeacher(small_backbone(), head())


@pytest.fixture
def online() -> OnlineTeacher:
    torch.manual_seed(0)
    return OnlineTeacher(small_backbone(), head())


def tensors(teacher: FrozenTeacher) -> dict[str, torch.Tensor]:
    networks = enumerate(teacher._networks)
    return {f"{i}.{key}": value for i, net in networks for key, value in net.state_dict().items()}


def test_frozen_stays_in_eval_without_gradient_and_unchanged(frozen, images):
    before = {key: value.clone() for key, value in tensors(frozen).items()}
    parent = Parent(frozen).train().requires_grad_(True)
    parent.teacher.train()
    key = parent.teacher(images.clone().requires_grad_())[1]
    assert not key.requires_grad and not parent.teacher(images)[0].requires_grad
    alone = parent.teacher(images[:1])[1]  # in train mode a row depends on its batch
    torch.testing.assert_close(alone, key[:1])
    assert all(torch.equal(value, before[name]) for name, value in tensors(frozen).items())
    assert not any(p.requires_grad for net in frozen._networks for p in net.parameters())


def test_frozen_is_no_part_of_its_parent(frozen):
    parent = Parent(frozen)
    assert set(parent.state_dict()) == {"student.weight", "student.bias"}
    assert len(list(parent.parameters())) == 2 and not list(frozen.buffers())
    assert list(frozen.modules()) == [frozen]
    parent.load_state_dict(Parent(FrozenTeacher(small_backbone(), None)).state_dict())


def test_frozen_follows_its_parent_s_moves(frozen, images):
    expected = frozen(images)[1]
    parent = Parent(frozen).double()
    assert parent.teacher(images.double())[1].dtype == torch.float64
    torch.testing.assert_close(parent.teacher(images.double())[1], expected.double())
    parent.to("meta")
    assert all(value.is_meta for value in tensors(frozen).values())


@pytest.mark.parametrize("clone", [copy.deepcopy, lambda x: pickle.loads(pickle.dumps(x))])
def test_frozen_copies_are_independent(frozen, images, clone):
    twin = clone(Parent(frozen)).teacher
    torch.testing.assert_close(twin(images)[1], frozen(images)[1])
    for value in tensors(twin).values():
        value.zero_()
    assert any(value.any() for value in tensors(frozen).values())


def test_frozen_without_projector_embeds_by_its_features(images):
    teacher = FrozenTeacher(small_backbone(), None)
    assert teacher.embedding_dim == teacher.num_features == 6
    expected = nn.functional.normalize(teacher(images)[0], dim=-1)
    torch.testing.assert_close(teacher(images)[1], expected)


def test_half_precision_is_normalised_in_float32(frozen, images):
    key = frozen.to(torch.bfloat16)(images.bfloat16())[1]
    assert key.dtype == torch.float32
    torch.testing.assert_close(key.norm(dim=1), torch.ones(3))


def test_an_image_that_float16_cannot_hold_is_a_zero_key(frozen, online, images):
    spoiled = images.clone()
    spoiled[1] = torch.inf
    features, key = frozen(spoiled)
    assert not features[1].any() and not key[1].any()
    torch.testing.assert_close(key[[0, 2]], frozen(images)[1][[0, 2]])
    assert all(x.isfinite().all() for x in online.key(spoiled))
    assert not any(x.isfinite().all() for x in online.query(spoiled))


def test_online_query_has_gradients_and_the_twin_none(online, images):
    features, embedding = online.train().query(images)
    assert features.shape == (3, 6) and embedding.shape == (3, 4)
    torch.testing.assert_close(embedding.norm(dim=1), torch.ones(3))
    (embedding.sum() + online.key(images)[1].sum()).backward()
    for trained, twin in online.momentum_pairs:
        assert all(p.grad is not None for p in trained.parameters())
        assert all(p.grad is None and not p.requires_grad for p in twin.parameters())
    assert not online.key(images)[1].requires_grad


def test_online_twin_starts_equal_and_is_another(online, images):
    online.eval()
    torch.testing.assert_close(online.key(images), online.query(images))
    for trained, twin in online.momentum_pairs:
        assert all(
            torch.equal(p, q) and p.data_ptr() != q.data_ptr()
            for p, q in zip(trained.parameters(), twin.parameters(), strict=True)
        )
    with torch.no_grad():
        online.projector[0].weight.zero_()
    assert online.momentum_projector[0].weight.any()


def test_online_from_a_checkpoint_keeps_its_statistics(images):
    torch.manual_seed(0)
    pretrained = make_identity("online", checkpoint="t.pth")
    teacher = Parent(OnlineTeacher(small_backbone(), head(), pretrained)).teacher
    for prepare in (lambda: None, lambda: Parent(teacher).eval().train()):
        prepare()
        before = {name: value.clone() for name, value in teacher.named_buffers()}
        teacher.query(images)
        alone = teacher.key(images[:1])[1]  # a row does not depend on its batch
        torch.testing.assert_close(alone, teacher.key(images)[1][:1])
        assert all(torch.equal(value, before[name]) for name, value in teacher.named_buffers())
    teacher.query(images)[1].sum().backward()
    assert teacher.backbone[1].weight.grad is not None


def test_online_from_nothing_learns_its_statistics(online, images):
    before = online.backbone[1].running_mean.clone()
    online.query(images)
    assert not torch.equal(online.backbone[1].running_mean, before)


def test_online_is_written_to_checkpoints(online):
    assert {key.split(".")[0] for key in online.state_dict()} == {
        "backbone",
        "projector",
        "momentum_backbone",
        "momentum_projector",
    }


def test_build_online_from_nothing():
    config = DistillationConfig(teacher="resnet18", proj_hidden_dim=20, proj_output_dim=10)
    teacher = build_teacher(config, 32)
    assert isinstance(teacher, OnlineTeacher)
    assert [type(layer) for layer in teacher.projector] == [nn.Linear, nn.ReLU, nn.Linear]
    assert (teacher.num_features, teacher.projector[0].out_features) == (512, 20)
    assert teacher.embedding_dim == 10
    assert teacher.identity == {
        "mode": "online",
        "name": "resnet18",
        "checkpoint": None,
        "sha256": None,
        "stem": "small",
        "mean": None,
        "std": None,
        "size": 32,
    }


@pytest.mark.parametrize("projector", [True, False])
def test_build_online_from_a_checkpoint(source, images, tmp_path, projector):
    state = {"module.encoder_q." + key: value for key, value in source.state_dict().items()}
    weight = torch.randn(16, 512)
    if projector:
        state["module.encoder_q.fc.weight"] = weight
    torch.save({"state_dict": state}, path := tmp_path / "t.pth")
    config = DistillationConfig(
        teacher="resnet18",
        teacher_checkpoint=str(path),
        teacher_stem="small",
        proj_hidden_dim=20,
        proj_output_dim=10,
    )
    teacher = build_teacher(config, 32).eval()
    assert isinstance(teacher, OnlineTeacher) and teacher.identity["checkpoint"] == str(path)
    torch.testing.assert_close(teacher.query(images)[0], source(images))
    torch.testing.assert_close(teacher.key(images), teacher.query(images))
    assert teacher.embedding_dim == (16 if projector else 10)
    if projector:
        assert torch.equal(teacher.projector[0].weight, weight)
    assert all(p.requires_grad for p in teacher.backbone.parameters())


def test_build_frozen_keeps_its_weights_out_of_the_checkpoint(source, tmp_path):
    torch.save(source.state_dict(), path := tmp_path / "t.pth")
    config = DistillationConfig(
        teacher="resnet18",
        teacher_mode="frozen",
        teacher_checkpoint=str(path),
        teacher_stem="small",
    )
    teacher = build_teacher(config, 32)
    assert isinstance(teacher, FrozenTeacher) and teacher.state_dict() == {}
    assert teacher.identity["mode"] == "frozen" and len(teacher.identity["sha256"]) == 64
    assert build_backbone("resnet18", 32).num_features == teacher.num_features


@pytest.mark.parametrize("share", [0.0, 0.5, 1.0])
def test_the_first_layers_of_an_online_teacher_can_stay(share):
    config = DistillationConfig(teacher="resnet18", teacher_frozen=share)
    teacher = build_teacher(config, 32)
    learns = [parameter.requires_grad for parameter in teacher.backbone.parameters()]
    kept = int(share * len(learns))
    assert learns == [False] * kept + [True] * (len(learns) - kept)
    assert all(parameter.requires_grad for parameter in teacher.projector.parameters())
    _, embedding = teacher.query(torch.randn(2, 3, 32, 32))
    embedding.sum().backward()
    got = [parameter.grad is not None for parameter in teacher.backbone.parameters()]
    assert got == learns
