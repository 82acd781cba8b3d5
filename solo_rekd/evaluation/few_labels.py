"""Accuracy with few labels, on features that are extracted once.

The classifier is the nearest class mean of centred features of unit length (SimpleShot, arXiv
1911.04623): it has no learning rate or penalty to choose, and works from one label per class.
"""

from collections.abc import Callable
from typing import Any

import numpy as np

A_CLASS = 3  # labels per class
SHARE = 0.01  # of the labels of each class; at least one is drawn
DRAWS = 20
SEED = 0
# how many labels of a class are drawn, by its number of images, and the name of that amount
AMOUNTS: dict[str, tuple[Callable[[int], int], str]] = {
    "few_label": (lambda images: min(A_CLASS, images), f"{A_CLASS} per class"),
    "few_label_1pct": (
        lambda images: max(1, round(SHARE * images)),
        f"{100 * SHARE:g} % of each class, at least one",
    ),
}


def few_labels(
    train: tuple[np.ndarray, np.ndarray], val: tuple[np.ndarray, np.ndarray], draws: int = DRAWS
) -> dict[str, dict[str, Any]]:
    """Evaluates features with classifiers that see few labels, averaged over many draws of these.

    Which images are drawn depends only on their indexes and labels, so it is the same for every
    network. The features are centred by the mean of all training features, which needs no labels.

    Args:
        train: features (N, f) and labels (N,) to draw from.
        val: features (M, f) and labels (M,) to evaluate on, of classes that are in `train`.
        draws: draws of the labels, at least 2.

    Returns:
        For each name of `AMOUNTS`: top1 in percent (mean over the draws), its sample standard
        deviation sd, labels (the number that a classifier sees), draws, and the protocol.
    """
    centre = train[0].mean(axis=0, dtype=np.float64)
    features, judged = (_unit(split[0] - centre) for split in (train, val))
    found = {}
    for name, (amount, told) in AMOUNTS.items():
        scores = []
        for draw in range(draws):
            chosen = draw_labels(train[1], amount, draw)
            voted = _nearest_mean(features[chosen], train[1][chosen], judged)
            scores.append(100 * float((voted == val[1]).mean()))
        found[name] = {
            "top1": float(np.mean(scores)),
            "sd": float(np.std(scores, ddof=1)),
            "labels": len(chosen),
            "draws": draws,
            "protocol": (
                f"few labels: {told}; nearest class mean of cached features, centred and of unit "
                f"length; mean of {draws} draws of the labels, the same in all runs"
            ),
        }
    return found


def draw_labels(labels: np.ndarray, amount: Callable[[int], int], draw: int) -> np.ndarray:
    """Draws the indexes of the images whose labels a classifier sees, class by class.

    Args:
        labels: labels of all images, shape (N,).
        amount: number of images to draw from a class, by the number of its images.
        draw: number of the draw, at least 0; a larger amount adds to the images of a smaller one.
    """
    generator = np.random.default_rng([SEED, draw])
    classes = [generator.permutation(np.flatnonzero(labels == each)) for each in np.unique(labels)]
    return np.concatenate([places[: amount(len(places))] for places in classes])


def _nearest_mean(features: np.ndarray, labels: np.ndarray, judged: np.ndarray) -> np.ndarray:
    """Finds the class whose mean is nearest to each of `judged`; the first of equally near ones.

    scikit-learn's NearestCentroid also scales by the deviation within a class, and refuses features
    without any, as with a single label per class.
    """
    classes = np.unique(labels)
    means = np.stack([features[labels == each].mean(axis=0) for each in classes])
    return classes[(judged @ means.T - (means**2).sum(axis=1) / 2).argmax(axis=1)]


def _unit(features: np.ndarray) -> np.ndarray:
    """Scales features (N, f) to unit length; zero vectors stay zero."""
    lengths = np.linalg.norm(features, axis=1, keepdims=True)
    return features / np.where(lengths > 0, lengths, 1)
