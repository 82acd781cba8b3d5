"""Adapters to solo-learn: the only place that imports `solo` or a Lightning."""

import importlib
import importlib.util
from types import ModuleType

from solo_rekd.errors import UserError


def activate() -> None:
    """Registers the plug-in in the solo-learn that is installed; a second call changes nothing.

    Raises:
        UserError: there is no solo-learn.
    """
    if importlib.util.find_spec("solo") is None:
        raise UserError(
            "solo-learn is not installed: pip install --no-deps solo-learn==1.0.2 (README, Install)"
        )
    # first, for the start-up hook calls this function at the end of that import
    importlib.import_module("solo.args.setup")
    from solo_rekd.hosts import classic

    classic.activate()


def commands() -> ModuleType:
    """The host's jobs as functions: `pretrain`, `linear` and `knn`, each taking its flags."""
    from solo_rekd.hosts import classic_warnings

    classic_warnings.silence()
    activate()
    from solo_rekd.hosts import classic_commands

    return classic_commands
