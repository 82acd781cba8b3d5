import pytest
import torch
from torch.autograd import gradcheck
from torch.nn.functional import normalize

from solo_rekd.losses import log_sum_exp as module
from solo_rekd.losses.log_sum_exp import log_sum_exp


@pytest.fixture(params=[1, 3, 7, 100])
def chunk(request, monkeypatch):
    monkeypatch.setattr(module, "CHUNK", request.param)


def draw(batch=5, entries=17, dim=4, seed=0):
    generator = torch.Generator().manual_seed(seed)
    sizes = ((batch, dim), (batch, dim), (entries, dim))
    return [
        normalize(torch.randn(size, generator=generator, dtype=torch.float64), dim=1)
        for size in sizes
    ]


def slow(query, own, dictionary, temperature):
    """exp, sum, log: entry by entry."""
    out = []
    for q, k in zip(query, own, strict=True):
        total = torch.exp(q @ k / temperature)
        for entry in dictionary:
            total = total + torch.exp(q @ entry / temperature)
        out.append(total.log())
    return torch.stack(out)


@pytest.mark.usefixtures("chunk")
@pytest.mark.parametrize("temperature", [0.05, 0.2, 1.0])
def test_value_and_gradient_equal_the_slow_loop(temperature):
    query, own, dictionary = draw()
    query.requires_grad_()
    weights = torch.arange(1.0, 6.0, dtype=torch.float64)
    values, gradients = [], []
    for function in (log_sum_exp, slow):
        value = function(query, own, dictionary, temperature)
        gradients.append(torch.autograd.grad((weights * value).sum(), query)[0])
        values.append(value)
    torch.testing.assert_close(*values, rtol=0, atol=1e-10)
    torch.testing.assert_close(*gradients, rtol=0, atol=1e-10)


@pytest.mark.usefixtures("chunk")
def test_gradcheck():
    query, own, dictionary = draw(batch=3, entries=8)
    assert gradcheck(lambda q: log_sum_exp(q, own, dictionary, 0.2), query.requires_grad_())


def test_no_overflow_at_a_tiny_temperature():
    query, own, dictionary = (tensor.float() for tensor in draw())
    value = log_sum_exp(query, own, dictionary, 1e-4)
    assert value.isfinite().all()
    nearest = torch.cat([(query * own).sum(1, keepdim=True), query @ dictionary.T], 1).amax(1)
    torch.testing.assert_close(value * 1e-4, nearest, rtol=0, atol=1e-3)


def test_only_the_query_gets_a_gradient():
    query, own, dictionary = (tensor.requires_grad_() for tensor in draw())
    log_sum_exp(query, own, dictionary, 0.2).sum().backward()
    assert query.grad is not None
    assert own.grad is None
    assert dictionary.grad is None
