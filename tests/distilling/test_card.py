import pytest
from sealed_page import HOSTILE

from solo_rekd.distilling.card import write_card

CARD = {
    "student": {
        "name": "alexnet",
        "features": 8,
        "start": "a",
        "crop_size": 32,
        "mean": 0,
        "std": 1,
    },
    "teacher": {"name": "resnet18", "file": "t.pth", "sha256": "aa", "line": "torchvision"},
    "photos": {"training": 9, "held_out": 1, "left_out": {}, "sources": ["photos"]},
    "choices": [],
    "epochs": 2,
    "figures": {},
    "findings": [],
    "neighbours": 5,
    "files": [],
    **{"training": {}, "settings": {}, "versions": {}, "command": "solo-rekd distil photos"},
}


def test_names_and_the_command_are_code() -> None:
    card = write_card(CARD)
    for text in ("- from `photos`", "file `t.pth`", "```\nsolo-rekd distil photos\n```"):
        assert text in card


@pytest.mark.parametrize("name", [HOSTILE, "a`<b>`", "``a", "a\n\n<img src=x>"])
def test_a_path_cannot_leave_the_code_that_it_stands_in(name: str) -> None:
    card = write_card(
        CARD | {"photos": CARD["photos"] | {"sources": [name]}, "command": f"```{name}"}
    )
    (line,) = [line for line in card.splitlines() if line.startswith("- from ")]
    marks = line.removeprefix("- from ").partition(" " if "`" in name else name[0])[0]
    shown = " ".join(name.split())
    assert marks.strip("`") == "" and line.removeprefix("- from ").strip("`").strip() in (
        shown,
        shown.strip("`"),
    )
    assert marks not in shown
    fence = card.rstrip().rpartition("\n")[2]
    assert fence.strip("`") == "" and fence not in f"```{name}"
