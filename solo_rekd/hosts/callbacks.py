"""The callbacks that Lightning adds to every trainer of the environment, by its entry points.

A program without a run of ours gets none, so that Lightning does not mention them.
"""

import importlib
import sys
from typing import Any


def classic() -> list[Any]:
    """Returns the callbacks for pytorch-lightning 1.9, none if no run of ours is active."""
    return _callbacks("solo_rekd.hosts.classic.callbacks")


def current() -> list[Any]:
    """Returns the callbacks for lightning 2, none if no run of ours is active."""
    return _callbacks("solo_rekd.hosts.current.callbacks")


def _callbacks(adapter: str) -> list[Any]:
    # looked up, not imported, because every training in the environment comes here
    ownership = sys.modules.get("solo_rekd.hosts.shared.ownership")
    if ownership is None or not ownership.has_our_run():
        return []
    return importlib.import_module(adapter).callbacks()
