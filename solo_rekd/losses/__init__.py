"""Losses as pure functions: embeddings in, scalar out."""

from solo_rekd.losses.contrast import info_nce_loss, relation_contrast_loss

__all__ = ["info_nce_loss", "relation_contrast_loss"]
