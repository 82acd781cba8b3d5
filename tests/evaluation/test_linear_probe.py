import warnings

import numpy as np
import pytest
import torch

from solo_rekd.evaluation.linear_probe import linear_probe
from solo_rekd.utils.errors import UserError

Split = tuple[np.ndarray, np.ndarray]


def blobs(number: int, classes: int, seed: int) -> Split:
    """Overlapping classes in 6 dimensions of very different scales, as float32."""
    rng = np.random.default_rng(seed)
    centres = np.random.default_rng(0).normal(size=(classes, 6))
    labels = rng.integers(0, classes, number)
    features = (centres[labels] + rng.normal(size=(number, 6))) * np.logspace(-2, 3, 6)
    return features.astype("float32"), labels


def reference(train: Split, val: Split, c: float) -> tuple[float, float]:
    """The same model by torch's own optimiser: top-1 and top-5 in percent."""
    x, y = torch.from_numpy(train[0]).double(), torch.from_numpy(train[1])
    mean, std = x.mean(0), x.std(0, correction=0)
    classes = int(y.max()) + 1
    weight = torch.zeros(classes, x.shape[1], dtype=torch.double, requires_grad=True)
    bias = torch.zeros(classes, dtype=torch.double, requires_grad=True)
    optimiser = torch.optim.LBFGS([weight, bias], max_iter=2000, line_search_fn="strong_wolfe")

    def closure() -> torch.Tensor:
        optimiser.zero_grad()
        logits = (x - mean) / std @ weight.T + bias
        loss = torch.nn.functional.cross_entropy(logits, y, reduction="sum")
        loss = loss + weight.square().sum() / (2 * c)
        loss.backward()
        return loss

    optimiser.step(closure)
    logits = (torch.from_numpy(val[0]).double() - mean) / std @ weight.T + bias
    right = logits.topk(min(5, classes)).indices == torch.from_numpy(val[1])[:, None]
    return 100 * right[:, 0].double().mean().item(), 100 * right.any(1).double().mean().item()


@pytest.mark.parametrize("c", [0.01, 1])
def test_equals_the_same_model_fitted_otherwise(c: float) -> None:
    train, val = blobs(300, 8, 1), blobs(200, 8, 2)
    result = linear_probe(train, val, c)
    top1, top5 = reference(train, val, c)
    assert (result["top1"], result["top5"]) == pytest.approx((top1, top5))
    assert 30 < result["top1"] < result["top5"] < 100
    assert f"C {c:g}" in result["protocol"]
    assert "cached features" in result["protocol"]


def test_scale_of_the_features_does_not_matter_and_nothing_is_random() -> None:
    train, val = blobs(300, 8, 1), blobs(200, 8, 2)
    scale = np.float32(2.0) ** np.arange(6)
    scaled = [(features * scale, labels) for features, labels in (train, val)]
    assert linear_probe(*scaled) == linear_probe(train, val) == linear_probe(train, val)


@pytest.mark.parametrize("classes", [2, 3])
def test_top5_of_fewer_classes_is_everything(classes: int) -> None:
    train, val = blobs(100, classes, 1), blobs(100, classes, 2)
    result = linear_probe(train, val, 1)
    assert result["top1"] == pytest.approx(reference(train, val, 1)[0])
    assert result["top5"] == 100


def test_labels_need_not_count_from_zero() -> None:
    train, val = blobs(200, 4, 1), blobs(200, 4, 2)
    far = [(features, 10 * labels + 7) for features, labels in (train, val)]
    assert linear_probe(*far) == linear_probe(train, val)


def test_not_converged_is_told_in_the_protocol_alone() -> None:
    train, val = blobs(300, 8, 1), blobs(200, 8, 2)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        stopped = linear_probe(train, val, 100, max_iterations=2)
        whole = linear_probe(train, val)
    assert "not converged after 2 iterations" in stopped["protocol"]
    assert "not converged" not in whole["protocol"]


def test_one_class_is_refused() -> None:
    features, labels = blobs(20, 1, 1)
    with pytest.raises(UserError, match="at least two classes"):
        linear_probe((features, labels), (features, labels))
