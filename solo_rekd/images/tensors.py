"""Augmentations whose first step, which resizes, accepts images as tensors.

That step reads the whole image, the later ones its crop. torchvision's v2 does it on the bytes in
memory, the host's on a picture made from them. Both draw the same numbers, and their pixels differ
by rounding. All other steps are the host's own, on pictures.
"""

import copy
from collections.abc import Callable
from typing import Any

from torch import Tensor
from torchvision import transforms
from torchvision.transforms import v2


class ResizedOnTensors:
    """A step that resizes, by v2 where an image is a tensor.

    Args:
        step: `RandomResizedCrop` or `Resize` of torchvision's transforms for pictures.
    """

    def __init__(self, step: Any) -> None:
        self.step = step
        if isinstance(step, transforms.RandomResizedCrop):
            sizes = (step.size, step.scale, step.ratio)
            self.on_tensor: Any = v2.RandomResizedCrop(*sizes, step.interpolation, antialias=True)
        else:
            self.on_tensor = v2.Resize(step.size, step.interpolation, step.max_size, antialias=True)

    def __repr__(self) -> str:
        """Describes the step; caches use this to identify it."""
        return f"{type(self).__name__}({self.step})"

    def __call__(self, image: Any) -> Any:
        """Returns the resized picture of a picture or of a tensor (3, H, W), uint8."""
        if not isinstance(image, Tensor):
            return self.step(image)
        return v2.functional.to_pil_image(self.on_tensor(image))


def on_tensors(transform: Any) -> Callable[[Any], Any] | None:
    """Makes an augmentation take tensors beside pictures.

    Args:
        transform: steps of torchvision, perhaps inside a host's classes and for several crops.

    Returns:
        A copy with the same structure; None where its first step does not resize.
    """
    if type(transform) in (transforms.RandomResizedCrop, transforms.Resize):
        return ResizedOnTensors(transform)
    if isinstance(transform, ResizedOnTensors):
        return transform
    changed = copy.copy(transform)
    if isinstance(transform, transforms.Compose):
        first = on_tensors(transform.transforms[0]) if transform.transforms else None
        if first is None:
            return None
        changed.transforms = [first, *transform.transforms[1:]]
        return changed
    if isinstance(several := getattr(transform, "transforms", None), list) and several:
        parts = [on_tensors(each) for each in several]
        if None in parts:
            return None
        changed.transforms = parts
        return changed
    inner = getattr(transform, "transform", None)
    within = None if inner is None else on_tensors(inner)
    if within is None:
        return None
    changed.transform = within
    return changed
