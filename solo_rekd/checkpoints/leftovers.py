"""Tensors that a checkpoint has and a backbone lacks: harmless, or from another network."""

from collections.abc import Iterable, Mapping

from torch import Tensor

# last words of tensors that are computed again, or that inference does not read
_COMPUTED = frozenset(
    "num_batches_tracked relative_position_index relative_coords_table attn_mask bias_mask periods "
    "inv_freq freqs total_ops total_params mask_token n_averaged initted".split()
)
TOKENS = ("register_tokens", "reg_token", "storage_tokens", "dist_token", "cls_token", "pos_embed")
# modules that come after the features, or that only a pretraining has
_AFTER = (
    "fc.", "classifier.", "head", "last_linear.", "linear.", "pooler.", "decoder",
    "mask_token", "masked_embed",
    "predictor", "projector", "projection", "proj_head", "prototypes", "neck.", "aux", "Aux", "bn.",
    "queue", "loss", "criterion", "momentum", "teacher", "student", "dino_", "ibot_", "lm_head.",
    "pre_logits.", "local_cls_norm.", "target", "online", "norm_layers.", "n_averaged", "center",
    "mlp.", "mlp2.", "local_head.", "classif.", "knn", "metric", "train_", "val_", "test_",
)  # fmt: skip


def of_another_network(
    unused: Iterable[str], own: Iterable[str], tensors: Mapping[str, Tensor]
) -> list[str]:
    """Picks the keys that compute features in the network that the file was written from.

    Args:
        unused: keys of the file that the backbone lacks.
        own: keys of the backbone.
        tensors: tensors of the file, by key.

    Returns:
        Keys inside a module that the backbone has too, such as `layer1.0.se.fc1.weight` or
        `blocks.12.norm1.bias`, and the tokens of a transformer. A bias of zeros is harmless.
    """
    modules = {key.partition(".")[0] for key in own if "." in key}
    return [
        key
        for key in of_unknown_use(unused)
        if (key in TOKENS or key.partition(".")[0] in modules)
        and not (key.endswith("bias") and not tensors[key].any())
    ]


def of_unknown_use(unused: Iterable[str]) -> list[str]:
    """Picks the keys that are neither recomputed nor part of a head, a decoder or a loss."""
    return [
        key
        for key in unused
        if key.rpartition(".")[2] not in _COMPUTED and not key.startswith(_AFTER)
    ]
