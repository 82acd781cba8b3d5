import pytest
import torch
from torch.autograd import gradcheck
from torch.nn.functional import normalize

from solo_rekd.losses import info_nce_loss, similarity_distillation_loss
from solo_rekd.losses import log_sum_exp as chunks

CLOSE = {"rtol": 0, "atol": 1e-10}


@pytest.fixture(params=[1, 4, 100])
def chunk(request, monkeypatch):
    monkeypatch.setattr(chunks, "CHUNK", request.param)


def unit(*size, generator):
    return normalize(torch.randn(size, generator=generator, dtype=torch.float64), dim=1)


def draw(form, batch=4, entries=11, dim=5, teacher_dim=7, seed=0):
    """The arguments of SEED (one dictionary, own entry) or of CompRess 1q or 2q."""
    generator = torch.Generator().manual_seed(seed)
    query = unit(batch, dim, generator=generator)
    if form == "compress 2q":
        return {
            "query": query,
            "dictionary": unit(entries, dim, generator=generator),
            "taught": unit(batch, teacher_dim, generator=generator),
            "teacher_dictionary": unit(entries, teacher_dim, generator=generator),
        }
    taught, dictionary = (unit(size, dim, generator=generator) for size in (batch, entries))
    own = {"own": taught} if form == "seed" else {}
    return {
        "query": query,
        "dictionary": dictionary,
        "taught": taught,
        "teacher_dictionary": dictionary,
        **own,
    }


FORMS = ["seed", "compress 1q", "compress 2q"]


def softmax(scores):
    """From its definition."""
    exponentials = [torch.exp(score) for score in scores]
    return [x / sum(exponentials) for x in exponentials]


def slow_seed(query, dictionary, taught, teacher_dictionary, tau, tau_t, own=None):
    """Cross-entropy of the two softmaxes, entry by entry."""
    total = 0
    for i in range(len(query)):
        theirs, ours = list(teacher_dictionary), list(dictionary)
        if own is not None:
            theirs, ours = [own[i], *theirs], [own[i], *ours]
        p = softmax([taught[i] @ entry / tau_t for entry in theirs])
        log_q = [x.log() for x in softmax([query[i] @ entry / tau for entry in ours])]
        total = total - sum(a * b for a, b in zip(p, log_q, strict=True))
    return total / len(query)


def slow_compress(query, dictionary, taught, teacher_dictionary, tau, tau_t, own=None):
    """KL(teacher || student), entry by entry."""
    total = 0
    for i in range(len(query)):
        theirs, ours = list(teacher_dictionary), list(dictionary)
        if own is not None:
            theirs, ours = [own[i], *theirs], [own[i], *ours]
        p = softmax([taught[i] @ entry / tau_t for entry in theirs])
        q = softmax([query[i] @ entry / tau for entry in ours])
        total = total + sum(a * (a / b).log() for a, b in zip(p, q, strict=True))
    return total / len(query)


@pytest.mark.usefixtures("chunk")
@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize(("tau", "tau_t"), [(0.2, 0.01), (0.04, 0.04), (0.2, 0.5)])
def test_value_and_gradient_equal_the_slow_loop(form, tau, tau_t):
    inputs = draw(form)
    query = inputs["query"].requires_grad_()
    fast = similarity_distillation_loss(**inputs, temperature=tau, teacher_temperature=tau_t)
    slow = slow_seed(**inputs, tau=tau, tau_t=tau_t)
    torch.testing.assert_close(fast, slow, **CLOSE)
    gradients = [torch.autograd.grad(loss, query)[0] for loss in (fast, slow)]
    torch.testing.assert_close(*gradients, **CLOSE)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize(("tau", "tau_t"), [(0.2, 0.01), (0.04, 0.04)])
def test_it_is_the_papers_divergence_up_to_the_teachers_entropy(form, tau, tau_t):
    inputs = draw(form)
    query = inputs["query"].requires_grad_()
    fast = similarity_distillation_loss(**inputs, temperature=tau, teacher_temperature=tau_t)
    divergence = slow_compress(**inputs, tau=tau, tau_t=tau_t)
    # the teacher as its own student
    itself = {
        "query": inputs["taught"],
        "dictionary": inputs["teacher_dictionary"],
        "taught": inputs["taught"],
        "teacher_dictionary": inputs["teacher_dictionary"],
        "own": inputs.get("own"),
    }
    entropy = similarity_distillation_loss(**itself, temperature=tau_t, teacher_temperature=tau_t)
    torch.testing.assert_close(fast - entropy, divergence, **CLOSE)
    gradients = [torch.autograd.grad(loss, query)[0] for loss in (fast, divergence)]
    torch.testing.assert_close(*gradients, **CLOSE)


def test_compress_1q_with_the_own_entry_in_its_memory_is_seed():
    inputs = draw("seed")
    settings = {"temperature": 0.2, "teacher_temperature": 0.01}
    seed = similarity_distillation_loss(**inputs, **settings)
    taught, queue = inputs["taught"], inputs["dictionary"]
    parts = []
    for i in range(len(taught)):
        memory = torch.cat([taught[i : i + 1], queue])
        parts.append(
            similarity_distillation_loss(
                inputs["query"][i : i + 1], memory, taught[i : i + 1], memory, **settings
            )
        )
    torch.testing.assert_close(seed, torch.stack(parts).mean(), **CLOSE)


