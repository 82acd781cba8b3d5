import math

import pytest
import torch

from solo_rekd.losses import known_cross_entropy


def draw(labels: list[int]) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(len(labels), 3, generator=generator, dtype=torch.float64)
    return logits.requires_grad_(), torch.tensor(labels)


@pytest.mark.parametrize("labels", [[0, 2, 1, 1], [0, -1, 2, -1], [-1, -1, -1, 1]])
def test_value_and_gradient_equal_a_slow_loop(labels: list[int]) -> None:
    logits, classes = draw(labels)
    value = known_cross_entropy(logits, classes)
    known = [row for row, label in enumerate(labels) if label >= 0]
    expected, gradient = 0.0, torch.zeros_like(logits)
    for row in known:
        scores = logits[row].tolist()
        total = sum(math.exp(score) for score in scores)
        expected += (math.log(total) - scores[labels[row]]) / len(known)
        for column, score in enumerate(scores):
            hit = float(column == labels[row])
            gradient[row, column] = (math.exp(score) / total - hit) / len(known)
    assert value.item() == pytest.approx(expected, abs=1e-12)
    torch.testing.assert_close(torch.autograd.grad(value, logits)[0], gradient)


def test_without_a_label_it_is_zero_with_a_gradient() -> None:
    logits, classes = draw([-1, -1])
    value = known_cross_entropy(logits, classes)
    value.backward()
    assert value.item() == 0
    assert logits.grad is not None and not logits.grad.any()
