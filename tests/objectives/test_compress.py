import pytest
import torch
from tiny_objective import FEATURES, TEACHER_FEATURES, build, fill, make_batch
from torch import nn
from torch.nn.functional import normalize

from solo_rekd.objectives import CompRess

CLOSE = {"rtol": 0, "atol": 1e-10}


def features_of(teacher, images):
    """The features that a teacher gives as its targets."""
    return normalize((teacher.key if hasattr(teacher, "key") else teacher)(images)[0], dim=1)


@pytest.mark.parametrize("mode", ["online", "frozen"])
@pytest.mark.parametrize("variant", ["1q", "2q"])
@pytest.mark.parametrize("settings", [{}, {"temperature": 0.2, "target_temperature": 0.1}])
def test_loss_equals_a_slow_loop(mode, variant, settings, monkeypatch):
    objective = fill(build(CompRess, monkeypatch, mode, variant=variant, **settings))
    tau, tau_t = settings.get("temperature", 0.04), settings.get("target_temperature", 0.04)
    teacher = objective.teacher
    if mode == "online":  # so that the momentum twin is another network
        with torch.no_grad():
            teacher.momentum_backbone[1].weight.mul_(-1)
    batch = make_batch(seed=9)
    features = [f.requires_grad_() for f in batch.features]
    memory = {name: objective.memory[name].clone() for name in objective.memory.names}
    taught = [features_of(teacher, x) for x in batch.images]

    divergence = entropy = 0
    for view in range(2):
        mapped = features[view] if variant == "2q" else objective.projector(features[view])
        for q, t in zip(normalize(mapped, dim=1), taught[view], strict=True):
            p = torch.softmax(memory["teacher"] @ t / tau_t, 0)
            dictionary = memory["student" if variant == "2q" else "teacher"]
            log_q = torch.log_softmax(dictionary @ q / tau, 0)
            divergence = divergence + sum(p * (p.log() - log_q)) / (2 * len(mapped))
            entropy = entropy - sum(p * p.log()) / (2 * len(mapped))

    loss, logs = objective(batch, epoch=0)
    torch.testing.assert_close(logs["similarity_loss"], divergence + entropy, **CLOSE)
    total = divergence + entropy + logs["teacher_class_loss"]
    if mode == "online":
        total = total + logs["teacher_nce_loss"]
    torch.testing.assert_close(loss, total, **CLOSE)
    trained = [*features, *objective.projector.parameters()]
    gradients = [torch.autograd.grad(x, trained, retain_graph=True) for x in (loss, divergence)]
    torch.testing.assert_close(*gradients, **CLOSE)

    count = 2 * len(taught[0])
    newest = (int(objective.memory.pointer) - count + torch.arange(count)) % 12
    torch.testing.assert_close(objective.memory["teacher"][newest], torch.cat(taught))
    if variant == "2q":  # from the momentum twin, beside the teacher's of the same images
        keys = normalize(torch.cat(batch.momentum_features), dim=1)
        torch.testing.assert_close(objective.memory["student"][newest], keys)


def test_an_online_teacher_trains_in_the_space_of_its_projector(monkeypatch):
    objective = fill(build(CompRess, monkeypatch, "online"))
    teacher, batch = objective.teacher, make_batch(seed=4)
    queues = [queue["teacher"].clone() for queue in objective.queues]
    expected = 0
    for v, w in ((0, 1), (1, 0)):
        queries, keys = teacher.query(batch.images[v])[1], teacher.key(batch.images[w])[1]
        for q, k in zip(queries, keys, strict=True):
            log_p = torch.log_softmax(torch.stack([k, *queues[w]]) @ q / 0.2, 0)
            expected = expected - log_p[0] / (2 * len(queries))
    _, logs = objective(batch, epoch=0)
    torch.testing.assert_close(logs["teacher_nce_loss"], expected, **CLOSE)


def test_the_head_is_none_or_one_layer_into_the_teachers_space(monkeypatch):
    assert isinstance(build(CompRess, monkeypatch, "frozen").projector, nn.Identity)
    linear = build(CompRess, monkeypatch, "frozen", variant="1q").projector
    assert (linear.in_features, linear.out_features) == (FEATURES, TEACHER_FEATURES)


def test_a_frozen_teacher_leaves_no_queue_but_the_memory(monkeypatch):
    one, two = (build(CompRess, monkeypatch, "frozen", variant=v) for v in ("1q", "2q"))
    assert one.memory.names == ("teacher",)
    assert two.memory.names == ("teacher", "student")
    assert not [name for name in two.state_dict() if name.startswith("queues")]


def test_any_width_of_the_teachers_embedding_will_do(monkeypatch):
    objective = fill(build(CompRess, monkeypatch, "frozen", teacher_dim=11))
    assert objective(make_batch(), epoch=0)[0].isfinite()


def test_half_precision_features_are_normalised_in_the_memorys(monkeypatch):
    objective = build(CompRess, monkeypatch, "frozen").float()
    batch = make_batch(seed=2)
    batch = batch._replace(
        images=[view.float() for view in batch.images],
        features=[view.bfloat16() for view in batch.features],
        momentum_features=[view.bfloat16() for view in batch.momentum_features],
    )
    with torch.autocast("cpu", dtype=torch.bfloat16):
        _, logs = objective(batch, epoch=0)
    assert logs["similarity_loss"].dtype == torch.float32
    norms = objective.memory["teacher"][:10].norm(dim=1)
    torch.testing.assert_close(norms, torch.ones(10), rtol=0, atol=1e-6)
