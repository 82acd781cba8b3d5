# Copyright 2023 solo-learn development team.

# Permission is hereby granted, free of charge, to any person obtaining a copy of
# this software and associated documentation files (the "Software"), to deal in
# the Software without restriction, including without limitation the rights to use,
# copy, modify, merge, publish, distribute, sublicense, and/or sell copies of the
# Software, and to permit persons to whom the Software is furnished to do so,
# subject to the following conditions:

# The above copyright notice and this permission notice shall be included in all copies
# or substantial portions of the Software.

# THE SOFTWARE IS PROVIDED "AS IS", WITHOUT WARRANTY OF ANY KIND, EXPRESS OR IMPLIED,
# INCLUDING BUT NOT LIMITED TO THE WARRANTIES OF MERCHANTABILITY, FITNESS FOR A PARTICULAR
# PURPOSE AND NONINFRINGEMENT. IN NO EVENT SHALL THE AUTHORS OR COPYRIGHT HOLDERS BE LIABLE
# FOR ANY CLAIM, DAMAGES OR OTHER LIABILITY, WHETHER IN AN ACTION OF CONTRACT, TORT OR
# OTHERWISE, ARISING FROM, OUT OF OR IN CONNECTION WITH THE SOFTWARE OR THE USE OR OTHER
# DEALINGS IN THE SOFTWARE.

import pytest
import torch
import torch.nn.functional as F
from solo.methods import ReKD
from solo.methods.base import BaseMethod
from solo.utils.prototypes import PrototypeBank

from .utils import gen_base_cfg, gen_batch, gen_trainer, prepare_dummy_dataloaders

BATCH_SIZE = 4


def gen_cfg(dataset="cifar10", num_classes=10, **method_kwargs):
    cfg = gen_base_cfg("rekd", batch_size=BATCH_SIZE, num_classes=num_classes, momentum=True)
    cfg.data.dataset = dataset
    cfg.method_kwargs = {
        "proj_output_dim": 16,
        "proj_hidden_dim": 32,
        "queue_size": 2 * BATCH_SIZE,
        "teacher": {"name": "resnet18"},
        "teacher_warmup_epochs": 0,
        "num_prototypes": 3,
        **method_kwargs,
    }
    return cfg


def gen_started_model(**method_kwargs):
    """Creates a model with full queues, so that the prototypes start in the next step."""
    model = ReKD(gen_cfg(**method_kwargs))
    for _ in range(2):
        model.training_step(*gen_batch(BATCH_SIZE, 10, "cifar10"))
    return model


def gen_logs(model):
    logs = {}
    model.log_dict = lambda metrics, **kwargs: logs.update(metrics)
    return logs


def test_rekd():
    cfg = gen_cfg("custom", num_classes=100)
    model = ReKD(cfg)

    # test arguments
    model.add_and_assert_specific_cfg(cfg)

    # test parameters, all that have gradients are trained and all others are momentum copies
    params = [p for group in model.learnable_params for p in group["params"]]
    assert {id(p) for p in params} == {id(p) for p in model.parameters() if p.requires_grad}
    params = [p for _, momentum in model.momentum_pairs for p in momentum.parameters()]
    assert {id(p) for p in params} == {id(p) for p in model.parameters() if not p.requires_grad}

    # test forward
    batch, _ = gen_batch(cfg.optimizer.batch_size, cfg.data.num_classes, "imagenet100")
    out = model(batch[1][0])
    assert out["logits"].size() == (cfg.optimizer.batch_size, cfg.data.num_classes)
    assert out["feats"].size() == (cfg.optimizer.batch_size, model.features_dim)
    assert out["z"].size() == (cfg.optimizer.batch_size, cfg.method_kwargs.proj_output_dim)

    momentum_out = model.momentum_forward(batch[1][0])
    assert momentum_out["feats"].size() == (cfg.optimizer.batch_size, model.features_dim)
    assert momentum_out["z"].size() == (cfg.optimizer.batch_size, cfg.method_kwargs.proj_output_dim)
    assert not momentum_out["z"].requires_grad

    teacher_z = model.teacher_forward(batch[1][0])
    assert teacher_z.size() == (cfg.optimizer.batch_size, cfg.method_kwargs.proj_output_dim)
    assert not model.momentum_teacher_forward(batch[1][0]).requires_grad


@pytest.mark.parametrize("dataset, num_classes", [("imagenet100", 100), ("cifar10", 10)])
def test_rekd_trains(dataset, num_classes):
    cfg = gen_cfg(dataset, num_classes)
    model = ReKD(cfg)
    initial = {name: param.clone() for name, param in model.named_parameters()}

    trainer = gen_trainer(cfg)
    train_dl, val_dl = prepare_dummy_dataloaders(
        dataset,
        num_large_crops=cfg.data.num_large_crops,
        num_small_crops=0,
        num_classes=cfg.data.num_classes,
        batch_size=cfg.optimizer.batch_size,
    )
    trainer.fit(model, train_dl, val_dl)

    assert all(param.isfinite().all() for param in model.parameters())
    for name in ["backbone", "projector", "teacher", "momentum_backbone", "momentum_teacher"]:
        params = [k for k in initial if k.startswith(f"{name}.") and k.endswith("weight")]
        assert any(not torch.equal(initial[k], model.get_parameter(k)) for k in params), name


def test_rekd_default_cfg():
    cfg = gen_base_cfg("rekd", batch_size=BATCH_SIZE, num_classes=10, momentum=True)
    cfg = ReKD.add_and_assert_specific_cfg(cfg)
    assert cfg.method_kwargs.teacher.name == "resnet50"
    for wrong in [{"dictionary": "none"}, {"own_weight": 2}, {"teacher": {"name": "resnet1"}}]:
        with pytest.raises(AssertionError):
            ReKD.add_and_assert_specific_cfg(gen_cfg(**wrong))


