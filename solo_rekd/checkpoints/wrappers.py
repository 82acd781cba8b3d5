"""Keys without what torch and Lightning wrap around a network."""

from collections.abc import Mapping
from typing import Any

from torch import Tensor

# DDP and DataParallel, torch.compile, FSDP, activation checkpoints, Fabric and FairScale
WRAPPERS = frozenset(
    "module _orig_mod _fsdp_wrapped_module _checkpoint_wrapped_module _forward_module "
    "_fpw_module _wrapped_module".split()
)


def unwrap(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Takes the wrappers out of the keys, wherever they stand and in any order.

    Args:
        tensors: a state dict.

    Returns:
        The same tensors; the keys stay as they are where two would become one.
    """
    plain = {unwrapped(key): value for key, value in tensors.items()}
    return plain if len(plain) == len(tensors) else dict(tensors)


def unwrapped(key: str) -> str:
    """One key without its wrappers."""
    return ".".join(part for part in key.split(".") if part not in WRAPPERS)


def tensors_in(held: Any) -> dict[str, Tensor]:
    """The tensors that a mapping has under text keys, unwrapped; none where it is no mapping."""
    if not isinstance(held, Mapping):
        return {}
    return unwrap(
        {
            key: value
            for key, value in held.items()
            if isinstance(key, str) and isinstance(value, Tensor)
        }
    )
