"""Removes the prefixes of wrappers by torch and Lightning from keys."""

from collections.abc import Mapping
from typing import Any

from torch import Tensor

# DDP and DataParallel, torch.compile, FSDP, activation checkpoints, Fabric and FairScale
WRAPPERS = frozenset(
    "module _orig_mod _fsdp_wrapped_module _checkpoint_wrapped_module _forward_module "
    "_fpw_module _wrapped_module".split()
)


def unwrap(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Removes wrappers from the keys, at any position and in any order.

    Args:
        tensors: a state dict.

    Returns:
        The same tensors; keys are kept where two would become equal.
    """
    plain = {unwrapped(key): value for key, value in tensors.items()}
    return plain if len(plain) == len(tensors) else dict(tensors)


def unwrapped(key: str) -> str:
    """Returns a key without its wrappers."""
    return ".".join(part for part in key.split(".") if part not in WRAPPERS)


def tensors_in(held: Any) -> dict[str, Tensor]:
    """Returns a mapping's tensors under text keys, unwrapped; empty for anything else."""
    if not isinstance(held, Mapping):
        return {}
    return unwrap(
        {
            key: value
            for key, value in held.items()
            if isinstance(key, str) and isinstance(value, Tensor)
        }
    )
