"""The package as it was at another commit."""

import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from bench.workers import ROOT


@contextmanager
def checkout(commit: str) -> Iterator[Path]:
    """Lays a commit out in a folder of its own, which is removed afterwards.

    Raises:
        SystemExit: there is no such commit.
    """
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name) / "package"
        command = ["git", "-C", str(ROOT), "archive", "--format=tar", commit]
        packed = subprocess.run(command, capture_output=True)
        if packed.returncode:
            raise SystemExit(f"--parent {commit}: {packed.stderr.decode().strip()}")
        folder.mkdir()
        subprocess.run(["tar", "-x", "-C", str(folder)], input=packed.stdout, check=True)
        yield folder
