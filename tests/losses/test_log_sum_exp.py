import pytest
import torch
from torch.autograd import gradcheck
from torch.nn.functional import normalize

from solo_rekd.losses import log_sum_exp as module
from solo_rekd.losses.log_sum_exp import log_sum_exp, softmax_mean_and_entropy


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
    for i, q in enumerate(query):
        total = 0 if own is None else torch.exp(q @ own[i] / temperature)
        for entry in dictionary:
            total = total + torch.exp(q @ entry / temperature)
        out.append(total.log())
    return torch.stack(out)


@pytest.mark.usefixtures("chunk")
@pytest.mark.parametrize("with_own", [True, False])
@pytest.mark.parametrize("temperature", [0.05, 0.2, 1.0])
def test_value_and_gradient_equal_the_slow_loop(temperature, with_own):
    query, own, dictionary = draw()
    own = own if with_own else None
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
@pytest.mark.parametrize("with_own", [True, False])
def test_gradcheck(with_own):
    query, own, dictionary = draw(batch=3, entries=8)
    own = own if with_own else None
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


@pytest.mark.usefixtures("chunk")
@pytest.mark.parametrize("width", [None, 9, 0])
def test_softmax_mean_and_entropy_equal_the_slow_loop(width):
    query, own, keys = draw()
    if width == 0:  # the values are the keys, as in SEED
        values = keys
    elif width:  # no own entry where keys and values differ in width
        own, values = None, draw(entries=len(keys), dim=width)[2]
    else:
        values = keys.flip(1)
    found, entropy = softmax_mean_and_entropy(query.requires_grad_(), own, keys, values, 0.05)
    for i, q in enumerate(query):
        weights = [torch.exp(q @ key / 0.05) for key in keys]
        entries = list(values)
        if own is not None:
            weights, entries = [*weights, torch.exp(q @ own[i] / 0.05)], [*entries, own[i]]
        mean = sum(w * v for w, v in zip(weights, entries, strict=True)) / sum(weights)
        torch.testing.assert_close(found[i], mean.detach(), rtol=0, atol=1e-10)
        shares = torch.stack(weights) / sum(weights)
        expected = -(shares * shares.log()).sum().detach()
        torch.testing.assert_close(entropy[i], expected, rtol=0, atol=1e-10)
    assert not found.requires_grad
    assert not entropy.requires_grad
