"""Checks how the plug-in gets into unedited scripts: by the start-up hook and entry points."""

import importlib.util
import os
import sys
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path

import solo_rekd
from solo_rekd.commands.doctor.finding import NOTE, OK, TROUBLE, Finding, install
from solo_rekd.commands.doctor.packages import OURS, version_of

HOOK = "solo_rekd.pth"
SITES = ("site-packages", "dist-packages")  # where Python reads the hook
# the entry points for each host's Lightning
GROUPS = ("pytorch_lightning.callbacks_factory", "lightning.pytorch.callbacks_factory")
AGAIN = install("--force-reinstall", "--no-deps", OURS)


def look() -> Iterator[Finding]:
    """Checks the package, the hook, the entry points and Hydra's plug-in."""
    yield look_at_package()
    yield look_at_hook()
    yield look_at_entry_points()
    yield look_at_hydra()


def look_at_package() -> Finding:
    """Checks whether the imported package is the installed one."""
    here, version = Path(solo_rekd.__file__).parent, version_of(OURS)
    text = f"{solo_rekd.__version__} in {here}"
    if version is None:
        return Finding(TROUBLE, OURS, f"{text}, which pip has not installed", install(OURS))
    if version != solo_rekd.__version__:
        return Finding(TROUBLE, OURS, f"{text}, but pip has installed {version}", AGAIN)
    return Finding(OK, OURS, text)


def look_at_hook() -> Finding:
    """Checks whether this Python ran the start-up hook."""
    subject = "start-up hook"
    if os.environ.get("SOLO_REKD_AUTOLOAD") == "0":
        text = "turned off by SOLO_REKD_AUTOLOAD=0: unedited scripts do not know the plug-in"
        return Finding(TROUBLE, subject, text, "unset SOLO_REKD_AUTOLOAD")
    if sys.flags.no_site:
        text = "python -S does not read it: scripts run that way do not know the plug-in"
        return Finding(TROUBLE, subject, text, "run without -S, or with solo-rekd run SCRIPT")
    files = [path for folder in sys.path if (path := Path(folder) / HOOK).is_file()]
    files.sort(key=lambda path: path.parent.name not in SITES)
    if any(type(finder).__name__ == "HostWatcher" for finder in sys.meta_path):
        flags = " (python -I, which ignores PYTHONPATH)" if sys.flags.isolated else ""
        where = f" by {files[0]}" if files else ""
        return Finding(OK, subject, f"active{where}{flags}")
    if not files:
        return Finding(TROUBLE, subject, f"{HOOK} is not on Python's path", AGAIN)
    text = f"{files[0]} was not run: Python reads .pth files only in its site-packages"
    return Finding(TROUBLE, subject, text, AGAIN)


def look_at_entry_points() -> Finding:
    """Checks whether both Lightnings find our callbacks."""
    subject = "entry points"
    found = {
        point.group
        for group in GROUPS
        for point in metadata.entry_points(group=group)
        if point.name == OURS
    }
    if found != {*GROUPS}:
        missing = ", ".join(sorted({*GROUPS} - found))
        return Finding(TROUBLE, subject, f"{missing} not installed", AGAIN)
    return Finding(OK, subject, ", ".join(GROUPS))


def look_at_hydra() -> Finding:
    """Checks whether the main branch's scripts find the recipes."""
    subject = "Hydra plug-in"
    try:
        spec = importlib.util.find_spec("hydra_plugins.solo_rekd")
    except (ImportError, ValueError):
        spec = None
    if spec is None:
        return Finding(TROUBLE, subject, "hydra_plugins.solo_rekd is not installed", AGAIN)
    if version_of("hydra-core") is None:
        return Finding(NOTE, subject, "installed; Hydra is not installed, and only main needs it")
    return Finding(OK, subject, "installed")
