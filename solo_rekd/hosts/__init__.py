"""Adapters to solo-learn: the only place that imports `solo` or a Lightning."""

import importlib
import importlib.util
from pathlib import Path
from types import ModuleType

from solo_rekd.utils.errors import UserError

def detect() -> str:
    """Finds which solo-learn is installed, from what it is made of and without importing it.

    Returns:
        `classic` (1.0.2 of PyPI) where the host parses flags, in `solo.args.setup`; `current` (the
        main branch) where it checks a configuration, in `solo.args.pretrain`.

    Raises:
        UserError: there is no solo-learn.
    """
    spec = importlib.util.find_spec("solo")
    if spec is None:
        raise UserError(
            "solo-learn is not installed: pip install --no-deps solo-learn==1.0.2, or clone its "
            "main branch and run there (README, Install)"
        )
    folders = [Path(folder) for folder in spec.submodule_search_locations or []]
    for host, file in (("classic", "setup.py"), ("current", "pretrain.py")):
        if any((folder / "args" / file).is_file() for folder in folders):
            return host
    raise UserError(f"the package `solo` in {', '.join(map(str, folders))} is not solo-learn")


def activate() -> None:
    """Registers the plug-in in the solo-learn that is installed; a second call changes nothing.

    Raises:
        UserError: there is no solo-learn.
    """
    host = detect()
    # first, for the start-up hook calls this function at the end of one of these imports
    importlib.import_module("solo.args.setup" if host == "classic" else "solo.args.pretrain")
    importlib.import_module(f"solo_rekd.hosts.{host}.plugin").activate()


def commands() -> ModuleType:
    """The classic host's jobs as functions: `pretrain`, `linear` and `knn`, each taking its flags.

    Raises:
        UserError: there is no solo-learn, or the current one, which has scripts for these jobs.
    """
    if detect() == "current":
        raise UserError(
            "this command is for solo-learn 1.0.2; the solo-learn here has scripts: "
            "python main_pretrain.py --config-name rekd, main_linear.py, main_knn.py"
        )
    from solo_rekd.hosts.classic import warnings

    warnings.silence()
    activate()
    from solo_rekd.hosts.classic import commands

    return commands
