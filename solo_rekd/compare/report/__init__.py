"""The report of a comparison: a page, its figures as CSV and JSON, and a table to print."""

import csv
import io
import json
import math
from pathlib import Path
from typing import Any

from solo_rekd.compare.report.summary import list_runs
from solo_rekd.compare.report.table import table_lines
from solo_rekd.utils.files import replacing

__all__ = ["table_lines", "write_report"]


def write_report(comparison: dict[str, Any], out: Path) -> None:
    """Writes report.html, results.csv and comparison.json; each file is complete or absent.

    Args:
        comparison: everything that was measured (docs/compare.md); a figure that is not finite
            counts as missing.
        out: folder of the comparison, which holds the runs' folders.
    """
    from solo_rekd.compare.report.page import render

    comparison = without_nan(comparison)
    texts = {
        "report.html": render(comparison, out),
        "results.csv": to_csv(comparison),
        "comparison.json": json.dumps(comparison, indent=1, allow_nan=False) + "\n",
    }
    for name, text in texts.items():
        with replacing(out / name) as unfinished:
            # a file's name need not be UTF-8
            unfinished.write_text(text, encoding="utf-8", errors="backslashreplace")


def without_nan(value: Any) -> Any:
    """Copies a JSON-like value, with None for every number that is not finite."""
    if isinstance(value, dict):
        return {key: without_nan(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [without_nan(inner) for inner in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def to_csv(comparison: dict[str, Any]) -> str:
    """Writes a line per finished run, the shared teacher's first, with arm, seed and figures."""
    rows = [
        {"arm": run["arm"], "seed": run["seed"], "folder": run["folder"]} | flat_figures(run)
        for run in list_runs(comparison)
    ]
    heading = dict.fromkeys(key for row in rows for key in row) or ["arm", "seed", "folder"]
    text = io.StringIO()
    writer = csv.DictWriter(text, list(heading), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


def flat_figures(run: dict[str, Any]) -> dict[str, float]:
    """Lists a run's figures by dotted path, those of its last epoch under "last_epoch"."""
    history = run.get("history") or [{}]
    groups = run | {"last_epoch": history[-1]}
    return {
        f"{group}.{key}": value
        for group, figures in groups.items()
        if isinstance(figures, dict)
        for key, value in figures.items()
        if isinstance(value, int | float)
    }
