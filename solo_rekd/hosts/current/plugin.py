"""Puts the plug-in into the current host."""

from solo.methods import METHODS
from solo.utils.auto_resumer import AutoResumer

from solo_rekd.hosts.current import backbones, errors, features, knn, settings
from solo_rekd.hosts.current.evaluation import has_dali
from solo_rekd.hosts.current.method import CurrentMethod
from solo_rekd.hosts.current.run import same_run_only
from solo_rekd.hosts.shared import patches
from solo_rekd.hosts.shared.method import is_registered, register
from solo_rekd.utils.errors import install_excepthook


def activate() -> None:
    """Mends and extends the host, once."""
    if is_registered(METHODS):
        return
    install_excepthook()
    errors.apply()
    patches.apply()
    if has_dali():
        from solo_rekd.hosts.current import dali

        dali.apply()
    backbones.register()
    settings.apply()
    AutoResumer.find_checkpoint = same_run_only(AutoResumer.find_checkpoint)
    features.apply()
    knn.apply()
    register(METHODS, CurrentMethod)
