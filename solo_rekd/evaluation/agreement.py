"""What can be said of a student's features without labels: whose neighbours they have, their rank.

The agreement is the share of a teacher's nearest neighbours that are the student's too (mutual
k-nearest neighbours, arXiv 2405.07987, section 2; with the teacher's neighbourhoods as the truth
that the student is to keep). The effective rank is RankMe (arXiv 2210.02885).
"""

import torch
from torch import Tensor
from torch.nn.functional import normalize

from solo_rekd.utils.errors import UserError, refuse

CHUNK = 2**22  # similarities held at a time: 32 MiB
EPSILON = 1e-7  # of RankMe's equation 1, for float32
TIE = 1e-13  # by which a cosine counts as less for each place: above float64's rounding


@torch.no_grad()
def neighbour_shares(student: Tensor, teacher: Tensor, k: int = 10, chunk: int = CHUNK) -> Tensor:
    """Computes for each image the share of the teacher's k nearest that are the student's too.

    Nearness is the cosine, and an image is not its own neighbour. The cosines are computed in
    float64 a block of rows at a time: memory is linear in the number of images. Images that are
    equally near come in the order of their places.

    Args:
        student: features of N images, shape (N, f), of any floating type.
        teacher: the teacher's features of the same images, shape (N, F).
        k: number of neighbours, from 1 to N - 1.
        chunk: cosines to hold at a time, at least 1.

    Returns:
        Shape (N,), float64, multiples of 1 / k in [0, 1].

    Raises:
        UserError: the two are not of the same images, k is out of range, or a feature is not
            finite.
    """
    number = len(teacher)
    if len(student) != number:
        raise UserError(f"the student has features of {len(student)} images, not of {number}")
    if not 1 <= k < number:
        raise refuse("k", k, f"from 1 to {number - 1}, one less than the images")
    if not (student.isfinite().all() and teacher.isfinite().all()):
        raise UserError("the features are not finite: they have no neighbours")
    units = [normalize(features.double(), dim=1) for features in (student, teacher)]
    shares = []
    for rows in torch.arange(number, device=teacher.device).split(max(1, chunk // number)):
        ours, theirs = (_nearest(features, rows, k) for features in units)
        among = torch.zeros(len(rows), number, dtype=torch.bool, device=teacher.device)
        among.scatter_(1, ours.to(teacher.device), True)
        shares.append(among.gather(1, theirs).double().mean(1))
    return torch.cat(shares)


def neighbour_agreement(student: Tensor, teacher: Tensor, k: int = 10, chunk: int = CHUNK) -> float:
    """Computes the mean of `neighbour_shares` over the images, in [0, 1]; arguments are the same.

    Two networks without anything in common agree by `chance`. What keeps every cosine's order has
    an agreement of 1.
    """
    return float(neighbour_shares(student, teacher, k, chunk).mean())


def chance(number: int, k: int = 10) -> float:
    """The agreement of two networks whose neighbours have nothing to do with each other.

    Args:
        number: of images, above k.
        k: number of neighbours.

    Returns:
        k / (number - 1): the expected share of k images drawn from the others without regard to
        the teacher's.
    """
    return k / (number - 1)


@torch.no_grad()
def effective_rank(features: Tensor) -> float:
    """Computes how many directions features fill: RankMe, equation 1 of arXiv 2210.02885.

    `exp(-sum_i p_i log p_i)` with `p_i = s_i / sum_j s_j + 1e-7` and s the singular values of the
    matrix of features, which is not centred.

    Args:
        features: shape (N, f), of any floating type; they are computed with in float64.

    Returns:
        From about 1, where all features are multiples of one vector, to min(N, f); not a number
        where a feature is not finite.
    """
    if not features.isfinite().all():
        return float("nan")
    values = torch.linalg.svdvals(features.double())
    shares = values / values.sum().clamp(min=torch.finfo(values.dtype).tiny) + EPSILON
    return float(torch.special.entr(shares).sum().exp())


@torch.no_grad()
def feature_deviation(features: Tensor) -> float:
    """Computes how far unit features lie apart, as figure 2 of arXiv 2011.10566.

    The standard deviation of each dimension of the L2-normalised features, averaged over the
    dimensions and multiplied by the root of their number.

    Args:
        features: shape (N, f), of any floating type.

    Returns:
        From 0, where all have one direction, to 1, where they are spread evenly over the sphere;
        not a number where a feature is not finite.
    """
    units = normalize(features.double(), dim=1)
    return float(units.std(0, unbiased=False).mean() * units.shape[1] ** 0.5)


def _nearest(units: Tensor, rows: Tensor, k: int) -> Tensor:
    """Places of the k units nearest to some of them, shape (len(rows), k)."""
    places = torch.arange(len(units), device=units.device)
    rows = rows.to(units.device)
    # rounding must not decide between images that are equally near: the first places come first
    cosines = torch.addmm(-TIE * places.double(), units[rows], units.T)
    cosines[places[: len(rows)], rows] = -torch.inf
    return cosines.topk(k).indices
