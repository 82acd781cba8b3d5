"""ONNX Runtime, which sends nothing to its maker."""

import os
from types import ModuleType

# from 1.29 on its builds for Linux and macOS report every session unless this is set at its start
TELEMETRY = "ORT_DISABLE_TELEMETRY"


def keep_silent() -> None:
    """Has ONNX Runtime send nothing, in this process and those that it starts.

    What a user has chosen stays. It decides once, when it starts: call this before its import.
    """
    os.environ.setdefault(TELEMETRY, "1")


def import_runtime() -> ModuleType:
    """Imports it, silent."""
    keep_silent()
    import onnxruntime

    return onnxruntime
