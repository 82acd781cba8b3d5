import pytest
import torch
from torch.autograd import gradcheck
from torch.autograd.graph import saved_tensors_hooks
from torch.nn.functional import normalize

from solo_rekd.losses import relation_difference as module
from solo_rekd.losses import relation_difference_loss

CLOSE = {"rtol": 0, "atol": 1e-10}


def draw(batch=5, entries=9, dim=4, seed=0, spread=1.0):
    """Student, teacher and their queues: unit vectors in float64, around one point of the sphere.

    Args:
        spread: distance from that point, about; 1 is far.
    """
    generator = torch.Generator().manual_seed(seed)
    middle = normalize(torch.randn(dim, generator=generator, dtype=torch.float64), dim=0)
    sizes = (batch, batch, entries, entries)
    return [
        normalize(
            (1 - min(spread, 1)) * middle
            + spread * normalize(torch.randn(n, dim, generator=generator, dtype=torch.float64)),
            dim=1,
        )
        for n in sizes
    ]


def slow(student, teacher, student_queue, teacher_queue, temperature):
    """One softmax a pair and a direction, from explicit differences."""

    def relation(x, anchor):
        difference = x - anchor
        return difference / difference.norm().clamp(min=module.CLOSEST)

    losses = []
    for a, anchor in enumerate(teacher):
        for i in range(len(student)):
            if i == a:
                continue
            r_s, r_t = relation(student[i], anchor), relation(teacher[i], anchor)
            for query, own, queue in ((r_s, r_t, teacher_queue), (r_t, r_s, student_queue)):
                dictionary = torch.stack([own, *(relation(entry, anchor) for entry in queue)])
                losses.append(-torch.log_softmax(dictionary @ query / temperature, 0)[0])
    return 2 * torch.stack(losses).mean()


def assert_equals_the_slow_loop(inputs, temperature=0.05):
    student = inputs[0].requires_grad_()
    losses = [loss(*inputs, temperature) for loss in (relation_difference_loss, slow)]
    torch.testing.assert_close(*losses, **CLOSE)
    gradients = [torch.autograd.grad(loss, student)[0] for loss in losses]
    torch.testing.assert_close(*gradients, **CLOSE)


@pytest.mark.parametrize("temperature", [0.05, 0.5])
@pytest.mark.parametrize("seed", range(3))
def test_equals_the_slow_loop(seed, temperature):
    assert_equals_the_slow_loop(draw(seed=seed), temperature)


def test_equals_the_slow_loop_on_embeddings_close_together():
    assert_equals_the_slow_loop(draw(spread=0.05), 0.5)


def test_equals_the_slow_loop_where_embeddings_coincide():
    student, teacher, student_queue, teacher_queue = draw()
    teacher[1] = teacher[0]  # the same image twice
    teacher_queue[2] = student_queue[3] = teacher[3]  # entries that are anchors
    student[4] = teacher[2] + 1e-4 * (student[4] - teacher[2])  # closer than CLOSEST
    assert_equals_the_slow_loop([student, teacher, student_queue, teacher_queue], 0.5)


def test_gradcheck():
    student, *constants = draw(batch=3, entries=4)
    assert gradcheck(
        lambda s: relation_difference_loss(s, *constants, 0.2), student.requires_grad_()
    )


@pytest.mark.parametrize("logits", [1, 2 * 5 * 9, 3 * 5 * 9, 10**6])
def test_the_chunk_size_changes_nothing(logits, monkeypatch):
    monkeypatch.setattr(module, "LOGITS", logits)
    assert_equals_the_slow_loop(draw())


def test_a_single_image_has_no_pair():
    inputs = draw(batch=1)
    loss = relation_difference_loss(inputs[0].requires_grad_(), *inputs[1:], 0.05)
    loss.backward()
    assert float(loss.detach()) == 0
    assert not inputs[0].grad.any()


def test_only_the_student_gets_a_gradient():
    inputs = [x.requires_grad_() for x in draw()]
    relation_difference_loss(*inputs, 0.05).backward()
    assert inputs[0].grad.abs().sum() > 0
    assert [x.grad for x in inputs[1:]] == [None] * 3


def test_permuting_the_batch_or_the_queues_changes_nothing():
    inputs = draw()
    before = relation_difference_loss(*inputs, 0.05)
    batch, queue = torch.tensor([2, 0, 3, 1, 4]), torch.randperm(9)
    permuted = [inputs[0][batch], inputs[1][batch], inputs[2][queue], inputs[3][queue.flip(0)]]
    torch.testing.assert_close(before, relation_difference_loss(*permuted, 0.05))


