"""What holds for every objective without a state of its own beyond its queues."""

import pytest
import torch
from tiny_objective import (
    QUEUE,
    assert_only_these_get_gradients,
    build,
    fill,
    make_batch,
    rows_of,
)

from solo_rekd.checkpoints import build_projector
from solo_rekd.lengths import Training
from solo_rekd.modules.queue import KeyQueue
from solo_rekd.objectives import CRCD, SEED, Batch, CompRess, DisCo, ReKD
from solo_rekd.utils.errors import UserError

CASES = {
    "disco": (DisCo, {}, ("nce_loss", "consistency_loss")),
    "seed": (SEED, {}, ("similarity_loss",)),
    "compress 1q": (CompRess, {"variant": "1q"}, ("similarity_loss",)),
    "compress 2q": (CompRess, {"variant": "2q"}, ("similarity_loss",)),
    "crcd": (CRCD, {}, ("nce_loss", "relation_loss", "gradient_loss")),
}


@pytest.fixture(params=["online", "frozen"])
def mode(request):
    return request.param


@pytest.fixture(params=CASES)
def case(request):
    return CASES[request.param]


@pytest.fixture
def make(case, monkeypatch):
    """Builds a float64 objective with a tiny teacher."""

    def run(mode="online", **settings):
        return build(case[0], monkeypatch, mode, **case[1] | settings)

    return run


def test_the_students_head_is_of_two_layers_or_linear(make, case, mode):
    if case[0] is CompRess:
        with pytest.raises(UserError, match=r"^projector='linear' is not allowed: expected mlp$"):
            make(mode, projector="linear")
        return
    for projector, layers in (("mlp", 3), ("linear", 1)):
        objective = fill(make(mode, projector=projector))
        assert len(objective.projector) == layers
        if objective.momentum_projector is not None:
            assert len(objective.momentum_projector) == layers
        loss, _ = objective(make_batch(), epoch=0)
        loss.backward()
        assert all(parameter.grad.any() for parameter in objective.projector.parameters())
    saved = build_projector(objective.projector.state_dict()).double()
    features = make_batch().features[0]
    torch.testing.assert_close(saved(features), objective.projector(features))


def test_student_and_teacher_do_not_train_each_other(make, case):
    objective = fill(make())
    batch = make_batch(seed=5)
    student = [*objective.projector.parameters(), *(f.requires_grad_() for f in batch.features)]
    _, logs = objective(batch, epoch=0)
    reaches = dict.fromkeys(case[2], student)
    reaches["teacher_nce_loss"] = [p for p in objective.teacher.parameters() if p.requires_grad]
    reaches["teacher_class_loss"] = list(objective.teacher_classifier.parameters())
    assert_only_these_get_gradients(logs, reaches)


def test_every_trained_parameter_gets_a_gradient_and_is_in_a_group(make, mode):
    objective = make(mode)
    loss, _ = objective(make_batch(), epoch=0)
    loss.backward()
    trained = {name: p for name, p in objective.named_parameters() if p.requires_grad}
    assert [name for name, p in trained.items() if p.grad is None] == []
    grouped = [p for group in objective.learnable_params(0.1, 0.3) for p in group["params"]]
    assert {id(p) for p in grouped} == {id(p) for p in trained.values()}
    momentum = {id(p) for _, twin in objective.momentum_pairs for p in twin.parameters()}
    assert momentum == {id(p) for p in objective.parameters() if not p.requires_grad}


def test_a_frozen_teacher_has_no_loss_of_its_own(make):
    _, logs = fill(make("frozen"))(make_batch(), epoch=0)
    assert "teacher_nce_loss" not in logs
    assert "teacher_acc1" in logs


def test_the_training_set_is_not_looked_at_beforehand(make, mode):
    def never():
        raise AssertionError("a loader of the training images was asked for")

    make(mode).before_training(never, Training(6, 6, 1, 20))


