"""The terminal output of a distillation."""

from collections.abc import Mapping, Sequence
from typing import Any

from solo_rekd.compare.progress import clock
from solo_rekd.distilling.choices import Choice

COLUMNS = ("setting", "value", "reason")
# keys of a history line, in the order in which they are printed, with their format
SIGNAL = {
    "agreement": ("agreement with the teacher {:.3f}", float),
    "agreement_chance": ("chance {:.3f}", float),
    "agreement_ceiling": ("ceiling {:.3f}", float),
    "effective_rank": ("effective rank {:.1f}", float),
}
LOSS, FLOOR = ("loss", "train_student_loss"), "loss_floor"


def table_lines(choices: Sequence[Choice]) -> list[str]:
    """Writes the choices as a table: setting, value, reason."""
    rows = [COLUMNS, *((name, say(value), reason) for name, value, reason in choices)]
    widths = [max(len(row[column]) for row in rows) for column in range(2)]
    lines = [f"{name:<{widths[0]}}  {value:<{widths[1]}}  {why}" for name, value, why in rows]
    rule = "  ".join("-" * width for width in (*widths, len(COLUMNS[2])))
    return [lines[0], rule, *lines[1:]]


def say(value: Any) -> str:
    """Writes a value as it would be typed."""
    return f"{value:g}" if isinstance(value, float) else str(value)


def loss_of(line: Mapping[str, Any]) -> tuple[str, float] | None:
    """Returns name and value of the student's loss in a line of the history; None: it has none."""
    found = [name for name in LOSS if name in line]
    others = [name for name in line if name.startswith("train_") and name.endswith("_loss")]
    names = found or [name for name in others if "class" not in name]
    return (names[0], float(line[names[0]])) if names else None


def epoch_line(line: Mapping[str, Any], epochs: int) -> str:
    """Writes an epoch in one line: its loss, the label-free signal, and the time.

    Args:
        line: line of the history.
        epochs: length of the training.
    """
    parts = []
    if loss := loss_of(line):
        floor = f" (floor {line[FLOOR]:.3f})" if FLOOR in line else ""
        parts.append(f"loss {loss[1]:.3f}{floor}")
    parts += [text.format(line[name]) for name, (text, _) in SIGNAL.items() if name in line]
    speed = line["images"] / max(line["seconds"], 1e-9)
    parts.append(f"{clock(line['seconds'])}, {speed:.0f} images/s")
    parts.append(f"waiting for images {line['waiting']:.0%}")
    return f"epoch {line['epoch'] + 1}/{epochs}: {', '.join(parts)}"
