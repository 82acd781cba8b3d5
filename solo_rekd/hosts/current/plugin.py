"""Puts the plug-in into the current host."""

import functools

from solo.methods import METHODS

from solo_rekd.hosts.current import backbones, features, hydra_jobs, knn, settings, watch
from solo_rekd.hosts.current.method import CurrentMethod
from solo_rekd.hosts.shared.method import register


@functools.cache
def activate() -> None:
    """Lets the host's settings name what is ours, once; nothing else of the host changes yet."""
    backbones.register()
    settings.apply()
    features.apply()
    knn.apply()
    register(METHODS, CurrentMethod)
    hydra_jobs.apply()
    watch.join()
