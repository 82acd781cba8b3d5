"""Weighted k-nearest-neighbour classification of features (arXiv 1805.01978)."""

import torch
from torch import Tensor
from torch.nn.functional import normalize

from solo_rekd.utils.errors import UserError, refuse

DISTANCES = ("cosine", "euclidean")
EPSILON = 1e-5  # the hosts': a weight is 1 / (distance + EPSILON)
CHUNK = 2**22  # similarities held at a time: 32 MiB
SAME_POINT = 1e-12  # squared distance, relative to the squared norm, that is only rounding


@torch.no_grad()
def weighted_knn(
    train: Tensor,
    train_labels: Tensor,
    test: Tensor,
    test_labels: Tensor,
    k: int = 20,
    temperature: float = 0.07,
    distance: str = "cosine",
    chunk: int = CHUNK,
) -> tuple[float, float]:
    """Evaluates features by a weighted vote of their nearest neighbours.

    Neighbour n votes for its class with the weight exp(cos(x, n) / temperature), or
    1 / (|x - n| + 1e-5). Everything is computed in float64 and then rounded to float32, so that the
    order of the images, the size of the chunks and the number of threads change nothing. Neighbours
    as far as the k-th share the remaining places; of classes with equal votes the one with the
    lower label comes first. Images with a negative label are ignored.

    Args:
        train: features that vote, shape (N, f), of any floating type.
        train_labels: shape (N,).
        test: features to evaluate, shape (M, f).
        test_labels: shape (M,).
        k: number of neighbours, at least 1; all of them where there are fewer.
        temperature: temperature of the votes by cosine, above 0.
        distance: `cosine` or `euclidean`.
        chunk: similarities to hold at a time, at least 1.

    Returns:
        Accuracies in percent: top-1, and top-min(5, k, number of classes).

    Raises:
        UserError: `distance` is unknown, one side has no labelled image, or a feature is not
            finite.
    """
    if distance not in DISTANCES:
        raise refuse("distance", distance, DISTANCES)
    train, train_labels = _labelled(train, train_labels, "training")
    test, test_labels = _labelled(test, test_labels, "validation")
    if distance == "cosine":
        train, test = normalize(train), normalize(test)
    classes = 1 + int(torch.maximum(train_labels.max(), test_labels.max()))
    k = min(k, len(train))
    first, among_first = 0, 0
    rows = max(1, chunk // len(train))
    for part, labels in zip(test.split(rows), test_labels.split(rows), strict=True):
        closeness = _closeness(part, train, distance)
        votes = _votes(closeness, train_labels, k, classes, temperature, distance)
        hits = votes.argsort(dim=1, descending=True, stable=True) == labels[:, None]
        first += int(hits[:, 0].sum())
        among_first += int(hits[:, : min(5, k)].sum())
    return 100 * first / len(test), 100 * among_first / len(test)


def _labelled(features: Tensor, labels: Tensor, name: str) -> tuple[Tensor, Tensor]:
    known = labels >= 0
    features, labels = features[known].double(), labels[known]
    if not len(labels):
        raise UserError(f"kNN needs labelled {name} images, and there are none")
    if not features.isfinite().all():
        raise UserError(f"the features of the {name} images are not finite: kNN cannot judge them")
    return features, labels


def _closeness(test: Tensor, train: Tensor, distance: str) -> Tensor:
    """Computes cosines or negative distances, shape (M, N), float32."""
    products = test @ train.T
    if distance == "cosine":
        return products.float()
    own = test.square().sum(1)[:, None]
    squares = products.mul_(-2).add_(own).add_(train.square().sum(1))
    return squares.masked_fill_(squares <= SAME_POINT * own, 0).float().sqrt_().neg_()


def _votes(
    closeness: Tensor, labels: Tensor, k: int, classes: int, temperature: float, distance: str
) -> Tensor:
    """Computes the votes for each class, shape (M, classes), float32, up to a factor per row."""
    nearest = closeness.topk(k).values
    last = nearest[:, -1:]
    image, neighbour = (closeness >= last).nonzero(as_tuple=True)
    near = closeness[image, neighbour].double()
    nearer = (closeness > last).sum(1)
    equal = (closeness == last).sum(1)
    share = ((k - nearer) / equal).double()[image]
    if distance == "cosine":
        weights = ((near - nearest[image, 0]) / temperature).exp()  # the largest is 1
    else:
        weights = 1 / (EPSILON - near)
    weights = torch.where(near > last[image, 0], weights, weights * share)
    votes = weights.new_zeros(len(closeness), classes)
    return votes.index_put_((image, labels[neighbour]), weights, accumulate=True).float()
