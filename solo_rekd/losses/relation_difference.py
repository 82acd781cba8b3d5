"""CRCD's relation contrast (arXiv 2103.16367), anchor by anchor.

The relation of an embedding x to an anchor A is its direction from the anchor, `(x - A) / |x - A|`,
or zero where the two coincide. All pairs of a batch with every entry of a queue make B x B x K
relations; their cosines need only one B x K matrix per anchor, because
`(x - A).(Q - A) = x.Q - A.Q - (x - A).A`, and `x.Q` is the same for all anchors.
"""

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn.functional import logsigmoid

from solo_rekd.utils.precision import full_precision

LOGITS = 2**20  # at a time, unless one anchor has more: 4 MiB in float32
CLOSEST = 1e-3  # a shorter difference of unit vectors in float32 has no reliable direction


@full_precision
def relation_difference_loss(
    student: Tensor,
    teacher: Tensor,
    student_queue: Tensor,
    teacher_queue: Tensor,
    temperature: float,
    anchors: Tensor | None = None,
    first: int = 0,
) -> Tensor:
    """Contrasts the student's relations to the batch's teacher embeddings with the teacher's.

    With r(x, a) the relation of x to the anchor t_a, for each sample i and each anchor a != i,
    `-log(e(s_i, t_i) / (e(s_i, t_i) + sum_k e(s_i, T_k)))
    - log(e(s_i, t_i) / (e(s_i, t_i) + sum_k e(t_i, S_k)))`, `e(x, y) = exp(r(x, a).r(y, a) / tau)`:
    the student's relation is matched to the teacher's, and the teacher's to the student's (arXiv
    2103.16367, with InfoNCE instead of NCE). The anchor a = i is left out: the teacher has no
    relation to itself.

    Memory is linear in B: the anchors are processed in chunks, and the gradient is accumulated.
    Only the student receives one.

    Args:
        student: L2-normalised embeddings s, shape (B, d).
        teacher: teacher embeddings t of the same images, shape (B, d).
        student_queue: momentum embeddings S of other images, shape (K, d).
        teacher_queue: teacher embeddings T of other images, shape (K, d).
        temperature: tau, above 0.
        anchors: shape (A, d), the teacher's embeddings of the images of all processes; None:
            those of the batch.
        first: the place of the batch's first image among the anchors.

    Returns:
        The mean over the B (A - 1) pairs, a scalar; 0 for a single image.
    """
    if anchors is None:
        anchors = teacher
    # Differences do not depend on the origin, but float32 products of close vectors do
    origin = anchors.detach().mean(0)
    constants = [x.detach() - origin for x in (teacher, student_queue, teacher_queue, anchors)]
    pairs = max(1, len(student) * (len(anchors) - 1))
    return _AnchorByAnchor.apply(student - origin, *constants, first, temperature) / pairs


def sum_over_anchors(
    origins: Tensor,
    places: Tensor,
    student: Tensor,
    teacher: Tensor,
    student_queue: Tensor,
    teacher_queue: Tensor,
    student_products: Tensor,
    teacher_products: Tensor,
    temperature: float,
) -> Tensor:
    """Sums the losses of `relation_difference_loss` over all samples and some of the anchors.

    Args:
        origins: the anchors, from the same origin as the rest, shape (A, d).
        places: index of each anchor in the batch, shape (A,); beyond it, of other images.
        student: as in `relation_difference_loss`, from any origin.
        teacher: as in `relation_difference_loss`, from the same origin.
        student_queue: as in `relation_difference_loss`, from the same origin.
        teacher_queue: as in `relation_difference_loss`, from the same origin.
        student_products: student times teacher_queue, shape (B, K).
        teacher_products: teacher times student_queue, shape (B, K).
        temperature: tau, above 0.

    Returns:
        A scalar, with a graph of about 3 A B K numbers.
    """
    student_relations, student_distances = _relate(student, origins)
    teacher_relations, teacher_distances = _relate(teacher, origins)
    own = (student_relations * teacher_relations).sum(2) / temperature
    among_teachers = _log_sum_exp(
        student_relations, student_distances, student_products, origins, teacher_queue, temperature
    )
    among_students = _log_sum_exp(
        teacher_relations, teacher_distances, teacher_products, origins, student_queue, temperature
    )
    losses = -logsigmoid(own - among_teachers) - logsigmoid(own - among_students)
    itself = places[:, None] == torch.arange(len(teacher), device=places.device)
    return losses.masked_fill(itself, 0).sum()


def _relate(embeddings: Tensor, anchors: Tensor) -> tuple[Tensor, Tensor]:
    """Returns the relations (A, B, d) of embeddings to anchors, and the distances (A, B, 1)."""
    differences = embeddings - anchors[:, None]
    distances = torch.linalg.vector_norm(differences, dim=2, keepdim=True).clamp(min=CLOSEST)
    return differences / distances, distances


def _log_sum_exp(
    relations: Tensor,
    distances: Tensor,
    products: Tensor,
    anchors: Tensor,
    queue: Tensor,
    temperature: float,
) -> Tensor:
    """Computes the log-sum-exp, (A, B), of the relations' cosines with those of the queue."""
    # without products of vectors, so exact for entries close to an anchor
    exact = "donot_use_mm_for_euclid_dist"
    queue_distances = torch.cdist(anchors, queue, compute_mode=exact).clamp(min=CLOSEST)
    along = relations @ anchors[:, :, None]
    differences = products - (anchors @ queue.T)[:, None]
    cosines = torch.addcmul(-along, differences, 1 / distances)
    return torch.logsumexp(cosines * (1 / (temperature * queue_distances))[:, None], 2)


class _AnchorByAnchor(torch.autograd.Function):
    """Sums value and gradient over chunks of anchors, so that no graph outlives its chunk.

    Recomputing the chunks in backward would compute every logit twice.
    """

    @staticmethod
    def forward(
        ctx: Any,
        student: Tensor,
        teacher: Tensor,
        student_queue: Tensor,
        teacher_queue: Tensor,
        anchors: Tensor,
        first: int,
        temperature: float,
    ) -> Tensor:
        chunk = max(1, LOGITS // (len(student) * len(teacher_queue)))
        leaf, products = student.detach(), student @ teacher_queue.T
        teacher_products = teacher @ student_queue.T
        value, *gradients = (torch.zeros_like(x) for x in (student.new_empty(()), leaf, products))
        with torch.enable_grad():
            # both are leaves: their product's gradient is computed once, not in every chunk
            leaf.requires_grad_(), products.requires_grad_()
            places = torch.arange(len(anchors), device=student.device) - first
            for origins, some in zip(anchors.split(chunk), places.split(chunk), strict=True):
                loss = sum_over_anchors(
                    origins,
                    some,
                    leaf,
                    teacher,
                    student_queue,
                    teacher_queue,
                    products,
                    teacher_products,
                    temperature,
                )
                parts = torch.autograd.grad(loss, (leaf, products))
                value += loss.detach()
                for gradient, part in zip(gradients, parts, strict=True):
                    gradient += part
        ctx.save_for_backward(torch.addmm(gradients[0], gradients[1], teacher_queue))
        return value

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        (gradient,) = ctx.saved_tensors
        return grad * gradient, None, None, None, None, None, None