@pytest.mark.parametrize("form", FORMS)
def test_the_gradient_is_zero_and_the_value_least_where_the_student_is_the_teacher(form):
    inputs = draw(form, dim=5, teacher_dim=5)
    inputs["dictionary"] = inputs["teacher_dictionary"]
    settings = {"temperature": 0.1, "teacher_temperature": 0.1}
    others = similarity_distillation_loss(**inputs, **settings)
    inputs["query"] = inputs["taught"].clone().requires_grad_()
    optimum = similarity_distillation_loss(**inputs, **settings)
    (gradient,) = torch.autograd.grad(optimum, inputs["query"])
    torch.testing.assert_close(gradient, torch.zeros_like(gradient), **CLOSE)
    assert optimum < others
    torch.testing.assert_close(
        slow_compress(**inputs, tau=0.1, tau_t=0.1).detach(), torch.tensor(0.0).double(), **CLOSE
    )


def test_a_nearly_one_hot_teacher_gives_info_nce():
    inputs = draw("seed")
    loss = similarity_distillation_loss(**inputs, temperature=0.2, teacher_temperature=1e-4)
    nce = info_nce_loss(inputs["query"], inputs["taught"], inputs["dictionary"], 0.2)
    torch.testing.assert_close(loss, nce)


@pytest.mark.parametrize("form", FORMS)
def test_gradcheck(form):
    inputs = draw(form)
    query = inputs.pop("query").requires_grad_()

    def loss(q):
        return similarity_distillation_loss(q, **inputs, temperature=0.2, teacher_temperature=0.1)

    assert gradcheck(loss, query)


@pytest.mark.parametrize("form", FORMS)
def test_only_the_query_gets_a_gradient(form):
    inputs = {name: tensor.requires_grad_() for name, tensor in draw(form).items()}
    similarity_distillation_loss(**inputs, temperature=0.2, teacher_temperature=0.1).backward()
    assert inputs.pop("query").grad.any()
    assert all(tensor.grad is None for tensor in inputs.values())


@pytest.mark.parametrize("form", FORMS)
def test_permuting_the_batch_or_the_dictionary_changes_nothing(form):
    inputs = draw(form)
    settings = {"temperature": 0.2, "teacher_temperature": 0.05}
    before = similarity_distillation_loss(**inputs, **settings)
    batch, entries = torch.tensor([2, 0, 3, 1]), torch.randperm(11)
    for name in inputs:
        inputs[name] = inputs[name][entries if name.endswith("dictionary") else batch]
    torch.testing.assert_close(before, similarity_distillation_loss(**inputs, **settings))


def test_the_dictionaries_are_index_aligned():
    inputs = draw("compress 2q")
    settings = {"temperature": 0.04, "teacher_temperature": 0.04}
    before = similarity_distillation_loss(**inputs, **settings)
    inputs["dictionary"] = inputs["dictionary"].roll(1, 0)
    assert abs(float(similarity_distillation_loss(**inputs, **settings) - before)) > 1e-3


@pytest.mark.parametrize("autocast", [False, True])
def test_half_precision_runs_in_float32(autocast):
    half = {name: tensor.bfloat16() for name, tensor in draw("seed").items()}
    settings = {"temperature": 0.2, "teacher_temperature": 0.01}
    with torch.autocast("cpu", dtype=torch.bfloat16, enabled=autocast):
        loss = similarity_distillation_loss(**half, **settings)
    exact = similarity_distillation_loss(
        **{name: tensor.double() for name, tensor in half.items()}, **settings
    )
    assert loss.dtype == torch.float32
    torch.testing.assert_close(loss.double(), exact, rtol=1e-5, atol=0)


def test_float32_is_exact_at_the_papers_queue_and_temperature():
    generator = torch.Generator().manual_seed(0)
    taught, queue = unit(16, 128, generator=generator), unit(65536, 128, generator=generator)
    # near neighbours, so that the teacher's softmax is not all on the own entry
    queue[:1024] = normalize(taught.repeat(64, 1) + 0.03 * queue[:1024] * 11, dim=1)
    query = normalize(taught + 0.05 * unit(16, 128, generator=generator) * 11, dim=1)
    values, gradients = [], []
    for dtype in (torch.float32, torch.float64):
        q, t, d = (tensor.to(dtype) for tensor in (query, taught, queue))
        q.requires_grad_()
        loss = similarity_distillation_loss(q, d, t, d, 0.2, 0.01, own=t)
        gradients.append(torch.autograd.grad(loss, q)[0].double())
        values.append(loss.double())
    torch.testing.assert_close(*values, rtol=1e-6, atol=0)
    torch.testing.assert_close(*gradients, rtol=0, atol=1e-5 * gradients[1].abs().max())
