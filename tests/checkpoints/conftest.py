"""The fixtures of these tests."""

from shaken_resnet import images, shake, source

__all__ = ["images", "shake", "source"]
