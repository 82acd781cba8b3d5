"""Settings that make one objective another."""

import torch
from tiny_objective import build, fill, make_batch
from torch import nn
from torch.nn.functional import normalize

from solo_rekd.objectives import SEED, CompRess, DisCo, ReKD
from solo_rekd.teachers import FrozenTeacher

CLOSE = {"rtol": 0, "atol": 1e-10}


def slow_moco(objective, batch, tau=0.2):
    """MoCo's loss, symmetrised, entry by entry, from the student's queues."""
    queries = [normalize(objective.projector(f), dim=1) for f in batch.features]
    keys = [normalize(objective.momentum_projector(f), dim=1) for f in batch.momentum_features]
    loss = 0
    for v, w in ((0, 1), (1, 0)):
        for q, k in zip(queries[v], keys[w], strict=True):
            dictionary = torch.stack([k, *objective.queues[w]["student"].clone()]).detach()
            loss = loss - torch.log_softmax(dictionary @ q / tau, 0)[0] / (2 * len(queries[v]))
    return loss


def assert_trains_as_moco(objective):
    """Loss without the teacher's, and its gradients."""
    batch = make_batch(seed=9)
    moco = slow_moco(objective, batch)
    loss, logs = objective(batch, epoch=0)
    of_student = loss - logs["teacher_nce_loss"] - logs["teacher_class_loss"]
    torch.testing.assert_close(of_student, moco, **CLOSE)
    parameters = list(objective.projector.parameters())
    gradients = [torch.autograd.grad(x, parameters, retain_graph=True) for x in (loss, moco)]
    torch.testing.assert_close(*gradients, **CLOSE)


def test_rekd_with_all_weight_on_the_own_key_is_moco(monkeypatch):
    settings = {"dictionary": "student", "num_prototypes": 4, "teacher_warmup_epochs": 0}
    objective = fill(build(ReKD, monkeypatch, own_weight=1.0, **settings))
    assert objective.bank.ready
    assert_trains_as_moco(objective)


def test_rekd_without_relation_weight_is_moco(monkeypatch):
    assert_trains_as_moco(fill(build(ReKD, monkeypatch, relation_weight=0.0, num_prototypes=4)))


def test_disco_without_consistency_is_moco(monkeypatch):
    assert_trains_as_moco(fill(build(DisCo, monkeypatch, consistency_weight=0.0)))


def test_compress_1q_with_seeds_settings_is_seed(monkeypatch):
    tau, tau_t, size = 0.2, 0.01, 12
    batch = make_batch(1, seed=3)
    batch = batch._replace(
        **{name: [getattr(batch, name)[0]] * 2 for name in ("images", "features")}
    )
    compress = build(
        CompRess, monkeypatch, "frozen", variant="1q", temperature=tau, target_temperature=tau_t,
        queue_size=size + 1,
    )  # fmt: skip
    seed = build(
        SEED, monkeypatch, "frozen", teacher_dim=7, proj_output_dim=7, temperature=tau,
        target_temperature=tau_t, queue_size=size,
    )  # fmt: skip
    # one space: the teacher's pooled features, and one linear head
    backbone, _ = compress.teacher._networks
    seed.teacher = FrozenTeacher(backbone, None)
    seed.projector = nn.Sequential(compress.projector)
    # SEED's dictionary holds the image's own embedding
    own = seed.teacher(batch.images[0])[1]
    seed.queues[1]["teacher"].copy_(seed.queues[0]["teacher"])
    compress.memory["teacher"].copy_(torch.cat([own, seed.queues[0]["teacher"]]))

    dictionary = compress.memory["teacher"].clone()
    p = torch.softmax(dictionary @ own[0] / tau_t, 0)
    entropy = -(p * p.log()).sum()
    query = normalize(compress.projector(batch.features[0]), dim=1)[0]
    divergence = (p * (p.log() - torch.log_softmax(dictionary @ query / tau, 0))).sum()

    losses = [objective(batch, epoch=0)[1]["similarity_loss"] for objective in (compress, seed)]
    torch.testing.assert_close(*losses, **CLOSE)
    torch.testing.assert_close(losses[1], divergence + entropy, **CLOSE)
    parameters = list(compress.projector.parameters())
    gradients = [torch.autograd.grad(x, parameters) for x in (*losses, divergence)]
    torch.testing.assert_close(gradients[0], gradients[1], **CLOSE)
    torch.testing.assert_close(gradients[1], gradients[2], **CLOSE)
