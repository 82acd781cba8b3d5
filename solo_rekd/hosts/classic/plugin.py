"""Puts the plug-in into the classic host."""

import functools

from solo.methods import METHODS

from solo_rekd.hosts.classic import arguments, backbones, patches
from solo_rekd.hosts.classic.method import ClassicMethod
from solo_rekd.hosts.shared.method import register


@functools.cache
def activate() -> None:
    """Patches the host for today's libraries, and lets its flags name what is ours, once."""
    patches.apply()
    if arguments.has_dali():
        from solo_rekd.hosts.classic import dali

        dali.patch()
    backbones.register()
    arguments.apply()
    register(METHODS, ClassicMethod)
