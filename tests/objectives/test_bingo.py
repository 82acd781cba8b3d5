import pytest
import torch
from tiny_objective import (
    DIM,
    QUEUE,
    SIZE,
    assert_only_these_get_gradients,
    build,
    fill,
    make_batch,
    rows_of,
)
from torch.nn.functional import normalize
from torch.utils.data import DataLoader, TensorDataset

from solo_rekd.config import BingoConfig
from solo_rekd.lengths import Training
from solo_rekd.modules.queue import KeyQueue
from solo_rekd.objectives import BINGO
from solo_rekd.objectives.bags import Bags
from solo_rekd.utils.errors import UserError

IMAGES, BAG = 20, 3


def make_bags():
    g = torch.Generator().manual_seed(3)
    members = torch.stack([torch.randperm(IMAGES, generator=g)[:BAG] for _ in range(IMAGES)])
    units = torch.randn(IMAGES, DIM, generator=g, dtype=torch.float64)
    return Bags(members, normalize(units, dim=1))


@pytest.fixture
def make(monkeypatch):
    """Builds a float64 BINGO with a tiny teacher and random bags."""

    def run(**settings):
        objective = build(BINGO, monkeypatch, "frozen", teacher_checkpoint="a.pt", **settings)
        objective.bags = make_bags()
        return objective

    return run


def draw(seed=0):
    """A batch of images that are not the first of the training set."""
    places = torch.randperm(IMAGES, generator=torch.Generator().manual_seed(seed))[:5]
    return make_batch(seed=seed)._replace(indexes=places)


def info_nce(query, positive, entries, tau):
    return -torch.log_softmax(torch.stack([positive, *entries]) @ query / tau, 0)[0]


def test_loss_equals_a_slow_loop(make):
    tau = 0.3
    objective = fill(make(temperature=tau))
    batch = draw(seed=9)
    queues = [queue["teacher"].clone() for queue in objective.queues]
    queries = [normalize(objective.projector(f), dim=1) for f in batch.features]
    taught = [objective.teacher(x)[1] for x in batch.images]

    intra = inter = 0
    for v, w in ((0, 1), (1, 0)):  # the queries of view v meet the teacher's embeddings of view w
        for i, place in enumerate(batch.indexes.tolist()):
            q = queries[v][i]
            intra = intra + info_nce(q, taught[w][i], queues[w], tau)
            for member in objective.bags.members[place].tolist():
                positive = objective.bags.embeddings[member]
                inter = inter + info_nce(q, positive, queues[w], tau) / BAG
    intra, inter = intra / 10, inter / 10

    loss, logs = objective(batch, epoch=0)
    close = {"rtol": 0, "atol": 1e-10}
    torch.testing.assert_close(logs["intra_loss"], intra, **close)
    torch.testing.assert_close(logs["inter_loss"], inter, **close)
    expected = intra + inter + logs["teacher_class_loss"]
    torch.testing.assert_close(loss, expected, **close)
    parameters = list(objective.projector.parameters())
    gradients = [torch.autograd.grad(x, parameters, retain_graph=True) for x in (loss, expected)]
    torch.testing.assert_close(*gradients, **close)


def test_similarities_equal_a_loop(make):
    objective, batch = make(), draw(seed=2)
    taught = [objective.teacher(x)[1] for x in batch.images]
    own, bag = [], []
    for view in taught:
        for unit, place in zip(view, batch.indexes.tolist(), strict=True):
            own.append(float(unit @ objective.bags.embeddings[place]))
            members = objective.bags.members[place].tolist()
            bag += [float(unit @ objective.bags.embeddings[member]) for member in members]
    _, logs = objective(batch, epoch=0)
    assert float(logs["own_similarity"]) == pytest.approx(sum(own) / 10)
    assert float(logs["bag_similarity"]) == pytest.approx(sum(bag) / 30)


def test_a_student_that_is_its_teacher_has_the_least_intra_loss(make):
    """With a queue of no direction, among students that turn every embedding by one angle."""
    losses = []
    for angle in (0.0, 0.1, 1.0):
        objective, batch = make(temperature=0.1), draw()
        batch = batch._replace(images=[batch.images[0]] * 2)
        turn = torch.eye(DIM, dtype=torch.float64)
        sin, cos = torch.tensor(angle).sin(), torch.tensor(angle).cos()
        turn[:2, :2] = torch.tensor([[cos, -sin], [sin, cos]])
        unit = objective.teacher(batch.images[0])[1] @ turn.T
        objective.query = lambda _, unit=unit: [unit, unit]
        for queue in objective.queues:
            queue["teacher"].zero_()
        losses.append(float(objective(batch, epoch=0)[1]["intra_loss"]))
    assert losses == sorted(losses)
    assert losses[0] < losses[1] < losses[2]


