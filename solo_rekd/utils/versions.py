"""Versions of packages, which have a part in what is computed."""

import importlib.metadata
from collections.abc import Iterable


def versions(names: Iterable[str]) -> dict[str, str]:
    """The version of each of some packages, by its name."""
    found = {}
    for name in names:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            found[name] = "not installed as a package"
    return found