def test_a_student_like_its_teacher_has_nothing_to_learn():
    """Exactly so where no entry of a queue is confused with the batch: it is on another side."""
    _, teacher, student_queue, teacher_queue = draw(dim=16)
    side = torch.zeros(16, dtype=torch.float64)
    side[0] = 3
    teacher = normalize(teacher + side, dim=1)
    queues = [normalize(queue - side, dim=1) for queue in (student_queue, teacher_queue)]
    gradients = []
    for noise in (0, 1):
        student = normalize(teacher + noise * draw(dim=16, seed=1)[0], dim=1).requires_grad_()
        loss = relation_difference_loss(student, teacher, *queues, 0.05)
        gradients.append(float(torch.autograd.grad(loss, student)[0].norm()))
    assert gradients[0] < 1e-4
    assert gradients[1] > 100 * gradients[0]


def test_a_free_student_comes_to_its_teacher():
    student, *constants = draw(batch=6, entries=40, dim=8)
    free = student.clone().requires_grad_()
    optimizer = torch.optim.Adam([free], lr=0.02)
    for _ in range(300):
        optimizer.zero_grad()
        relation_difference_loss(normalize(free, dim=1), *constants, 0.05).backward()
        optimizer.step()
    teacher = constants[0]
    before, after = ((normalize(x, dim=1) * teacher).sum(1) for x in (student, free.detach()))
    assert before.max() < 0.7
    assert after.min() > 0.9


@pytest.mark.parametrize("spread", [1.0, 0.1, 0.03])
def test_float32_agrees_with_explicit_differences_in_float64(spread):
    inputs = [x.float() for x in draw(batch=8, entries=50, dim=128, spread=spread)]
    # and a student on its neighbour's place, almost
    inputs[0][0] = normalize(inputs[1][1] + 0.01 * spread * inputs[0][0], dim=0)
    exact = [x.double() for x in inputs]
    losses, gradients = [], []
    for loss, tensors in ((relation_difference_loss, inputs), (slow, exact)):
        tensors[0].requires_grad_()
        losses.append(loss(*tensors, 0.05).double())
        gradients.append(torch.autograd.grad(losses[-1], tensors[0])[0].double())
    torch.testing.assert_close(*losses, rtol=1e-4, atol=0)
    error = (gradients[0] - gradients[1]).norm(dim=1) / gradients[1].norm(dim=1)
    assert error.max() < 1e-4


@pytest.mark.parametrize("autocast", [False, True])
def test_half_precision_runs_in_float32(autocast):
    inputs = [x.bfloat16() for x in draw()]
    with torch.autocast("cpu", dtype=torch.bfloat16, enabled=autocast):
        loss = relation_difference_loss(*inputs, 0.05)
    assert loss.dtype == torch.float32
    exact = slow(*(x.double() for x in inputs), 0.05)
    torch.testing.assert_close(loss.double(), exact, rtol=1e-5, atol=0)


class Held:
    """A tensor that a graph holds; the class counts the elements of all that are held at once."""

    now = peak = 0

    def __init__(self, tensor):
        self.tensor = tensor
        Held.now += tensor.numel()
        Held.peak = max(Held.peak, Held.now)

    def __del__(self):
        Held.now -= self.tensor.numel()


def most_held(loss, batch):
    """The largest number of elements that graphs hold at once, in forward and backward."""
    Held.now = Held.peak = 0
    student, *constants = draw(batch=batch, entries=64)
    with saved_tensors_hooks(Held, lambda held: held.tensor):
        loss(student.requires_grad_(), *constants, 0.05).backward()
    return Held.peak


def all_anchors_at_once(student, teacher, student_queue, teacher_queue, temperature):
    return module.sum_over_anchors(
        teacher,
        torch.arange(len(student)),
        student,
        teacher,
        student_queue,
        teacher_queue,
        student @ teacher_queue.T,
        teacher @ student_queue.T,
        temperature,
    ) / (len(student) * (len(student) - 1))


def test_memory_grows_with_the_batch_not_with_its_pairs(monkeypatch):
    monkeypatch.setattr(module, "LOGITS", 1)
    small, large = (most_held(relation_difference_loss, batch) for batch in (16, 32))
    assert 1.5 < large / small < 2.2
    plain = [most_held(all_anchors_at_once, batch) for batch in (16, 32)]
    assert plain[1] / plain[0] > 3.5
    assert plain[1] > 10 * large


def test_all_anchors_at_once_is_the_same_loss():
    inputs = draw()
    torch.testing.assert_close(all_anchors_at_once(*inputs, 0.05), slow(*inputs, 0.05), **CLOSE)
