"""The model card of a student: what it is, how it was made, and its figures."""

import re
from collections.abc import Mapping, Sequence
from typing import Any

from solo_rekd.distilling.choices import Choice
from solo_rekd.distilling.show import say

USE = """\
```python
import onnxruntime

session = onnxruntime.InferenceSession("student.onnx")
(features,) = session.run(None, {{"images": images}})  # float32, (N, 3, {size}, {size})
```

Images are RGB in [0, 1], resized and cropped to {size} px, minus {mean}, divided by {std}.
`solo-rekd embed . PHOTOS features.npy`, run in this folder, does all of this.
"""


def write_card(card: Mapping[str, Any]) -> str:
    """Writes the card as Markdown.

    Args:
        card: see `Outputs.describe`.
    """
    student, teacher, photos = card["student"], card["teacher"], card["photos"]
    left_out = sum(photos["left_out"].values())
    kinds = ", ".join(f"{number} {kind}" for kind, number in photos["left_out"].items())
    use = USE.format(size=student["crop_size"], mean=student["mean"], std=student["std"])
    parts = [
        "---\nlibrary_name: solo-rekd\ntags:\n- image-feature-extraction\n- distillation\n---",
        f"# {student['name']}, distilled from {teacher['name']}",
        f"A network that maps a photo to {student['features']} features. It was distilled from "
        f"its teacher without labels, on {photos['training']:,} photos for {card['epochs']} "
        "epochs.",
        "## Use",
        use if "student.onnx" in card["files"] else use.partition("```\n\n")[2],
        "## Figures",
        _table(("figure", "value"), [(name, f"{v:.4f}") for name, v in card["figures"].items()])
        or "None: too few photos were held out.",
        f"Agreement is the share of the teacher's {card['neighbours']} nearest photos that are "
        f"also the network's, by cosine, on {photos['held_out']:,} photos that were held out from "
        "this training. It measures how similarly the two networks see photos, not how well "
        "either solves a task.",
        *(["## Findings", _list(card["findings"])] if card["findings"] else []),
        "## Photos",
        _list(
            [
                f"{photos['training']:,} for training, {photos['held_out']:,} held out",
                f"{left_out:,} files left out" + (f": {kinds}" if kinds else ""),
                *[f"from {_code(source)}" for source in photos["sources"]],
            ]
        ),
        "## Teacher",
        _list(
            [
                f"{_code(teacher['name'])}, file {_code(teacher['file'])}",
                f"SHA-256 `{teacher['sha256']}`",
                f"read as: {teacher['line']}",
            ]
        ),
        "## Training",
        f"The student starts from {student['start']}.",
        _table(
            ("setting", "value", "reason"),
            [(name, say(value), reason) for name, value, reason in map(_choice, card["choices"])],
        ),
        _list([f"{name}: {value}" for name, value in card["settings"].items()]),
        _list([f"{name}: {value}" for name, value in card["training"].items()]),
        "## Versions",
        _list([f"{name} {version}" for name, version in card["versions"].items()]),
        "## Command",
        _block(card["command"]),
    ]
    return "\n\n".join(part.strip("\n") for part in parts if part) + "\n"


def _choice(choice: Choice | Sequence[Any]) -> Choice:
    return Choice(*choice)


def _table(heading: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    if not rows:
        return ""
    lines = [heading, ["---"] * len(heading), *rows]
    return "\n".join(f"| {' | '.join(_cell(text) for text in row)} |" for row in lines)


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


def _code(text: str) -> str:
    """A name as code, whatever is in it: a path may hold backticks, markup and ends of lines."""
    text = " ".join(text.split())
    marks = _longer_than_in(text, "`")
    space = " " if "`" in text else ""
    return f"{marks}{space}{text}{space}{marks}"


def _block(text: str) -> str:
    marks = _longer_than_in(text, "```")
    return f"{marks}\n{text}\n{marks}"


def _longer_than_in(text: str, least: str) -> str:
    longest = max(map(len, re.findall("`+", text)), default=0)
    return "`" * max(len(least), longest + 1)


def _list(lines: Sequence[str]) -> str:
    return "\n".join(f"- {line}" for line in lines)
