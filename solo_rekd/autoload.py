"""The start-up hook: activates the plug-in before the host reads its arguments.

`solo_rekd.pth` adds a finder to every Python process of the environment. That finder calls
`install` when the host is imported, so that other processes import nothing of the plug-in.
"""

import os
import sys
import traceback
from collections.abc import Sequence
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any

# After these modules are imported, all of the host's methods are, and no argument is parsed yet:
# the first is the classic host's, the second the current host's.
HOST_MODULES = ("solo.args.setup", "solo.args.pretrain")


class _ActivatingLoader:
    """Wraps the host module's loader, and activates the plug-in after the module has run."""

    def __init__(self, loader: Any, watcher: "HostWatcher") -> None:
        self._loader = loader
        self._watcher = watcher

    def __getattr__(self, name: str) -> Any:
        return getattr(self._loader, name)

    def exec_module(self, module: ModuleType) -> None:
        module.__loader__ = self._loader
        if module.__spec__ is not None:
            module.__spec__.loader = self._loader
        self._loader.exec_module(module)

        activate()
        if self._watcher in sys.meta_path:
            sys.meta_path.remove(self._watcher)


class HostWatcher:
    """A finder for the modules in `HOST_MODULES`, which removes itself once one has run."""

    def find_spec(
        self,
        name: str,
        path: Sequence[str] | None = None,
        target: ModuleType | None = None,
    ) -> ModuleSpec | None:
        """Finds the host module as the other finders do, and has its loader activate the plug-in.

        Args:
            name: full name of the module to import.
            path: path of its package.
            target: module to reload, if any.

        Returns:
            The spec with its loader wrapped; None for any other module, and where there is no host.
        """
        if name not in HOST_MODULES:
            return None
        for finder in sys.meta_path:
            spec = None if finder is self else finder.find_spec(name, path, target)
            if spec is not None:
                # The wrapper is a loader in all but its declared type.
                spec.loader = _ActivatingLoader(spec.loader, self)  # type: ignore[assignment]
                return spec
        return None


_failed = False


def activate() -> bool:
    """Activates the plug-in in the host that is being imported.

    A failure is reported once, in one line on stderr, and the host runs without the plug-in, which
    the run may not need. With `SOLO_REKD_TRACEBACK=1` its traceback is printed first.

    Returns:
        Whether the plug-in is active.
    """
    global _failed
    if _failed:
        return False
    try:
        from solo_rekd import hosts

        hosts.activate()
    except Exception as error:
        _failed = True
        if os.environ.get("SOLO_REKD_TRACEBACK") == "1":
            traceback.print_exc()
        reason = " ".join(f"{type(error).__name__}: {error}".split())
        if sys.stderr is not None:
            print(f"solo-rekd: the plug-in is not active: {reason}", file=sys.stderr)
    return not _failed


def install() -> HostWatcher:
    """Puts a `HostWatcher` in front of all finders, unless there is one, and returns it."""
    for finder in sys.meta_path:
        if isinstance(finder, HostWatcher):
            return finder
    watcher = HostWatcher()
    sys.meta_path.insert(0, watcher)
    return watcher
