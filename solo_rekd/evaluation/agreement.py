"""Label-free measures of a student's features: agreement of neighbours, and effective rank.

The agreement is the share of a teacher's nearest neighbours that are also the student's (mutual
k-nearest neighbours, arXiv 2405.07987, section 2, with the teacher's neighbourhoods as the
reference). The effective rank is RankMe (arXiv 2210.02885).
"""

import torch
from torch import Tensor
from torch.nn.functional import normalize

from solo_rekd.utils.errors import UserError, refuse

CHUNK = 2**22  # similarities held at a time: 32 MiB
EPSILON = 1e-7  # in RankMe's equation 1, for float32
TIE = 1e-13  # subtracted from a cosine per index to break ties: above float64's rounding


@torch.no_grad()
def nearest(features: Tensor, k: int = 10, chunk: int = CHUNK) -> Tensor:
    """Finds the k nearest neighbours of each image among all others.

    Cosines are computed in float64, a block of rows at a time: memory is linear in the number of
    images. Of equally near images, those with lower indexes come first.

    Args:
        features: features of N images, shape (N, f), of any floating type.
        k: number of neighbours, from 1 to N - 1.
        chunk: cosines to hold at a time, at least 1.

    Returns:
        Indexes of the neighbours, the nearest first, shape (N, k), int64.

    Raises:
        UserError: k is out of range, or a feature is not finite.
    """
    number = len(features)
    if not 1 <= k < number:
        raise refuse("k", k, f"from 1 to {number - 1}, one less than the images")
    if not features.isfinite().all():
        raise UserError("the features are not finite: they have no neighbours")
    units = normalize(features.double(), dim=1)
    places = torch.arange(number, device=units.device)
    # rounding must not decide between equally near images
    later = -TIE * places.double()
    found = []
    for rows in places.split(max(1, chunk // number)):
        cosines = torch.addmm(later, units[rows], units.T)
        cosines[places[: len(rows)], rows] = -torch.inf
        found.append(cosines.topk(k).indices)
    return torch.cat(found)


def shared_neighbours(student: Tensor, teacher: Tensor) -> Tensor:
    """Computes for each image the share of the teacher's neighbours that are also the student's.

    Args:
        student: indexes of each image's neighbours for the student, shape (N, k), from `nearest`.
        teacher: indexes of each image's neighbours for the teacher, shape (N, k).

    Returns:
        Shape (N,), float64, multiples of 1 / k in [0, 1].
    """
    return (teacher[:, :, None] == student[:, None]).any(2).double().mean(1)


def neighbour_agreement(student: Tensor, teacher: Tensor, k: int = 10, chunk: int = CHUNK) -> float:
    """Computes the mean share of the teacher's k nearest that are among the student's k nearest.

    Two unrelated networks agree by `chance`. Features with the same order of all cosines have an
    agreement of 1.

    Args:
        student: features of N images, shape (N, f), of any floating type.
        teacher: the teacher's features of the same images, shape (N, F).
        k: number of neighbours, from 1 to N - 1, without the image itself.
        chunk: cosines to hold at a time, at least 1.

    Returns:
        The mean over the images, in [0, 1].

    Raises:
        UserError: the numbers of images differ, k is out of range, or a feature is not finite.
    """
    if len(student) != len(teacher):
        raise UserError(f"the student has features of {len(student)} images, not {len(teacher)}")
    places = [nearest(features, k, chunk).cpu() for features in (student, teacher)]
    return float(shared_neighbours(*places).mean())


def chance(number: int, k: int = 10) -> float:
    """Returns the agreement that two unrelated networks have by chance.

    Args:
        number: number of images, above k.
        k: number of neighbours.

    Returns:
        k / (number - 1): the expected share for k images drawn at random from the others.
    """
    return k / (number - 1)


@torch.no_grad()
def effective_rank(features: Tensor) -> float:
    """Computes how many directions features fill: RankMe, equation 1 of arXiv 2210.02885.

    `exp(-sum_i p_i log p_i)` with `p_i = s_i / sum_j s_j + 1e-7` and s the singular values of the
    matrix of features, which is not centred.

    Args:
        features: shape (N, f), of any floating type; converted to float64.

    Returns:
        From about 1, where all features are multiples of one vector, to min(N, f); NaN where a
        feature is not finite.
    """
    if not features.isfinite().all():
        return float("nan")
    values = torch.linalg.svdvals(features.double())
    shares = values / values.sum().clamp(min=torch.finfo(values.dtype).tiny) + EPSILON
    return float(torch.special.entr(shares).sum().exp())


@torch.no_grad()
def feature_deviation(features: Tensor) -> float:
    """Computes the spread of unit features, as in figure 2 of arXiv 2011.10566.

    This is the standard deviation of each dimension of the L2-normalised features, averaged over
    the dimensions and multiplied by the square root of their number.

    Args:
        features: shape (N, f), of any floating type.

    Returns:
        From 0, where all have the same direction, to 1, where they are spread evenly over the
        sphere; NaN where a feature is not finite.
    """
    return float(unit_deviation(features.double()))


def unit_deviation(features: Tensor) -> Tensor:
    """The same as a scalar tensor of the features' type, without waiting for their device."""
    units = normalize(features, dim=1)
    return units.std(0, unbiased=False).mean() * units.shape[1] ** 0.5
