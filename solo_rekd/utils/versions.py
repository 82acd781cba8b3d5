"""Versions of packages and commits of checkouts, which affect the results."""

import importlib.metadata
import subprocess
from collections.abc import Iterable
from pathlib import Path


def versions(names: Iterable[str]) -> dict[str, str]:
    """Returns the versions of packages by name."""
    found = {}
    for name in names:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            found[name] = "not installed as a package"
    return found


def commit_of(folder: Path) -> str | None:
    """Returns the first digits of a checkout's commit; None: not known."""
    command = ["git", "-C", str(folder), "rev-parse", "HEAD"]
    try:
        said = subprocess.run(command, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return None
    return said.stdout.strip()[:12]
