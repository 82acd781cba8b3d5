"""The callbacks that Lightning adds to every trainer of the environment, by its entry points.

A program that has no run of ours gets none, so that Lightning says nothing of them.
"""

import importlib
import sys
from typing import Any


def classic() -> list[Any]:
    """Those for a trainer of pytorch-lightning 1.9: none where no run of ours is under way."""
    return _callbacks("solo_rekd.hosts.classic.callbacks")


def current() -> list[Any]:
    """Those for a trainer of lightning 2: none where no run of ours is under way."""
    return _callbacks("solo_rekd.hosts.current.callbacks")


def _callbacks(adapter: str) -> list[Any]:
    # looked up, not imported: any program of the environment that trains comes here
    ownership = sys.modules.get("solo_rekd.hosts.shared.ownership")
    if ownership is None or not ownership.has_our_run():
        return []
    return importlib.import_module(adapter).callbacks()
