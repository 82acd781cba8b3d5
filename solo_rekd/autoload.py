"""The start-up hook: gets the plug-in into the host before the host reads its arguments.

`solo_rekd.pth` calls `install` in every Python process of the environment, so this file imports
nothing but `sys`; all else is imported once the host shows itself.
"""

import sys

TYPE_CHECKING = False  # typing's own costs more to import than this whole file
if TYPE_CHECKING:
    from collections.abc import Sequence
    from importlib.machinery import ModuleSpec
    from types import ModuleType
    from typing import Any

# By the end of these the host's methods are all imported, and no argument is parsed yet: the first
# is the classic host's, the second the current one's.
HOST_MODULES = ("solo.args.setup", "solo.args.pretrain")


class _ActivatingLoader:
    """The host module's own loader, which registers the plug-in after it has run the module."""

    def __init__(self, loader: "Any", watcher: "HostWatcher") -> None:
        self._loader = loader
        self._watcher = watcher

    def __getattr__(self, name: str) -> "Any":
        return getattr(self._loader, name)

    def exec_module(self, module: "ModuleType") -> None:
        module.__loader__ = self._loader
        if module.__spec__ is not None:
            module.__spec__.loader = self._loader
        self._loader.exec_module(module)

        from solo_rekd.hosts import activate

        activate()
        # Only now: after a failure, a second import of the host must not run without the plug-in.
        if self._watcher in sys.meta_path:
            sys.meta_path.remove(self._watcher)


class HostWatcher:
    """A finder that knows one module, of `HOST_MODULES`, and leaves once that has run."""

    def find_spec(
        self,
        name: str,
        path: "Sequence[str] | None" = None,
        target: "ModuleType | None" = None,
    ) -> "ModuleSpec | None":
        """Finds the host module as the other finders do, and has its loader activate the plug-in.

        Args:
            name: full name of the module to be imported.
            path: where its package lies.
            target: the module to be reloaded, if any.

        Returns:
            The spec with its loader wrapped; None for any other module, and where there is no host.
        """
        if name not in HOST_MODULES:
            return None
        for finder in sys.meta_path:
            spec = None if finder is self else finder.find_spec(name, path, target)
            if spec is not None:
                # The proxy is a loader in all but its declared type.
                spec.loader = _ActivatingLoader(spec.loader, self)  # type: ignore[assignment]
                return spec
        return None


def install() -> None:
    """Puts a `HostWatcher` in front of all finders, unless there is one."""
    if not any(isinstance(finder, HostWatcher) for finder in sys.meta_path):
        sys.meta_path.insert(0, HostWatcher())
