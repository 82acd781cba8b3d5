"""Photos without labels: finding them, checking that they can be read, and indexing them."""

from solo_rekd.images.photos.build import build_index
from solo_rekd.images.photos.index import PhotoIndex

__all__ = ["PhotoIndex", "build_index"]
