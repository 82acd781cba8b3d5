"""Which host is there is told from the package `solo` that Python would import."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

CODE = """
from solo_rekd import hosts
from solo_rekd.utils.errors import UserError
try:
    print(hosts.detect())
except UserError as error:
    print(error)
"""


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        (["args/setup.py", "args/dataset.py"], "classic"),
        (["args/pretrain.py", "args/linear.py"], "current"),
        (["flight.py"], "the package `solo` in "),
    ],
    ids=["classic", "current", "another"],
)
def test_detection_imports_nothing_of_the_host(
    files: list[str], expected: str, tmp_path: Path
) -> None:
    for file in ["__init__.py", *files]:
        path = tmp_path / "solo" / file
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("raise RuntimeError('imported')")
    done = subprocess.run(
        [sys.executable, "-c", CODE],
        env=os.environ | {"PYTHONPATH": str(tmp_path)},
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )
    assert done.stdout.startswith(expected), done.stderr