@pytest.mark.parametrize(
    ("epochs", "said"),
    [
        (QUEUE * 10 // 6, "never"),  # of which an objective's keys take twice as many
        (QUEUE * 10, None),
    ],
)
def test_a_queue_that_is_filled_late_is_reported(epochs, said, make, mode, caplog):
    objective = make(mode)
    keys = objective.config.KEYS_PER_IMAGE
    for batch in (1, QUEUE):  # which the first step fills
        caplog.clear()
        objective.before_training(lambda: None, Training(batch, batch, 1, epochs // keys))
        reported = f"queue_size={QUEUE} is " in caplog.text
        assert reported == (said is not None and batch == 1)
    caplog.clear()
    objective.before_training(lambda: None, Training(1, 1, 1, 2))
    assert f"queue_size={QUEUE} is never filled: the training sees 2 images" in caplog.text


def test_permuting_the_batch_changes_nothing(make, mode):
    order = torch.tensor([3, 0, 4, 1, 2])
    losses = []
    for permute in (False, True):
        objective = fill(make(mode))
        batch = make_batch(seed=6)
        losses.append(objective(rows_of(batch, order) if permute else batch, epoch=0)[0])
    torch.testing.assert_close(*losses)


def test_unlabelled_data_trains_the_student_as_labelled_data_does(make, mode, case):
    logs = []
    for known in (True, False):
        batch = make_batch(seed=6)
        if not known:
            batch.labels.fill_(-1)
        loss, found = fill(make(mode))(batch, epoch=0)
        assert loss.isfinite()
        logs.append(found)
    for name in case[2]:
        torch.testing.assert_close(logs[0][name], logs[1][name], rtol=0, atol=0)
    assert not logs[1]["teacher_class_loss"].any()


def test_a_checkpoint_goes_on_exactly(make, mode):
    first, second = fill(make(mode)), make(mode)
    for value in second.state_dict().values():
        value.add_(1)
    second.load_state_dict(first.state_dict())
    for seed in (11, 12):
        results = [objective(make_batch(seed=seed), epoch=0) for objective in (first, second)]
        torch.testing.assert_close(*results, rtol=0, atol=0)
    torch.testing.assert_close(first.state_dict(), second.state_dict(), rtol=0, atol=0)


def test_batches_that_do_not_divide_a_queue_fill_it(make, mode):
    objective = make(mode)
    queues = [module for module in objective.modules() if isinstance(module, KeyQueue)]
    contents = [queue[name] for queue in queues for name in queue.names]
    for content in contents:
        content.zero_()
    fill(objective)
    assert all(queue.full for queue in queues)
    for content in contents:
        torch.testing.assert_close(content.norm(dim=1), torch.ones(QUEUE).double())


REKD = {"num_prototypes": 3, "teacher_warmup_epochs": 0, "relation_view": "views"}
ALL = CASES | {
    "rekd": (ReKD, REKD, ("relation_loss",)),
    "crcd labels": (CRCD, {"gradient_task": "labels"}, ("gradient_loss",)),
}


@pytest.mark.parametrize("name", ALL)
def test_networks_in_bfloat16_train(name, mode, monkeypatch):
    objective_class, settings, losses = ALL[name]
    objective = build(objective_class, monkeypatch, mode, **settings).to(torch.bfloat16)
    for seed in range(5):
        batch = make_batch(seed=seed)
        halves = [[view.bfloat16() for view in views] for views in batch[:3]]
        loss, logs = objective(Batch(*halves, batch.labels, batch.indexes), epoch=0)
    assert all(logs[name].isfinite() for name in losses)
    loss.backward()
    trained = [p for p in objective.parameters() if p.requires_grad]
    assert all(p.grad.isfinite().all() for p in trained)


@pytest.mark.parametrize("twin", ["student", "teacher"])
@pytest.mark.parametrize("name", ALL)
def test_an_image_that_float16_cannot_hold_stays_in_no_memory(name, twin, mode, monkeypatch):
    objective_class, settings, _ = ALL[name]
    objective = fill(build(objective_class, monkeypatch, mode, **settings))
    spoiled = make_batch(seed=5)
    for view in spoiled.momentum_features if twin == "student" else spoiled.images:
        view[2] = torch.nan
    loss, _ = objective(spoiled, epoch=0)
    if (twin, mode) == ("teacher", "online"):
        assert loss.isnan()  # its queries have gradients, which are not to be hidden
    else:
        assert loss.isfinite()
    assert all(buffer.isfinite().all() for buffer in objective.buffers())
    assert objective(make_batch(seed=6), epoch=0)[0].isfinite()


@pytest.mark.parametrize(("factor", "rate"), [(1.0, None), (0.1, 0.03)])
def test_an_online_teacher_may_have_a_learning_rate_of_its_own(make, factor, rate):
    groups = {group["name"]: group for group in make(teacher_lr=factor).learnable_params(0.1, 0.3)}
    assert groups["teacher"].get("lr") == (None if rate is None else pytest.approx(rate))
    assert "lr" not in groups["projector"]
