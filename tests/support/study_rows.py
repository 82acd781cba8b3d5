"""Lines of docs/results for tests."""

from typing import Any

from study import rows


def make_row(**changes: object) -> rows.Row:
    """A run of `rekd`, with what is to differ; figures get two digits, as in the files."""
    row: dict[str, Any] = {
        **{"dataset": "cifar10", "student": "alexnet", "arm": "rekd", "seed": 0, "split": "test"},
        **{"epochs": 8, "linear_cached": 50.0, "linear_host": 40.0, "knn": 45.0},
        **{"few_label": 20.0, "minutes": 3.0, "machine": "a CPU, 1 thread", "commit": "abc"},
        **{"few_label_1pct": 15.0, "lr": 0.03, "images_seen": 24000},
        **{"teacher": "lite0", "teacher_size": 128},
    }
    row |= changes
    floats = {name: f"{row[name]:.2f}" for name in (*rows.FIGURES, "minutes")}
    return {name: str(value) for name, value in (row | floats).items()}
