import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from solo_rekd.utils.onnx_runtime import TELEMETRY, keep_silent

PACKAGE = Path(__file__).parents[2] / "solo_rekd"


@pytest.mark.parametrize(("chosen", "expected"), [(None, "1"), ("0", "0")])
def test_what_a_user_has_chosen_stays(
    chosen: str | None, expected: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(TELEMETRY, raising=False)
    if chosen is not None:
        monkeypatch.setenv(TELEMETRY, chosen)
    keep_silent()
    assert os.environ[TELEMETRY] == expected


def test_no_module_imports_it_in_another_way() -> None:
    for path in PACKAGE.rglob("*.py"):
        text = path.read_text()
        for found in re.finditer(r"^ +(import|from) onnxruntime", text, re.MULTILINE):
            before = text[: found.start()].splitlines()[-2:]
            assert "    keep_silent()" in before or path.name == "onnx_runtime.py", path


def test_nothing_of_a_session_is_written(tmp_path: Path) -> None:
    """What reports a session keeps a file of it, beside the temporary ones."""
    pytest.importorskip("onnxruntime")
    code = "from solo_rekd.utils.onnx_runtime import import_runtime; import_runtime()"
    env = {name: value for name, value in os.environ.items() if name != TELEMETRY}
    folders = {name: str(tmp_path) for name in ("TMPDIR", "HOME", "XDG_CACHE_HOME")}
    subprocess.run([sys.executable, "-B", "-c", code], env=env | folders, check=True)
    assert list(tmp_path.rglob("*")) == []
