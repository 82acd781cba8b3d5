"""Versions of packages and of checkouts, which have a part in what is computed."""

import importlib.metadata
import subprocess
from collections.abc import Iterable
from pathlib import Path


def versions(names: Iterable[str]) -> dict[str, str]:
    """The version of each of some packages, by its name."""
    found = {}
    for name in names:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            found[name] = "not installed as a package"
    return found


def commit_of(folder: Path) -> str | None:
    """The first digits of the commit that a checkout is at; None: git does not tell."""
    command = ["git", "-C", str(folder), "rev-parse", "HEAD"]
    try:
        said = subprocess.run(command, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return None
    return said.stdout.strip()[:12]
