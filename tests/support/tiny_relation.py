"""A relation among a few images that nobody loads, for an objective's tests."""

from typing import Any

import torch
from tiny_objective import DIM
from torch import Tensor
from torch.nn.functional import normalize
from torch.utils.data import DataLoader

IMAGES = 40


def embeddings(seed: int = 3) -> Tensor:
    """Unit embeddings of IMAGES images, float64."""
    g = torch.Generator().manual_seed(seed)
    return normalize(torch.randn(IMAGES, DIM, generator=g, dtype=torch.float64), dim=1)


def relate(objective: Any, seed: int = 3) -> Any:
    """Gives a ReKD of whole images what it would mine before the training, and returns it."""
    if objective.config.of_images:
        objective.relate_images(DataLoader(range(IMAGES)), embeddings(seed))
        means = objective.relation.relatives.means
        means = means.to(next(objective.projector.parameters()).dtype)
        objective.relation.relatives = objective.relation.relatives._replace(means=means)
    return objective
