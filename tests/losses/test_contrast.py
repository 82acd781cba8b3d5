import pytest
import torch
from torch.autograd import gradcheck
from torch.nn.functional import normalize

from solo_rekd.losses import info_nce_loss, relation_contrast_loss
from solo_rekd.losses.contrast import count_members

PROTOTYPES = 6


def unit(*size, generator):
    return normalize(torch.randn(size, generator=generator, dtype=torch.float64), dim=1)


def draw(query_ids, queue_ids, dim=5, seed=0):
    generator = torch.Generator().manual_seed(seed)
    batch, entries = len(query_ids), len(queue_ids)
    return {
        "query": unit(batch, dim, generator=generator),
        "positive": unit(batch, dim, generator=generator),
        "queue": unit(entries, dim, generator=generator),
        "query_ids": torch.tensor(query_ids),
        "queue_ids": torch.tensor(queue_ids),
    }


def slow_relation(
    query, positive, queue, query_ids, queue_ids, temperature, own_weight, shares=None
):
    """Cross-entropy with the full target distribution, written entry by entry."""
    total = 0
    for i in range(len(query)):
        dictionary = torch.stack([positive[i], *queue])
        log_softmax = torch.log_softmax(dictionary @ query[i] / temperature, 0)
        members = [
            j for j in range(len(queue)) if queue_ids[j] == query_ids[i] and query_ids[i] >= 0
        ]
        if own_weight == "uniform":
            own = 1 / (1 + len(members))
        else:
            own = own_weight if members else 1
        total = total - own * log_softmax[0]
        if shares is None:
            for j in members:
                total = total - (1 - own) / len(members) * log_softmax[1 + j]
        elif members:
            ids = queue_ids.tolist()
            present = sum(float(shares[i, c]) for c in set(ids) - {-1})
            for j, c in enumerate(ids):
                if c >= 0:
                    share = float(shares[i, c]) / present / ids.count(c)
                    total = total - (1 - own) * share * log_softmax[1 + j]
    return total / len(query)


def draw_shares(query_ids, sharpness):
    """Soft assignments whose largest share is that of the hard one."""
    logits = torch.randn(len(query_ids), PROTOTYPES, dtype=torch.float64)
    logits[torch.arange(len(query_ids)), query_ids] = logits.max() + 0.1
    return (sharpness * logits).softmax(1)


def assert_same(fast, slow, query):
    """Value and gradient agree to 1e-10."""
    torch.testing.assert_close(fast, slow, rtol=0, atol=1e-10)
    gradients = [torch.autograd.grad(loss, query)[0] for loss in (fast, slow)]
    torch.testing.assert_close(*gradients, rtol=0, atol=1e-10)


def assert_equals_the_slow_loop(inputs, **settings):
    query = inputs["query"].requires_grad_()
    fast = relation_contrast_loss(**inputs, num_prototypes=PROTOTYPES, **settings)
    assert_same(fast, slow_relation(**inputs, **settings), query)


CASES = {
    "mixed": ([0, 1, 1, 2], [0, 0, 1, 2, 2, 2, 3, 5, 1, 0]),
    "one-member classes": ([0, 1, 2, 3], [0, 1, 2, 3]),
    "empty prototypes": ([4, 4, 5], [0, 1, 2, 3, 0, 1]),
    "one prototype holds all": ([2, 2], [2] * 12),
    "queue partly without prototype": ([0, -1, 1], [-1, 0, -1, 1, 1, -1]),
    "nothing assigned": ([-1, -1], [-1, -1, -1]),
}


@pytest.mark.parametrize("own_weight", [0.0, 0.5, 0.9, 1.0, "uniform"])
@pytest.mark.parametrize("case", CASES)
def test_relation_contrast_equals_the_slow_loop(case, own_weight):
    assert_equals_the_slow_loop(draw(*CASES[case]), temperature=0.2, own_weight=own_weight)


@pytest.mark.parametrize("own_weight", [0.0, 0.5, "uniform"])
@pytest.mark.parametrize("case", ["mixed", "empty prototypes", "queue partly without prototype"])
def test_soft_assignments_equal_the_slow_loop(case, own_weight):
    inputs = draw(*CASES[case])
    shares = draw_shares(inputs["query_ids"], 1.0)
    assert_equals_the_slow_loop(inputs, temperature=0.2, own_weight=own_weight, shares=shares)