@pytest.mark.parametrize("teacher", ["resnet18", "vit_tiny"])
def test_rekd_teachers(teacher):
    assert teacher in BaseMethod._BACKBONES
    model = ReKD(gen_cfg("custom", teacher={"name": teacher}))
    X = torch.randn(2, 3, 224, 224)
    assert model.teacher_forward(X).size() == (2, 16)


def test_rekd_queues():
    model = ReKD(gen_cfg(teacher_warmup_epochs=1))
    for i in range(3):
        keys, teacher_keys = torch.randn(2, 2, BATCH_SIZE, 16)
        ids = torch.full((BATCH_SIZE,), i)
        model._dequeue_and_enqueue(keys, teacher_keys, ids)
        assert bool(model.queue_full) == (i >= 1)
    # the third batch has replaced the first
    assert torch.equal(model.queue[:, :, :BATCH_SIZE], keys.transpose(1, 2))
    assert torch.equal(model.teacher_queue[:, :, :BATCH_SIZE], teacher_keys.transpose(1, 2))
    assert model.queue_ids.tolist() == BATCH_SIZE * [2] + BATCH_SIZE * [1]


def test_rekd_relation_starts():
    model = ReKD(gen_cfg())
    logs = gen_logs(model)
    # two batches fill the queues
    for step in range(5):
        logs.clear()
        loss = model.training_step(*gen_batch(BATCH_SIZE, 10, "cifar10"))
        assert loss.isfinite()
        assert model.prototypes.started == (step >= 2)
        assert ("train_relation_loss" in logs) == (step >= 2)
    assert (model.queue_ids >= 0).all()
    assert logs["train_active_prototypes"] >= 1
    assert 0 <= logs["train_positives_per_query"] <= model.queue_size

    # until the teacher is warmed up, relations do not count
    model = gen_started_model(teacher_warmup_epochs=1)
    logs = gen_logs(model)
    model.training_step(*gen_batch(BATCH_SIZE, 10, "cifar10"))
    assert "train_relation_loss" not in logs


def test_rekd_prototypes_of_the_queues_are_aligned():
    model = gen_started_model(prototype_momentum=1.0)
    model.training_step(*gen_batch(BATCH_SIZE, 10, "cifar10"))
    images = model.teacher_queue.sum(0).T
    assert torch.equal(model.queue_ids, model.prototypes.assign(images))


@pytest.mark.parametrize("dictionary", ["student", "teacher", "both"])
def test_rekd_has_no_gradient_between_student_and_teacher(dictionary):
    model = gen_started_model(dictionary=dictionary)
    logs = gen_logs(model)
    model.training_step(*gen_batch(BATCH_SIZE, 10, "cifar10"))

    student = [*model.backbone.parameters(), *model.projector.parameters()]
    teacher = [*model.teacher.parameters()]
    for name, trained, other in [
        ("train_relation_loss", student, teacher),
        ("train_teacher_nce_loss", teacher, student),
    ]:
        grads = torch.autograd.grad(
            logs[name], trained + other, retain_graph=True, allow_unused=True
        )
        assert all(grad is not None for grad in grads[: len(trained)])
        assert all(grad is None for grad in grads[len(trained) :])


def test_rekd_unlabelled():
    model = gen_started_model()
    batch, batch_idx = gen_batch(BATCH_SIZE, 10, "cifar10")
    batch[-1] = torch.full_like(batch[-1], -1)
    model.training_step(batch, batch_idx).backward()
    for modules in [model.backbone, model.projector, model.teacher]:
        grads = [param.grad for param in modules.parameters()]
        assert all(grad.isfinite().all() for grad in grads)
        assert any(grad.abs().sum() > 0 for grad in grads)


def test_rekd_overflow():
    model = gen_started_model()
    batch, batch_idx = gen_batch(BATCH_SIZE, 10, "cifar10")
    batch[1][0].data[1] = float("inf")
    assert not model.training_step(batch, batch_idx).isfinite()
    # the step is skipped by the gradient scaler, what the method remembers stays
    for memory in [model.queue, model.teacher_queue, model.prototypes.prototypes]:
        assert memory.isfinite().all()


def test_prototype_bank():
    torch.manual_seed(0)
    ids = torch.arange(40) % 4
    embeddings = F.normalize(torch.eye(4, 16)[ids] + 0.01 * torch.randn(40, 16), dim=1)

    bank = PrototypeBank(num_prototypes=4, dim=16, momentum=0.5, patience=4)
    assert not bank.started and (bank.assign(embeddings) == -1).all()

    # finds the clusters
    bank.start(embeddings)
    assert bank.started
    assigned = bank.assign(embeddings)
    assert len(torch.stack([ids, assigned]).unique(dim=1).T) == 4

    # moves the prototypes that have members, the others stay
    before = bank.prototypes.clone()
    chosen = int(assigned[0])
    bank.update(embeddings[:1], assigned[:1])
    expected = F.normalize(0.5 * before[chosen] + 0.5 * embeddings[0], dim=0)
    assert torch.allclose(bank.prototypes[chosen], expected, atol=1e-6)
    others = torch.arange(4) != chosen
    assert torch.equal(bank.prototypes[others], before[others])

    # puts those that are idle for long onto an embedding
    candidates = embeddings[0::4][:3]
    bank.update(candidates, assigned[0::4][:3])
    assert all((candidates == prototype).all(1).any() for prototype in bank.prototypes[others])
