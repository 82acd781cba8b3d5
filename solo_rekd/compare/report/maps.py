"""Maps of the arms' embeddings."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np

from solo_rekd.compare.report.summary import Arm


@dataclass(frozen=True)
class Plane:
    """An arm's embeddings on their first two principal components.

    Attributes:
        arm: arm that they belong to.
        seed: seed of the run that they come from.
        points: shape (M, 2).
        labels: indexes of the classes, shape (M,).
        explained: share of the variance that the two components explain, in [0, 1]; NaN where all
            embeddings are the same.
    """

    arm: Arm
    seed: int
    points: np.ndarray[Any, Any]
    labels: np.ndarray[Any, Any]
    explained: float


def project(arm: Arm, out: Path) -> Plane | None:
    """Projects the embeddings of an arm's first run.

    Args:
        arm: the arm.
        out: folder of the comparison, which holds the run's folder.

    Returns:
        The projection; None where there is no run or no embeddings, or where these are fewer than
        two or not finite.
    """
    from sklearn.decomposition import PCA

    path = out / arm.runs[0]["folder"] / "embeddings.npz" if arm.runs else None
    if path is None:
        return None
    try:
        with path.open("rb") as opened, np.load(opened) as archive:
            features, labels = archive["features"].astype(np.float64), archive["labels"]
    except (OSError, EOFError, ValueError, BadZipFile):
        return None  # missing or damaged
    if min(features.shape) < 2 or not np.isfinite(features).all():
        return None
    if not np.ptp(features, axis=0).any():  # collapsed: no direction explains anything
        return Plane(arm, arm.runs[0]["seed"], np.zeros((len(features), 2)), labels, float("nan"))
    pca = PCA(n_components=2, random_state=0)
    points = pca.fit_transform(features)
    explained = float(pca.explained_variance_ratio_.sum())
    return Plane(arm, arm.runs[0]["seed"], points, labels, explained)
