"""Photos without labels: where they lie, which of them can be read, and an index of them."""

from solo_rekd.images.photos.build import build_index
from solo_rekd.images.photos.index import PhotoIndex

__all__ = ["PhotoIndex", "build_index"]
