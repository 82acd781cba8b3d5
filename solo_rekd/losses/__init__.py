"""Losses as pure functions: embeddings in, scalar out."""

from solo_rekd.losses.bag_contrast import bag_contrast_loss
from solo_rekd.losses.consistency import consistency_loss
from solo_rekd.losses.contrast import (
    info_nce_loss,
    relation_contrast_loss,
    relation_target,
    symmetric_info_nce_loss,
    target_contrast_loss,
)
from solo_rekd.losses.floors import bag_floor, contrast_floor
from solo_rekd.losses.gradient_relation import (
    cross_entropy_gradient,
    gradient_relation_loss,
    info_nce_gradient,
)
from solo_rekd.losses.known_labels import known_cross_entropy
from solo_rekd.losses.regression import regression_loss
from solo_rekd.losses.relation_difference import relation_difference_loss
from solo_rekd.losses.similarity import similarity_distillation, similarity_distillation_loss
from solo_rekd.losses.space_similarity import cosine_loss, space_similarity_loss

__all__ = [
    "bag_contrast_loss",
    "bag_floor",
    "consistency_loss",
    "contrast_floor",
    "cosine_loss",
    "cross_entropy_gradient",
    "gradient_relation_loss",
    "info_nce_gradient",
    "info_nce_loss",
    "known_cross_entropy",
    "regression_loss",
    "relation_contrast_loss",
    "relation_difference_loss",
    "relation_target",
    "similarity_distillation",
    "similarity_distillation_loss",
    "space_similarity_loss",
    "symmetric_info_nce_loss",
    "target_contrast_loss",
]
