"""No objective does work that nobody asked for, or waits for the device."""

import pytest
import torch
from tiny_objective import DIM, build, fill, make_batch
from waits import NoWaits

from solo_rekd.objectives import BINGO, CRCD, SEED, CompRess, CoSS, DisCo, ReKD, SimReg
from solo_rekd.objectives.bags import Bags
from solo_rekd.teachers import FrozenTeacher

REKD = {"num_prototypes": 3, "teacher_warmup_epochs": 0, "relation_view": "views"}
ONLINE = {
    "disco": (DisCo, {}),
    "seed": (SEED, {}),
    "seed, queue first": (SEED, {"queue_first": "on", "projector": "linear"}),
    "compress 1q": (CompRess, {"variant": "1q"}),
    "compress 2q": (CompRess, {"variant": "2q"}),
    "simreg": (SimReg, {}),
    "coss": (CoSS, {"neighbours": 0}),
    "crcd": (CRCD, {}),
    "crcd labels": (CRCD, {"gradient_task": "labels"}),
    "rekd": (ReKD, REKD),
    "rekd student": (ReKD, REKD | {"dictionary": "student"}),
    "rekd teacher": (ReKD, REKD | {"dictionary": "teacher"}),
    "rekd teacher, other view": (ReKD, REKD | {"dictionary": "teacher", "teacher_view": "other"}),
    "rekd teacher, warmed up": (
        ReKD,
        REKD | {"dictionary": "teacher", "teacher_warmup_epochs": 2},
    ),
    "rekd teacher, half": (ReKD, REKD | {"dictionary": "teacher", "relation_weight": 0.5}),
    "rekd teacher, labels": (ReKD, REKD | {"dictionary": "teacher", "relation": "labels"}),
    "rekd teacher, soft": (
        ReKD,
        REKD | {"dictionary": "teacher", "assignment_temperature": 0.1},
    ),
}
CASES = [(name, mode) for name in ONLINE for mode in ("online", "frozen")] + [("bingo", "frozen")]


@pytest.fixture(params=CASES, ids=" ".join)
def make(request, monkeypatch):
    """Builds an objective; the settings that are given come on top of the case's."""
    name, mode = request.param

    def run(**settings):
        if name == "bingo":
            objective = build(BINGO, monkeypatch, mode, **settings)
            members = torch.arange(20)[:, None].add(torch.arange(1, 4)).remainder(20)
            objective.bags = Bags(members, torch.eye(DIM).repeat(4, 1).double())
            return objective
        return build(ONLINE[name][0], monkeypatch, mode, **ONLINE[name][1] | settings)

    return run


def twins_of_the_student(objective):
    teachers = {id(twin) for _, twin in getattr(objective.teacher, "momentum_pairs", [])}
    return [twin for _, twin in objective.momentum_pairs if id(twin) not in teachers]


def test_there_is_a_momentum_twin_where_its_keys_are_read_and_nowhere_else(make):
    objective = make()
    batch = make_batch(seed=9)
    if not objective.config.reads_momentum:
        assert twins_of_the_student(objective) == []
        for seed in range(5):
            objective(make_batch(seed=seed)._replace(momentum_features=[]), epoch=0)
        return
    assert len(twins_of_the_student(objective)) == 1
    other = [features.flip(0) for features in batch.momentum_features]
    told = []
    for momentum in (batch.momentum_features, other):
        objective = fill(make())
        for seed in (9, 10):  # a memory is read before the batch is pushed
            loss, _ = objective(make_batch(seed=seed)._replace(momentum_features=momentum), epoch=0)
        told.append(loss.detach())
    assert told[0] != told[1]


def test_no_step_waits_for_the_device(make):
    objective = fill(make())
    objective(make_batch(seed=8), epoch=0)  # in which it may look at things once
    for seed in (9, 10):
        with NoWaits():
            loss, _ = objective(make_batch(seed=seed), epoch=0)
            loss.backward()


def test_the_watch_sees_what_waits():
    values = torch.arange(4.0)
    waiting = [
        lambda: values[0].item(),
        lambda: bool(values.any()),
        lambda: int(values.sum()),
        lambda: values[values > 1],
        lambda: values.masked_fill_(values > 1, 0)[values > 1],
        lambda: values.nonzero(),
        lambda: torch.bincount(values.long()),
        lambda: values.unique(),
        lambda: torch.equal(values, values),
        lambda: values.tolist(),
        lambda: values.numpy(),
        lambda: values.__setitem__(values > 1, values[:2]),
    ]
    for wait in waiting:
        with pytest.raises(AssertionError), NoWaits():
            wait()


def test_a_frozen_teacher_runs_once_a_step(make):
    objective = make()
    frozen = isinstance(objective.teacher, FrozenTeacher)
    teacher = objective.teacher
    seen = []
    (teacher._networks[0] if frozen else teacher.backbone).register_forward_hook(
        lambda module, images, out: seen.append((len(images[0]), torch.is_inference(out)))
    )
    objective(make_batch(size=5), epoch=0)
    # BatchNorm of an online one takes the statistics of each view
    assert seen == ([(10, True)] if frozen else [(5, False)] * 2)


def test_the_teachers_probe_costs_nothing_when_it_is_off(make):
    with_probe, without = fill(make()), make(teacher_probe="off")
    state = with_probe.state_dict()
    probes = {name for name in state if name.startswith("teacher_classifier.")}
    assert probes and set(without.state_dict()) == set(state) - probes
    without.load_state_dict({name: state[name] for name in set(state) - probes})
    names = {group["name"] for group in without.learnable_params(0.1, 0.3)}
    assert "teacher_classifier" not in names
    (loss, logs), (own, own_logs) = (
        objective(make_batch(seed=7), epoch=0) for objective in (with_probe, without)
    )
    assert set(logs) - set(own_logs) == {"teacher_class_loss", "teacher_acc1"}
    torch.testing.assert_close(own, loss - logs["teacher_class_loss"])


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_no_step_synchronises_a_gpu(make):
    def step(objective, seed):
        images, features, momentum, labels, indexes, _ = make_batch(seed=seed)
        moved = [[view.cuda() for view in views] for views in (images, features, momentum)]
        batch = type(make_batch())(*moved, labels.cuda(), indexes)
        torch.cuda.set_sync_debug_mode("error" if seed > 8 else "default")
        try:
            objective(batch, epoch=0)[0].backward()
        finally:
            torch.cuda.set_sync_debug_mode("default")

    objective = make().cuda()
    if hasattr(objective, "bags"):
        objective.bags = Bags(*(each.cuda() for each in objective.bags))
    for seed in range(11):
        step(objective, seed)