def test_nothing_but_the_student_and_the_probe_is_trained(make):
    objective, batch = fill(make()), draw(seed=5)
    objective.bags.embeddings.requires_grad_()
    student = [*objective.projector.parameters(), *(f.requires_grad_() for f in batch.features)]
    _, logs = objective(batch, epoch=0)
    probe = list(objective.teacher_classifier.parameters())
    reaches = {"intra_loss": student, "inter_loss": student, "teacher_class_loss": probe}
    assert_only_these_get_gradients(logs, reaches)
    for name in ("intra_loss", "inter_loss"):
        (gradient,) = torch.autograd.grad(
            logs[name], [objective.bags.embeddings], retain_graph=True, allow_unused=True
        )
        assert gradient is None


def test_every_trained_parameter_gets_a_gradient_and_is_in_a_group(make):
    objective = make()
    objective(draw(), epoch=0)[0].backward()
    trained = {name: p for name, p in objective.named_parameters() if p.requires_grad}
    assert [name for name, p in trained.items() if p.grad is None] == []
    grouped = [p for group in objective.learnable_params(0.1, 0.3) for p in group["params"]]
    assert {id(p) for p in grouped} == {id(p) for p in trained.values()}


def test_permuting_the_batch_changes_nothing(make):
    order = torch.tensor([3, 0, 4, 1, 2])
    losses = []
    for permute in (False, True):
        objective, batch = fill(make()), draw(seed=6)
        losses.append(objective(rows_of(batch, order) if permute else batch, epoch=0)[0])
    torch.testing.assert_close(*losses)


def test_unlabelled_data_trains_the_student_as_labelled_data_does(make):
    logs = []
    for known in (True, False):
        batch = draw(seed=6)
        if not known:
            batch.labels.fill_(-1)
        logs.append(fill(make())(batch, epoch=0)[1])
    for name in ("intra_loss", "inter_loss"):
        torch.testing.assert_close(logs[0][name], logs[1][name], rtol=0, atol=0)
    assert not logs[1]["teacher_class_loss"].any()


def test_a_checkpoint_goes_on_exactly_and_holds_no_bags(make):
    first, second = fill(make()), make()
    for value in second.state_dict().values():
        value.add_(1)
    second.load_state_dict(first.state_dict())
    for seed in (11, 12):
        results = [objective(draw(seed=seed), epoch=0) for objective in (first, second)]
        torch.testing.assert_close(*results, rtol=0, atol=0)
    assert not [name for name in first.state_dict() if "bags" in name or "teacher.b" in name]
    assert not [name for name, _ in first.named_buffers() if "bags" in name]


def test_batches_that_do_not_divide_a_queue_fill_it(make):
    objective = make()
    for queue in objective.queues:
        queue["teacher"].zero_()
    fill(objective)
    for queue in objective.queues:
        assert isinstance(queue, KeyQueue) and queue.full
        torch.testing.assert_close(queue["teacher"].norm(dim=1), torch.ones(QUEUE).double())


def test_finds_its_bags_before_training(monkeypatch, tmp_path):
    class Images(TensorDataset):
        """Images as a host's data set gives them, with their places and labels."""

        transform = None

        def __init__(self, number):
            g = torch.Generator().manual_seed(0)
            pixels = torch.randn(number, 3, SIZE, SIZE, generator=g)
            self.data = pixels.numpy()
            super().__init__(torch.arange(number), pixels, torch.full((number,), -1))

    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "default"))
    for given in (None, str(tmp_path / "given")):
        settings = {"teacher_checkpoint": "a.pt", "bag_size": BAG, "teacher_cache": given}
        objective = build(BINGO, monkeypatch, "frozen", **settings).float()
        objective.before_training(
            lambda: DataLoader(Images(IMAGES), batch_size=6), Training(IMAGES, 6, 1, 1)
        )
        assert objective.bags.members.shape == (IMAGES, BAG)
        assert objective.bags.embeddings.shape == (IMAGES, DIM)
    folders = sorted(str(path.parent.relative_to(tmp_path)) for path in tmp_path.rglob("*.safe*"))
    assert folders == ["default/solo-rekd/teachers", "given"]


def test_the_teachers_dictionary_needs_its_width(monkeypatch):
    with pytest.raises(UserError, match=r"^proj_output_dim=5 .* 11, the teacher's embedding"):
        build(BINGO, monkeypatch, "frozen", teacher_dim=11, teacher_checkpoint="a.pt")


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"teacher_mode": "online"}, r"^teacher_mode='online' .* frozen: the bags are found once"),
        ({"teacher_mode": "online", "teacher_checkpoint": "a.pt"}, r"^teacher_mode='online' "),
        ({}, r"^bingo needs teacher_checkpoint=PATH"),
        ({"teacher_checkpoint": "a.pt", "bag_size": 0}, r"^bag_size=0 is not allowed"),
    ],
)
def test_a_mistake_is_refused(settings, message):
    with pytest.raises(UserError, match=message):
        BingoConfig(**settings)
