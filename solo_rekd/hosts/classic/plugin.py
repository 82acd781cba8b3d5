"""Puts the plug-in into the classic host."""

from solo.args import setup
from solo.methods import METHODS
from solo.utils.auto_resumer import AutoResumer

from solo_rekd.hosts.classic import arguments, backbones, patches
from solo_rekd.hosts.classic.method import ClassicMethod
from solo_rekd.hosts.classic.run import same_run_only
from solo_rekd.hosts.shared import patches as shared_patches
from solo_rekd.hosts.shared.method import is_registered, register
from solo_rekd.utils.errors import install_excepthook


def activate() -> None:
    """Mends and extends the host, once."""
    if is_registered(METHODS):
        return
    install_excepthook()
    shared_patches.apply()
    patches.apply()
    if arguments.has_dali():
        from solo_rekd.hosts.classic import dali

        dali.apply()
    backbones.register()
    AutoResumer.find_checkpoint = same_run_only(AutoResumer.find_checkpoint)
    setup.parse_args_pretrain = arguments.finish_pretrain(setup.parse_args_pretrain)
    setup.parse_args_linear = arguments.finish_linear(setup.parse_args_linear)
    register(METHODS, ClassicMethod)