def test_sharp_soft_assignments_are_the_hard_ones():
    inputs = draw(*CASES["mixed"])
    settings = {"num_prototypes": PROTOTYPES, "temperature": 0.2, "own_weight": 0.5}
    hard = relation_contrast_loss(**inputs, **settings)
    soft = relation_contrast_loss(
        **inputs, **settings, shares=draw_shares(inputs["query_ids"], 1e4)
    )
    torch.testing.assert_close(soft, hard)


@pytest.mark.parametrize("own_weight", [0.5, "uniform"])
def test_relation_contrast_with_a_full_long_queue(own_weight):
    generator = torch.Generator().manual_seed(3)
    ids = torch.randint(0, PROTOTYPES, (9000,), generator=generator)
    inputs = draw([0, 3, 5], ids.tolist())
    assert_equals_the_slow_loop(inputs, temperature=0.1, own_weight=own_weight)


@pytest.mark.parametrize("own_weight", [0.3, "uniform"])
def test_gradcheck(own_weight):
    inputs = draw(*CASES["mixed"])
    query = inputs.pop("query").requires_grad_()

    def loss(q):
        return relation_contrast_loss(
            q, **inputs, num_prototypes=PROTOTYPES, temperature=0.2, own_weight=own_weight
        )

    assert gradcheck(loss, query)


def test_all_weight_on_the_own_key_is_info_nce():
    inputs = draw(*CASES["mixed"])
    relation = relation_contrast_loss(
        **inputs, num_prototypes=PROTOTYPES, temperature=0.2, own_weight=1.0
    )
    nce = info_nce_loss(inputs["query"], inputs["positive"], inputs["queue"], 0.2)
    torch.testing.assert_close(relation, nce, rtol=0, atol=1e-12)


def test_info_nce_equals_the_slow_loop():
    inputs = draw(*CASES["mixed"])
    query = inputs["query"].requires_grad_()
    fast = info_nce_loss(query, inputs["positive"], inputs["queue"], 0.07)
    assert_same(fast, slow_relation(**inputs, temperature=0.07, own_weight=1.0), query)


def test_permuting_the_batch_or_the_queue_changes_nothing():
    inputs = draw(*CASES["mixed"])
    settings = {"num_prototypes": PROTOTYPES, "temperature": 0.2, "own_weight": 0.5}
    before = relation_contrast_loss(**inputs, **settings)
    batch, queue = torch.tensor([2, 0, 3, 1]), torch.randperm(10)
    for name in ("query", "positive", "query_ids"):
        inputs[name] = inputs[name][batch]
    for name in ("queue", "queue_ids"):
        inputs[name] = inputs[name][queue]
    torch.testing.assert_close(before, relation_contrast_loss(**inputs, **settings))


def test_keys_and_queue_get_no_gradient():
    inputs = draw(*CASES["mixed"])
    for name in ("query", "positive", "queue"):
        inputs[name].requires_grad_()
    relation_contrast_loss(
        **inputs, num_prototypes=PROTOTYPES, temperature=0.2, own_weight=0.5
    ).backward()
    assert inputs["query"].grad.abs().sum() > 0
    assert inputs["positive"].grad is None
    assert inputs["queue"].grad is None


@pytest.mark.parametrize("autocast", [False, True])
def test_half_precision_runs_in_float32(autocast):
    inputs = draw(*CASES["mixed"])
    settings = {"num_prototypes": PROTOTYPES, "temperature": 0.02, "own_weight": 0.5}
    half = {
        name: value.bfloat16() if value.is_floating_point() else value
        for name, value in inputs.items()
    }
    with torch.autocast("cpu", dtype=torch.bfloat16, enabled=autocast):
        loss = relation_contrast_loss(**half, **settings)
    exact = relation_contrast_loss(
        **{n: v.double() if v.is_floating_point() else v for n, v in half.items()}, **settings
    )
    assert loss.dtype == torch.float32
    torch.testing.assert_close(loss.double(), exact, rtol=1e-5, atol=0)


def test_count_members_leaves_out_the_unassigned():
    counts = count_members(torch.tensor([-1, 0, 2, 2, -1]), 4)
    assert counts.tolist() == [0, 1, 0, 2, 0]
