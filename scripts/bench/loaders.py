"""Part `loading`: images per second, and the share of a training that waits for them."""

import importlib
import importlib.util
import tempfile
from pathlib import Path
from typing import Any

import torch

from bench.noise import write_tree
from bench.page import table

SIDES = {32: 200, 256: 100}  # px, and images of noise in each class folder
# the kept results have their keys sorted
COLUMNS = (
    *("host", "size", "loader", "workers"),
    *("images per second", "waiting", "images per core second", "ratio"),
)


def measure(device: torch.device, quick: bool, data: Path | None = None) -> dict[str, Any] | None:
    """Measures the loaders on images of noise, or those of `data`; once, on the CPU."""
    if device.type != "cpu" or importlib.util.find_spec("bench.loading") is None:
        return None
    loading = importlib.import_module("bench.loading")
    rows: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as name:
        folders = [data] if data else [Path(name) / str(side) for side in SIDES]
        if not data:
            for (side, number), folder in zip(SIDES.items(), folders, strict=True):
                write_tree(folder, number, side)
        for folder in folders:
            print(f"loading from {folder}", flush=True)
            rows += loading.measure(folder, quick)
    return {"rows": rows}


def tables(results: dict[str, Any]) -> str:
    """The table of the part's results; a row may lack a column."""
    rows = [{key.replace("_", " "): cell for key, cell in row.items()} for row in results["rows"]]
    return table(COLUMNS, [[row.get(name) for name in COLUMNS] for row in rows])
