import pytest
import torch
from bench.memory import peak_bytes
from torch.autograd import gradcheck
from torch.nn.functional import cross_entropy, normalize

from solo_rekd.losses import (
    cross_entropy_gradient,
    gradient_relation_loss,
    info_nce_gradient,
    info_nce_loss,
)
from solo_rekd.losses.log_sum_exp import CHUNK

CLOSE = {"rtol": 0, "atol": 1e-10}


def unit(*size, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return normalize(torch.randn(size, generator=generator, dtype=torch.float64), dim=1)


def slow_nce_gradient(query, positive, queue, tau):
    """From the loss of each query, by autograd; itself differentiable."""
    rows = []
    for q, k in zip(query, positive, strict=True):
        loss = -torch.log_softmax(torch.stack([k, *queue]) @ q / tau, 0)[0]
        rows.append(torch.autograd.grad(loss, q, create_graph=True)[0])
    return torch.stack(rows)


def slow_relation(student, teacher):
    parts = [1 - g @ h / (g.norm() * h.norm()) for g, h in zip(student, teacher, strict=True)]
    return torch.stack(parts).mean()


@pytest.mark.parametrize("tau", [0.05, 0.2])
def test_the_gradient_of_info_nce_and_learning_from_it_equal_autograd(tau):
    query, positive, queue = unit(4, 5), unit(4, 5, seed=1), unit(11, 5, seed=2)
    teacher = unit(4, 5, seed=3)
    query.requires_grad_()
    pairs = [
        (gradient(query, positive, queue, tau), relation)
        for gradient, relation in (
            (info_nce_gradient, gradient_relation_loss),
            (slow_nce_gradient, slow_relation),
        )
    ]
    torch.testing.assert_close(*[gradient for gradient, _ in pairs], **CLOSE)
    losses = [relation(gradient, teacher) for gradient, relation in pairs]
    torch.testing.assert_close(*losses, **CLOSE)
    torch.testing.assert_close(*[torch.autograd.grad(x, query)[0] for x in losses], **CLOSE)


def test_memory_does_not_grow_with_the_queue():
    queries, keys, entries = unit(64, 8), unit(64, 8, seed=1), 8 * CHUNK
    queries.requires_grad_()
    queue = unit(entries, 8, seed=2)

    def learn():
        gradient = info_nce_gradient(queries, keys, queue, 0.2)
        gradient_relation_loss(gradient, keys).backward()

    learn()  # allocates the gradient
    logits = 64 * entries * queue.element_size()
    assert peak_bytes(learn) < logits / 2


def test_it_is_the_gradient_of_our_info_nce():
    query, positive, queue = unit(4, 5), unit(4, 5, seed=1), unit(11, 5, seed=2)
    loss = info_nce_loss(query.requires_grad_(), positive, queue, 0.2)
    expected = 4 * torch.autograd.grad(loss, query)[0]  # the loss is the mean of four
    torch.testing.assert_close(info_nce_gradient(query, positive, queue, 0.2), expected, **CLOSE)


def test_the_gradient_of_cross_entropy_equals_autograd():
    embedding, weight, bias = unit(4, 5).requires_grad_(), unit(3, 5, seed=1), unit(1, 3, seed=2)[0]
    labels = torch.tensor([0, 2, 2, 1])
    loss = cross_entropy(embedding @ weight.T + bias, labels, reduction="sum")
    (expected,) = torch.autograd.grad(loss, embedding, create_graph=True)
    found = cross_entropy_gradient(embedding, labels, weight, bias)
    torch.testing.assert_close(found, expected, **CLOSE)
    teacher = unit(4, 5, seed=3)
    losses = [gradient_relation_loss(found, teacher), slow_relation(expected, teacher)]
    torch.testing.assert_close(*[torch.autograd.grad(x, embedding)[0] for x in losses], **CLOSE)


def test_gradcheck():
    positive, queue, teacher = unit(3, 4, seed=1), unit(6, 4, seed=2), unit(3, 4, seed=3)
    assert gradcheck(
        lambda q: gradient_relation_loss(info_nce_gradient(q, positive, queue, 0.2), teacher),
        unit(3, 4).requires_grad_(),
    )


def test_equal_gradients_are_the_optimum():
    query, positive, queue = unit(4, 5).requires_grad_(), unit(4, 5, seed=1), unit(11, 5, seed=2)
    gradient = info_nce_gradient(query, positive, queue, 0.2)
    for teacher, value in ((3 * gradient, 0), (-gradient, 2)):
        loss = gradient_relation_loss(gradient, teacher)
        torch.testing.assert_close(loss, torch.full_like(loss, value), **CLOSE)
        (slope,) = torch.autograd.grad(loss, query, retain_graph=True)
        torch.testing.assert_close(slope, torch.zeros_like(slope), **CLOSE)


def test_only_the_students_embedding_gets_a_gradient():
    tensors = [unit(4, 5, seed=seed).requires_grad_() for seed in range(4)]
    query, positive, queue, teacher = tensors
    weight, bias = (x.requires_grad_() for x in (unit(3, 5), unit(1, 3)[0]))
    gradients = info_nce_gradient(query, positive, queue, 0.2)
    gradients = gradients + cross_entropy_gradient(query, torch.tensor([0, 1, 2, 0]), weight, bias)
    gradient_relation_loss(gradients, teacher).backward()
    assert query.grad.any()
    assert [x.grad for x in (positive, queue, teacher, weight, bias)] == [None] * 5


def test_half_precision_runs_in_float32():
    query, positive, queue = (
        x.bfloat16() for x in (unit(4, 5), unit(4, 5, seed=1), unit(11, 5, seed=2))
    )
    with torch.autocast("cpu", dtype=torch.bfloat16):
        gradient = info_nce_gradient(query, positive, queue, 0.02)
        loss = gradient_relation_loss(gradient, unit(4, 5, seed=3).bfloat16())
    assert (gradient.dtype, loss.dtype) == (torch.float32, torch.float32)
    exact = info_nce_gradient(query.double(), positive.double(), queue.double(), 0.02)
    torch.testing.assert_close(gradient.double(), exact, rtol=1e-4, atol=1e-4)
