"""Adapters to solo-learn: the only place that imports `solo` or a Lightning."""

import importlib
import importlib.util
import os
import sys
from pathlib import Path
from types import ModuleType

from solo_rekd.hosts.jobs import Host
from solo_rekd.utils.errors import UserError, refuse

CLASSIC, MAIN = "classic", "main"
HOST_HELP = (
    "solo-learn to train with: classic (1.0.2), main, or the folder of a checkout of main. "
    "Default: main if a checkout is importable, else classic"
)
ADAPTERS = {CLASSIC: "solo_rekd.hosts.classic", MAIN: "solo_rekd.hosts.current"}
SIGNS = {CLASSIC: "args/setup.py", MAIN: "args/pretrain.py"}  # files of the package `solo`


def find(given: str | None = None) -> Host:
    """Finds the host for a command and activates the plug-in in it.

    Args:
        given: `classic`, `main`, or the folder of a checkout; None: main where a checkout is
            importable, else classic.

    Returns:
        Its adapter. From then on `solo` is that host's package, in this process and in those that
        it starts.

    Raises:
        UserError: there is no such host.
    """
    kind, root = locate(given)
    prefer(root)
    adapter = ADAPTERS[kind]
    importlib.import_module(f"{adapter}.warnings").silence()  # before the host is imported
    return importlib.import_module(f"{adapter}.host").connect(root)


def locate(given: str | None = None) -> tuple[str, Path]:
    """Returns which host `find` chooses, and the folder that holds its package `solo`.

    Raises:
        UserError: there is no such host.
    """
    if given not in (None, CLASSIC, MAIN):
        folder = Path(str(given)).absolute()
        kind = kind_of(folder)
        if kind is None:
            raise refuse("host", given, "classic, main, or the folder of a checkout of solo-learn")
        return kind, folder
    found: dict[str, Path] = {}
    for folder in map(Path, sys.path):
        if (kind := kind_of(folder)) is not None:
            found.setdefault(kind, folder.absolute())
    for kind in (MAIN, CLASSIC) if given is None else (given,):
        if kind in found:
            return kind, found[kind]
    raise UserError(
        f"solo-learn{f' ({given})' if given else ''} is not installed: pip install --no-deps "
        "solo-learn==1.0.2, or clone its main branch and give --host DIR (README, Install)"
    )


def kind_of(folder: Path) -> str | None:
    """Returns which host the package `solo` in `folder` is; None where there is none."""
    kinds = (kind for kind, file in SIGNS.items() if (folder / "solo" / file).is_file())
    return next(kinds, None)


def prefer(root: Path) -> None:
    """Makes `import solo` find the package in `root`, here and in processes started from here.

    Raises:
        UserError: another `solo` has been imported already.
    """
    loaded = sys.modules.get("solo")
    folders = [] if loaded is None else [Path(folder).parent for folder in loaded.__path__]
    if folders and root not in folders:
        raise UserError(f"solo-learn is already imported from {folders[0]}, not from {root}")
    if str(root) not in sys.path[:1]:
        sys.path.insert(0, str(root))
    before = os.environ.get("PYTHONPATH", "")
    if before.split(os.pathsep)[0] != str(root):
        os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, (str(root), before)))


def detect() -> str:
    """Finds which solo-learn is installed, from its files and without importing it.

    Returns:
        `classic` (1.0.2 of PyPI) where the host parses flags, in `solo.args.setup`; `current` (the
        main branch) where it checks a configuration, in `solo.args.pretrain`.

    Raises:
        UserError: solo-learn is not installed.
    """
    spec = importlib.util.find_spec("solo")
    if spec is None:
        raise UserError(
            "solo-learn is not installed: pip install --no-deps solo-learn==1.0.2, or clone its "
            "main branch and run there (README, Install)"
        )
    folders = [Path(folder) for folder in spec.submodule_search_locations or []]
    for kind, file in SIGNS.items():
        if any((folder / file).is_file() for folder in folders):
            return ADAPTERS[kind].rpartition(".")[2]
    raise UserError(f"the package `solo` in {', '.join(map(str, folders))} is not solo-learn")


def activate() -> None:
    """Registers the plug-in in the installed solo-learn; a second call changes nothing.

    Raises:
        UserError: solo-learn is not installed.
    """
    host = detect()
    # first, because the start-up hook calls this function at the end of one of these imports
    importlib.import_module("solo.args.setup" if host == "classic" else "solo.args.pretrain")
    importlib.import_module(f"solo_rekd.hosts.{host}.plugin").activate()


def commands() -> ModuleType:
    """Returns the classic host's jobs as functions, `pretrain` and `linear`, which take its flags.

    Raises:
        UserError: solo-learn is not installed, or is the current one, which has scripts instead.
    """
    if detect() == "current":
        raise UserError("solo-learn's main branch has scripts instead of these functions")
    from solo_rekd.hosts.classic import warnings

    warnings.silence()
    activate()
    from solo_rekd.hosts.classic import commands

    return commands
